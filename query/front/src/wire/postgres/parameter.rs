//! Parameters of a Bind, from their text or their bytes to values that the engine takes.
//!
//! Text is only checked where that is cheap; dates, times and numerics given as text go on as they
//! are, and the engine reads them as the type they are declared to be.

use pgwire::api::Type;

use crate::error::{ErrorCode, QueryError};
use crate::sql::{ParameterKind, ParameterValue};
use crate::sqlstate::SqlState;
use crate::wire::postgres::encode::time::{EPOCH_DAYS, EPOCH_MICROS};

mod interval;

/// Items that a list may have.
const MAX_ITEMS: usize = 1_000_000;

/// Reads a parameter's text.
pub(super) fn of_text(
    kind: Option<&ParameterKind>,
    bytes: &[u8],
) -> Result<ParameterValue, QueryError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| wrong("a parameter is not UTF-8").with_sqlstate(SqlState::InvalidText))?;
    let unfit = || {
        let message = format!("a parameter is no value of its type: {:?}", shortened(text));
        wrong(&message).with_sqlstate(SqlState::InvalidText)
    };
    let trimmed = text.trim();
    Ok(match kind {
        Some(ParameterKind::Bool) => {
            ParameterValue::Bool(match trimmed.to_ascii_lowercase().as_str() {
                "t" | "true" | "1" | "y" | "yes" | "on" => true,
                "f" | "false" | "0" | "n" | "no" | "off" => false,
                _ => return Err(unfit()),
            })
        }
        Some(ParameterKind::Int | ParameterKind::Oid) => {
            ParameterValue::Int(trimmed.parse().map_err(|_| unfit())?)
        }
        Some(ParameterKind::Float) => {
            let number: f64 = trimmed.parse().map_err(|_| unfit())?;
            ParameterValue::Float(number.to_bits())
        }
        Some(ParameterKind::Bytes) => {
            let digits = trimmed.strip_prefix("\\x").ok_or_else(unfit)?;
            ParameterValue::Bytes(from_hex(digits).ok_or_else(unfit)?)
        }
        Some(ParameterKind::List(item)) => list_of_text(item, trimmed).ok_or_else(unfit)??,
        Some(ParameterKind::Interval) => match interval::of_text(trimmed) {
            Some((months, days, micros)) => ParameterValue::Interval(months, days, micros),
            // Other forms are the engine's to read.
            None => ParameterValue::Text(text.to_owned()),
        },
        _ => ParameterValue::Text(text.to_owned()),
    })
}

/// Reads a list that came as text before anybody knew that it is one.
pub fn list_of_untyped_text(item: &ParameterKind, text: &str) -> Option<ParameterValue> {
    list_of_text(item, text.trim())?.ok()
}

/// Reads a parameter's bytes. `oid` is the type that the client declared, or 0.
pub(super) fn of_binary(
    kind: &ParameterKind,
    oid: u32,
    bytes: &[u8],
) -> Result<ParameterValue, QueryError> {
    read_binary(kind, oid, bytes).ok_or_else(|| {
        let message = "the bytes of a parameter are no value of its type";
        wrong(message).with_sqlstate(SqlState::InvalidBinary)
    })
}

fn read_binary(kind: &ParameterKind, oid: u32, bytes: &[u8]) -> Option<ParameterValue> {
    Some(match kind {
        ParameterKind::Bool => ParameterValue::Bool(<[u8; 1]>::try_from(bytes).ok()? != [0]),
        ParameterKind::Oid => {
            ParameterValue::Int(u32::from_be_bytes(bytes.try_into().ok()?).into())
        }
        ParameterKind::Int => ParameterValue::Int(match bytes.len() {
            2 => i16::from_be_bytes(bytes.try_into().ok()?).into(),
            4 => i32::from_be_bytes(bytes.try_into().ok()?).into(),
            _ => i64::from_be_bytes(bytes.try_into().ok()?),
        }),
        ParameterKind::Float => {
            let number = match bytes.len() {
                4 => f32::from_be_bytes(bytes.try_into().ok()?).into(),
                _ => f64::from_be_bytes(bytes.try_into().ok()?),
            };
            ParameterValue::Float(number.to_bits())
        }
        ParameterKind::Numeric => ParameterValue::Text(numeric_text(bytes)?),
        ParameterKind::Bytes => ParameterValue::Bytes(bytes.to_vec()),
        ParameterKind::Date => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            ParameterValue::Days(days.checked_add(EPOCH_DAYS)?)
        }
        ParameterKind::Time => ParameterValue::Micros(i64::from_be_bytes(bytes.try_into().ok()?)),
        ParameterKind::Timestamp | ParameterKind::TimestampTz => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            ParameterValue::Micros(micros.checked_add(EPOCH_MICROS)?)
        }
        ParameterKind::Interval => {
            let (micros, rest) = bytes.split_first_chunk::<8>()?;
            let (days, months) = rest.split_first_chunk::<4>()?;
            ParameterValue::Interval(
                i32::from_be_bytes(months.try_into().ok()?),
                i32::from_be_bytes(*days),
                i64::from_be_bytes(*micros),
            )
        }
        ParameterKind::List(item) => ParameterValue::List(list_of_binary(item, bytes)?),
        ParameterKind::Text if oid == Type::UUID.oid() => {
            ParameterValue::Text(uuid::Uuid::from_slice(bytes).ok()?.to_string())
        }
        ParameterKind::Text => {
            // The binary form of jsonb is its text behind a version.
            let bytes = match oid == Type::JSONB.oid() {
                true => bytes.strip_prefix(&[1])?,
                false => bytes,
            };
            ParameterValue::Text(std::str::from_utf8(bytes).ok()?.to_owned())
        }
    })
}

/// Dimensions, flags, the item's type, and for one dimension a length, a first index and items.
fn list_of_binary(item: &ParameterKind, bytes: &[u8]) -> Option<Vec<ParameterValue>> {
    let mut rest = bytes;
    let mut word = || -> Option<i32> {
        let (word, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        Some(i32::from_be_bytes(*word))
    };
    let (dimensions, _flags, oid) = (word()?, word()?, word()?);
    if dimensions == 0 {
        return Some(Vec::new());
    }
    let (length, _first) = (usize::try_from(word()?).ok()?, word()?);
    if dimensions != 1 || length > MAX_ITEMS {
        return None;
    }
    let mut list = Vec::new();
    for _ in 0..length {
        let (size, behind) = rest.split_first_chunk::<4>()?;
        let size = i32::from_be_bytes(*size);
        if size == -1 {
            list.push(ParameterValue::Null);
            rest = behind;
            continue;
        }
        let (value, behind) = behind.split_at_checked(usize::try_from(size).ok()?)?;
        list.push(read_binary(item, oid.cast_unsigned(), value)?);
        rest = behind;
    }
    rest.is_empty().then_some(list)
}

/// `{1,"a \"b\"",NULL}`; `None` when it is not written so.
fn list_of_text(item: &ParameterKind, text: &str) -> Option<Result<ParameterValue, QueryError>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items: Vec<(String, bool)> = Vec::new();
    let mut chars = inner.chars();
    let (mut current, mut quoted, mut inside) = (String::new(), false, false);
    while let Some(char) = chars.next() {
        match char {
            '\\' => current.push(chars.next()?),
            '"' => {
                inside = !inside;
                quoted = true;
            }
            ',' if !inside => {
                items.push((std::mem::take(&mut current), std::mem::take(&mut quoted)))
            }
            '{' | '}' if !inside => return None,
            // Space around an item is none of it.
            space if !inside && space.is_whitespace() && (quoted || current.is_empty()) => {}
            char => current.push(char),
        }
    }
    if inside || items.len() > MAX_ITEMS {
        return None;
    }
    if !inner.trim().is_empty() {
        items.push((current, quoted));
    }
    let values = items.into_iter().map(|(text, quoted)| {
        if !quoted && text.trim().eq_ignore_ascii_case("null") {
            return Ok(ParameterValue::Null);
        }
        let text = if quoted { text.as_str() } else { text.trim() };
        of_text(Some(item), text.as_bytes())
    });
    Some(values.collect::<Result<_, _>>().map(ParameterValue::List))
}

/// The digits of a numeric in PostgreSQL's binary form.
fn numeric_text(bytes: &[u8]) -> Option<String> {
    let (words, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let mut words = words.iter().map(|word| i16::from_be_bytes(*word));
    let (groups, weight, sign, scale) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    let groups_given: Vec<i16> = words.collect();
    let sign = match sign.cast_unsigned() {
        0 => "",
        0x4000 => "-",
        _ => return None,
    };
    let valid = groups_given.iter().all(|group| (0..10_000).contains(group));
    // More digits than any decimal of ours has are not worth reading.
    if usize::try_from(groups).ok()? != groups_given.len() || !valid || groups > 64 {
        return None;
    }
    if !(-64..64).contains(&weight) || !(0..=64).contains(&scale) {
        return None;
    }
    let group = |index: i16| -> i16 {
        let given = usize::try_from(index)
            .ok()
            .and_then(|index| groups_given.get(index));
        given.copied().unwrap_or(0)
    };
    // Groups that are not given are zeros, before the first as well as behind the last.
    let text = |from: i16, to: i16| -> String {
        (from..=to)
            .map(|index| format!("{:04}", group(index)))
            .collect()
    };
    let whole = text(0, weight);
    let fraction = text(weight + 1, weight + (scale + 3) / 4);
    let digits = usize::try_from(scale).ok()?;
    let fraction = &fraction[..digits];
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    })
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    odd.is_empty().then(|| pairs.iter().map(byte).collect())?
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn wrong(message: &str) -> QueryError {
    let hint = "pass a value of the parameter's type";
    QueryError::new(ErrorCode::Parameters, message, hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::postgres::encode::number::write_numeric_of_text;

    #[test]
    fn numerics_arrive_as_they_were_sent() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "99999999999999999999999999999999999999",
            "0.5",
            "-0.0001",
            "0.00001",
            "0.000000001234",
            "123456.7890",
            "10000.00000001",
            "0.00",
        ] {
            let mut bytes = Vec::new();
            write_numeric_of_text(text, &mut bytes);
            assert_eq!(numeric_text(&bytes).as_deref(), Some(text));
        }
        for bytes in [&[][..], &[0; 7], &[0, 9, 0, 0, 0, 0, 0, 0], &[0x7f; 64]] {
            assert_eq!(numeric_text(bytes), None);
        }
    }

    #[test]
    fn lists_are_read_in_both_forms() {
        let ints = ParameterKind::List(Box::new(ParameterKind::Int));
        let texts = ParameterKind::List(Box::new(ParameterKind::Text));
        let text = |text: &str| ParameterValue::Text(text.to_owned());
        assert_eq!(
            of_text(Some(&ints), b"{1, 2,NULL}").unwrap(),
            ParameterValue::List(vec![
                ParameterValue::Int(1),
                ParameterValue::Int(2),
                ParameterValue::Null
            ])
        );
        assert_eq!(
            of_text(Some(&texts), br#"{a,"b, \"c\"","NULL",""}"#).unwrap(),
            ParameterValue::List(vec![text("a"), text("b, \"c\""), text("NULL"), text("")])
        );
        assert_eq!(
            of_text(Some(&texts), br#"{ "r", "v" , w x }"#).unwrap(),
            ParameterValue::List(vec![text("r"), text("v"), text("w x")])
        );
        assert_eq!(
            of_text(Some(&ints), b"{}").unwrap(),
            ParameterValue::List(Vec::new())
        );
        for wrong in [&b"{1"[..], b"1}", b"{\"}", b"{{1}}", b"{a}", b"\xff"] {
            assert!(of_text(Some(&ints), wrong).is_err(), "{wrong:?}");
        }
        let mut bytes = Vec::new();
        for word in [1_i32, 0, 23, 2, 1, 4, 7, -1] {
            bytes.extend(word.to_be_bytes());
        }
        let expected = ParameterValue::List(vec![ParameterValue::Int(7), ParameterValue::Null]);
        assert_eq!(of_binary(&ints, 1007, &bytes).unwrap(), expected);
        for end in 0..bytes.len() {
            assert!(of_binary(&ints, 1007, &bytes[..end]).is_err(), "{end}");
        }
    }
}
