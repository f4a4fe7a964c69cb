//! A span of whole windows that ends now: what "the last hour" means to tables of windows.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// From the start of a window until now.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The view's tier, e.g. `1m`.
    pub tier: &'static str,
    /// Where it begins, in SQL's words: the value of a parameter.
    pub from: String,
    /// How long it is; a little less than its name, because the last window is not over.
    pub seconds: f64,
}

impl Span {
    /// The last hour, in windows of a minute.
    pub fn hour(now_s: f64) -> Self {
        Self::last_windows("1m", 60, 60, now_s)
    }

    /// The last day, in windows of an hour.
    pub fn day(now_s: f64) -> Self {
        Self::last_windows("1h", 3_600, 24, now_s)
    }

    /// The last `windows` windows of `window_s` seconds, the present one included.
    fn last_windows(tier: &'static str, window_s: i64, windows: i64, now_s: f64) -> Self {
        let from = (now_s as i64).div_euclid(window_s) * window_s - (windows - 1) * window_s;
        Self {
            tier,
            from: rfc3339(from),
            seconds: now_s - from as f64,
        }
    }
}

/// Seconds since 1970.
pub fn now_s() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A time as RFC 3339 writes it, in UTC.
pub fn rfc3339(second: i64) -> String {
    let time = DateTime::from_timestamp(second, 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::{Span, rfc3339};

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_571_200, "2026-01-05T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(second), text);
        }
    }

    #[test]
    fn a_span_ends_now_and_begins_with_a_window() {
        // Ten seconds past a full hour.
        let now = 1_767_571_210.5;
        assert_eq!(
            Span::hour(now),
            Span {
                tier: "1m",
                from: "2026-01-04T23:01:00Z".to_owned(),
                seconds: 3_550.5
            }
        );
        assert_eq!(
            Span::day(now),
            Span {
                tier: "1h",
                from: "2026-01-04T01:00:00Z".to_owned(),
                seconds: 82_810.5
            }
        );
    }
}
