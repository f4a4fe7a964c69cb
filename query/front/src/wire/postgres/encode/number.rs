//! Numbers as PostgreSQL writes them. Decimals are exact: their digits go from Arrow's integer into
//! PostgreSQL's groups of four without ever being a float.

use std::io::Write;

/// The largest power of ten that an u64 holds.
const CHUNK: u128 = 10_000_000_000_000_000_000;
/// Digits that an u128 may have.
const MAX_DIGITS: usize = 39;

/// A whole number in decimal.
pub(in crate::wire::postgres) fn write_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut digits = [0; 20];
    let start = put_digits(value.unsigned_abs(), &mut digits);
    out.extend_from_slice(&digits[start..]);
}

/// Writes the digits at the end of the buffer and tells where they begin; 0 has one.
fn put_digits(mut value: u64, buffer: &mut [u8]) -> usize {
    let mut at = buffer.len();
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// The digits of a number, at the end of a buffer.
struct Digits {
    buffer: [u8; MAX_DIGITS],
    start: usize,
}

impl Digits {
    fn new(mut value: u128) -> Self {
        let mut buffer = [b'0'; MAX_DIGITS];
        let mut end = MAX_DIGITS;
        while value >= CHUNK {
            // What is left of a division by CHUNK fits.
            put_digits((value % CHUNK) as u64, &mut buffer[..end]);
            value /= CHUNK;
            end -= 19;
        }
        let start = match value {
            0 => end,
            value => put_digits(value as u64, &mut buffer[..end]),
        };
        Self { buffer, start }
    }

    /// The digits without leading zeros; none for 0.
    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// A decimal with `scale` digits behind its point.
pub(super) fn write_decimal(value: i128, scale: u8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let scale = usize::from(scale);
    let digits = Digits::new(value.unsigned_abs());
    let digits = digits.as_slice();
    let whole = digits.len().saturating_sub(scale);
    match whole {
        0 => out.push(b'0'),
        whole => out.extend_from_slice(&digits[..whole]),
    }
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(&digits[whole..]);
    }
}

/// A decimal in PostgreSQL's binary form.
pub(super) fn write_numeric(value: i128, scale: u8, out: &mut Vec<u8>) {
    let digits = Digits::new(value.unsigned_abs());
    let digits = digits.as_slice();
    let whole = digits.len().saturating_sub(usize::from(scale));
    let mut fraction = [b'0'; 256];
    let behind = &digits[whole..];
    let fraction = &mut fraction[..usize::from(scale)];
    let first = fraction.len() - behind.len();
    fraction[first..].copy_from_slice(behind);
    write_groups(value < 0, &digits[..whole], fraction, out);
}

/// The same for a decimal that stands there in digits, with a sign and a point.
pub(in crate::wire::postgres) fn write_numeric_of_text(text: &str, out: &mut Vec<u8>) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    write_groups(negative, whole.as_bytes(), fraction.as_bytes(), out);
}

/// Groups of four digits, counted from the point. `whole` has no leading zeros.
fn write_groups(negative: bool, whole: &[u8], fraction: &[u8], out: &mut Vec<u8>) {
    let head = out.len();
    out.extend_from_slice(&[0; 8]);
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let lead = whole.len() % 4;
    let (first, rest) = whole.split_at(lead);
    let mut groups = 0_i16;
    // Groups of zeros before the first other one are not written, only counted.
    let mut put = |group: u16, out: &mut Vec<u8>| match (groups, group) {
        (0, 0) => weight -= 1,
        _ => {
            out.extend_from_slice(&group.to_be_bytes());
            groups += 1;
        }
    };
    if !first.is_empty() {
        put(group_of(first), out);
    }
    for four in rest.chunks(4) {
        put(group_of(four), out);
    }
    for four in fraction.chunks(4) {
        let missing = 4 - four.len() as u32;
        put(group_of(four) * 10_u16.pow(missing), out);
    }
    while out.len() > head + 8 && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
        groups -= 1;
    }
    let (weight, sign) = match groups {
        0 => (0, 0),
        _ => (weight, if negative { 0x4000_u16 } else { 0 }),
    };
    let scale = u16::try_from(fraction.len()).unwrap_or(u16::MAX);
    out[head..head + 2].copy_from_slice(&groups.to_be_bytes());
    out[head + 2..head + 4].copy_from_slice(&weight.to_be_bytes());
    out[head + 4..head + 6].copy_from_slice(&sign.to_be_bytes());
    out[head + 6..head + 8].copy_from_slice(&scale.to_be_bytes());
}

fn group_of(digits: &[u8]) -> u16 {
    let append = |sum: u16, digit: &u8| sum * 10 + u16::from(digit.wrapping_sub(b'0') % 10);
    digits.iter().fold(0, append)
}

/// A float of 32 bits: the shortest digits that read back to it.
pub(super) fn write_float4(value: f32, out: &mut Vec<u8>) {
    let fixed = value == 0.0 || (1e-4..1e6).contains(&value.abs());
    match fixed {
        // Writing into memory does not fail.
        true => write!(out, "{value}").unwrap_or_default(),
        false => write_wide(value.into(), format_args!("{value:e}"), out),
    }
}

/// A float of 64 bits: the shortest digits that read back to it.
pub(super) fn write_float8(value: f64, out: &mut Vec<u8>) {
    let fixed = value == 0.0 || (1e-4..1e15).contains(&value.abs());
    match fixed {
        // Writing into memory does not fail.
        true => write!(out, "{value}").unwrap_or_default(),
        false => write_wide(value, format_args!("{value:e}"), out),
    }
}

/// What is no number, or very large or small: an exponent has a sign and two digits.
fn write_wide(value: f64, scientific: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        let text: &[u8] = if value > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        };
        return out.extend_from_slice(text);
    }
    let text = scientific.to_string();
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    // Writing into memory does not fail.
    write!(out, "{digits}e{sign}{exponent:0>2}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn decimals_of_38_digits_are_exact() {
        let largest = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
        for (value, scale, expected) in [
            (0, 0, "0"),
            (0, 3, "0.000"),
            (-5, 3, "-0.005"),
            (1_234_567, 3, "1234.567"),
            (largest, 0, "99999999999999999999999999999999999999"),
            (-largest, 38, "-0.99999999999999999999999999999999999999"),
            (10_i128.pow(37), 0, "10000000000000000000000000000000000000"),
        ] {
            assert_eq!(text(|out| write_decimal(value, scale, out)), expected);
        }
    }

    /// Reads PostgreSQL's binary form by its definition.
    fn read_numeric(bytes: &[u8]) -> (i128, u16) {
        let at = |index: usize| i16::from_be_bytes([bytes[2 * index], bytes[2 * index + 1]]);
        let (groups, weight, sign, scale) = (at(0), at(1), at(2), at(3));
        assert_eq!(bytes.len(), 8 + 2 * groups as usize);
        let mut value = 0_i128;
        for group in 0..groups {
            let power = 4 * i32::from(weight - group) + i32::from(scale);
            let digits = i128::from(at(4 + group as usize));
            assert!((0..10_000).contains(&digits));
            value += match u32::try_from(power) {
                Ok(power) => digits * 10_i128.pow(power),
                Err(_) => digits / 10_i128.pow(power.unsigned_abs()),
            };
        }
        (if sign == 0x4000 { -value } else { value }, scale as u16)
    }

    #[test]
    fn binary_numerics_read_back() {
        let largest = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
        let values = [
            0,
            1,
            -1,
            9_999,
            10_000,
            -10_001,
            120_000_000,
            largest,
            -largest,
        ];
        let all = values
            .into_iter()
            .chain((0..38).map(|power| 7 * 10_i128.pow(power)));
        for value in all {
            for scale in [0, 1, 3, 4, 5, 12, 38] {
                let mut out = Vec::new();
                write_numeric(value, scale, &mut out);
                assert_eq!(read_numeric(&out), (value, scale.into()), "{value} {scale}");
                let mut of_text = Vec::new();
                let digits = text(|out| write_decimal(value, scale, out));
                write_numeric_of_text(&digits, &mut of_text);
                assert_eq!(of_text, out, "{digits}");
            }
        }
    }

    #[test]
    fn floats_are_written_as_postgresql_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (-1.25e300, "-1.25e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| write_float8(value, out)), expected);
        }
        assert_eq!(text(|out| write_float4(0.1, out)), "0.1");
        assert_eq!(text(|out| write_float4(1e6, out)), "1e+06");
        assert_eq!(text(|out| write_int(i64::MIN, out)), i64::MIN.to_string());
    }
}
