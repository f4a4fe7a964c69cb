//! Days, weeks, months and years by the calendar of a place.

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveTime, TimeDelta};
pub use chrono_tz::Tz as Zone;

/// The period that energy is limited in. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight: 23, 24 or 25 hours.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// From the first of January on.
    Year,
}

impl Period {
    /// The period that the registry calls so.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "day" => Some(Self::Day),
            "week" => Some(Self::Week),
            "month" => Some(Self::Month),
            "year" => Some(Self::Year),
            _ => None,
        }
    }

    /// Where the period that holds this moment begins and ends, microseconds since 1970; `None`
    /// for moments that no calendar has.
    pub fn around(self, at_us: i64, zone: Zone) -> Option<(i64, i64)> {
        let today = DateTime::from_timestamp_micros(at_us)?
            .with_timezone(&zone)
            .date_naive();
        let (first, next) = match self {
            Self::Day => (today, today.checked_add_days(Days::new(1))?),
            Self::Week => {
                let since_monday = today.weekday().num_days_from_monday();
                let monday = today.checked_sub_days(Days::new(u64::from(since_monday)))?;
                (monday, monday.checked_add_days(Days::new(7))?)
            }
            Self::Month => {
                let first = today.with_day(1)?;
                (first, first.checked_add_months(Months::new(1))?)
            }
            Self::Year => {
                let first = NaiveDate::from_ymd_opt(today.year(), 1, 1)?;
                (first, first.checked_add_months(Months::new(12))?)
            }
        };
        Some((midnight_us(first, zone)?, midnight_us(next, zone)?))
    }
}

/// When a day begins. Where the clock is put forward at midnight, the day begins later by that;
/// where it is put back to before midnight, midnight comes twice and the day begins with the first.
fn midnight_us(day: NaiveDate, zone: Zone) -> Option<i64> {
    let mut local = day.and_time(NaiveTime::MIN);
    // No clock was ever put forward by more than a day.
    for _ in 0..=96 {
        match local.and_local_timezone(zone) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => {
                return Some(at.timestamp_micros());
            }
            LocalResult::None => local += TimeDelta::minutes(15),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::DateTime;

    use super::*;

    fn us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_micros()
    }

    fn check(period: Period, zone: Zone, at: &str, begins: &str, ends: &str) {
        let expected = (us(begins), us(ends));
        assert_eq!(
            period.around(us(at), zone),
            Some(expected),
            "{period:?} {zone} {at}"
        );
        // Its first moment is in it, and its last is not.
        assert_eq!(period.around(expected.0, zone), Some(expected));
        assert_eq!(period.around(expected.1 - 1, zone), Some(expected));
        assert_ne!(period.around(expected.1, zone), Some(expected));
    }

    #[test]
    fn days_have_as_many_hours_as_their_clocks_show() {
        let oslo = chrono_tz::Europe::Oslo;
        let noon = "2026-03-29T12:00:00Z";
        // 23 hours, then 25.
        check(
            Period::Day,
            oslo,
            noon,
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
        let noon = "2026-10-25T12:00:00Z";
        check(
            Period::Day,
            oslo,
            noon,
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        );
        let kathmandu = chrono_tz::Asia::Kathmandu;
        check(
            Period::Day,
            kathmandu,
            noon,
            "2026-10-24T18:15:00Z",
            "2026-10-25T18:15:00Z",
        );
    }

    #[test]
    fn a_day_that_has_no_midnight_begins_when_its_clock_does() {
        // On 2026-04-24 the clocks of Cairo go from 00:00 to 01:00.
        let noon = "2026-04-24T12:00:00Z";
        let cairo = chrono_tz::Africa::Cairo;
        check(
            Period::Day,
            cairo,
            noon,
            "2026-04-23T22:00:00Z",
            "2026-04-24T21:00:00Z",
        );
    }

    #[test]
    fn weeks_months_and_years_begin_where_the_calendar_of_the_place_says() {
        let austin = chrono_tz::America::Chicago;
        let at = "2026-03-01T03:00:00Z";
        check(
            Period::Week,
            austin,
            at,
            "2026-02-23T06:00:00Z",
            "2026-03-02T06:00:00Z",
        );
        check(
            Period::Month,
            austin,
            at,
            "2026-02-01T06:00:00Z",
            "2026-03-01T06:00:00Z",
        );
        check(
            Period::Year,
            austin,
            at,
            "2026-01-01T06:00:00Z",
            "2027-01-01T06:00:00Z",
        );
        check(
            Period::Month,
            Zone::UTC,
            at,
            "2026-03-01T00:00:00Z",
            "2026-04-01T00:00:00Z",
        );
        assert_eq!(Period::Day.around(i64::MAX, Zone::UTC), None);
    }
}
