//! Times as a report writes them: UTC, as ISO 8601 has them.

use chrono::{DateTime, SecondsFormat};

/// Microseconds since 1970 to a tenth of a second at most, such as `2026-03-01T12:00:00.5Z`.
pub fn utc(us: i64) -> String {
    let tenths = us.div_euclid(100_000) * 100_000;
    let time = DateTime::from_timestamp_micros(tenths).unwrap_or_default();
    match tenths.rem_euclid(1_000_000) {
        0 => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        rest => format!("{}.{}Z", time.format("%Y-%m-%dT%H:%M:%S"), rest / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_of_seconds_are_written_where_there_are_any() {
        assert_eq!(utc(1_772_323_200_000_000), "2026-03-01T00:00:00Z");
        assert_eq!(utc(1_772_323_200_580_000), "2026-03-01T00:00:00.5Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59.9Z");
    }
}
