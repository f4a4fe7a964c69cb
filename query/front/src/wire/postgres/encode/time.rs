//! Dates, times and intervals as PostgreSQL writes them, in its ISO style.

use std::io::Write;

use arrow::datatypes::IntervalMonthDayNano;

/// Days from 1970 to 2000, where PostgreSQL begins to count.
pub(in crate::wire::postgres) const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970 to 2000.
pub(in crate::wire::postgres) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;
const DAY_MICROS: i64 = 86_400_000_000;

/// The date that many days after 1970-01-01.
fn civil(days: i64) -> (i64, u32, u32) {
    // Years that begin in March put the leap day at their end.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Months and days are small and positive.
    (year, month as u32, day as u32)
}

fn two(value: u32, out: &mut Vec<u8>) {
    out.push(b'0' + (value / 10 % 10) as u8);
    out.push(b'0' + (value % 10) as u8);
}

/// Tells whether the year is before Christ, which is said at the end.
fn put_date(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    let (year, before) = if year > 0 {
        (year, false)
    } else {
        (1 - year, true)
    };
    match u32::try_from(year) {
        Ok(year @ 0..=9_999) => {
            two(year / 100, out);
            two(year % 100, out);
        }
        // Writing into memory does not fail.
        _ => write!(out, "{year}").unwrap_or_default(),
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
    before
}

/// A date, from days since 1970.
pub(super) fn write_date(days: i32, out: &mut Vec<u8>) {
    if put_date(days.into(), out) {
        out.extend_from_slice(b" BC");
    }
}

/// A time of a day, from microseconds since midnight.
pub(super) fn write_time(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.div_euclid(1_000_000);
    put_clock(seconds, micros.rem_euclid(1_000_000), out);
}

/// Seconds may be of more than a day, as those of an interval are.
fn put_clock(seconds: i64, micros: i64, out: &mut Vec<u8>) {
    match u32::try_from(seconds / 3_600) {
        Ok(hours @ 0..=99) => two(hours, out),
        // Writing into memory does not fail.
        _ => write!(out, "{}", seconds / 3_600).unwrap_or_default(),
    }
    out.push(b':');
    two((seconds / 60 % 60) as u32, out);
    out.push(b':');
    two((seconds % 60) as u32, out);
    if micros > 0 {
        out.push(b'.');
        let mut rest = micros;
        let mut power = 100_000;
        while rest > 0 {
            out.push(b'0' + (rest / power) as u8);
            rest %= power;
            power /= 10;
        }
    }
}

/// A timestamp without its zone, from microseconds since 1970.
pub(super) fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let before = put_date(micros.div_euclid(DAY_MICROS), out);
    out.push(b' ');
    write_time(micros.rem_euclid(DAY_MICROS), out);
    if before {
        out.extend_from_slice(b" BC");
    }
}

/// An interval in the style `postgres`: `1 year 2 mons -3 days 04:05:06.7`.
pub(super) fn write_interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    let micros = value.nanoseconds / 1_000;
    let parts = [
        (value.months / 12, "year"),
        (value.months % 12, "mon"),
        (value.days, "day"),
    ];
    for (count, name) in parts {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            // Writing into memory does not fail.
            write!(out, "{space}{count} {name}{plural}").unwrap_or_default();
        }
    }
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        }
        let size = micros.unsigned_abs();
        // A million goes into what is left of 64 bits.
        put_clock((size / 1_000_000) as i64, (size % 1_000_000) as i64, out);
    }
}

/// Microseconds, days and months.
pub(super) fn write_interval_binary(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.nanoseconds / 1_000).to_be_bytes());
    out.extend_from_slice(&value.days.to_be_bytes());
    out.extend_from_slice(&value.months.to_be_bytes());
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
    fn times_are_written_as_postgresql_does() {
        for (micros, expected) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59.999999"),
            (951_782_400_000_000, "2000-02-29 00:00:00"),
            (1_767_571_200_120_000, "2026-01-05 00:00:00.12"),
            (253_402_300_800_000_000, "10000-01-01 00:00:00"),
            (-62_135_596_800_000_000, "0001-01-01 00:00:00"),
            (-62_135_596_800_000_001, "0001-12-31 23:59:59.999999 BC"),
        ] {
            assert_eq!(text(|out| write_timestamp(micros, out)), expected);
        }
        assert_eq!(text(|out| write_date(EPOCH_DAYS, out)), "2000-01-01");
        for micros in [i64::MIN, i64::MAX] {
            assert!(text(|out| write_timestamp(micros, out)).contains(':'));
        }
    }

    #[test]
    fn intervals_are_written_in_the_style_postgres() {
        for (months, days, nanos, expected) in [
            (0, 0, 0, "00:00:00"),
            (
                14,
                -3,
                14_706_007_000_000,
                "1 year 2 mons -3 days 04:05:06.007",
            ),
            (0, 1, 0, "1 day"),
            (0, 0, -90_000_000_000, "-00:01:30"),
            (0, 0, 360_000_000_000_000, "100:00:00"),
        ] {
            let value = IntervalMonthDayNano::new(months, days, nanos);
            assert_eq!(text(|out| write_interval(value, out)), expected);
        }
    }
}
