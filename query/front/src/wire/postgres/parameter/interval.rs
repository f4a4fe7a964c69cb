//! Intervals as clients write them: `1 year 2 mons 3 days -04:05:06.789`.

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_AN_HOUR: i64 = 3_600;

/// Months, days and microseconds; `None` for another form.
pub(super) fn of_text(text: &str) -> Option<(i32, i32, i64)> {
    let (mut months, mut days, mut micros) = (0_i32, 0_i32, 0_i64);
    let mut words = text.split_whitespace();
    let mut is_empty = true;
    while let Some(word) = words.next() {
        is_empty = false;
        if word.contains(':') {
            micros = micros.checked_add(clock(word)?)?;
            continue;
        }
        let unit = words.next()?.to_ascii_lowercase();
        let unit = unit.strip_suffix('s').unwrap_or(&unit);
        if matches!(unit, "sec" | "second") {
            micros = micros.checked_add(seconds(word)?)?;
            continue;
        }
        let count: i32 = word.parse().ok()?;
        let of_time = |seconds: i64| i64::from(count).checked_mul(seconds * MICROS_A_SECOND);
        match unit {
            "year" | "yr" => months = months.checked_add(count.checked_mul(12)?)?,
            "mon" | "month" => months = months.checked_add(count)?,
            "week" => days = days.checked_add(count.checked_mul(7)?)?,
            "day" => days = days.checked_add(count)?,
            "hour" | "hr" => micros = micros.checked_add(of_time(SECONDS_AN_HOUR)?)?,
            "min" | "minute" => micros = micros.checked_add(of_time(60)?)?,
            _ => return None,
        }
    }
    (!is_empty).then_some((months, days, micros))
}

/// `-4:05:06.789`.
fn clock(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let hours: u32 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    let micros = match parts.next() {
        Some(part) => seconds(part)?,
        None => 0,
    };
    if parts.next().is_some() || minutes > 59 || micros < 0 {
        return None;
    }
    let whole = i64::from(hours) * SECONDS_AN_HOUR + i64::from(minutes) * 60;
    Some(sign * (whole * MICROS_A_SECOND).checked_add(micros)?)
}

/// Microseconds of seconds with a fraction.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = whole.starts_with('-');
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?.checked_mul(MICROS_A_SECOND)?;
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    whole.checked_add(if is_negative { -micros } else { micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_drivers_write_them() {
        for (text, expected) in [
            ("3 days 0:00:05", Some((0, 3, 5_000_000))),
            (
                "1 year 2 mons -3 days -04:05:06.789",
                Some((14, -3, -14_706_789_000)),
            ),
            ("2 days 3.000005 seconds", Some((0, 2, 3_000_005))),
            ("-0.5 sec", Some((0, 0, -500_000))),
            ("1 week 2 hours", Some((0, 7, 7_200_000_000))),
            ("", None),
            ("P1D", None),
            ("soon", None),
            ("3 moons", None),
            ("1:99", None),
            ("99999999999 days", None),
        ] {
            assert_eq!(of_text(text), expected, "{text}");
        }
    }
}
