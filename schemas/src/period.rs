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
        let shown = DateTime::from_timestamp_micros(at_us)?.with_timezone(&zone);
        let mut today = shown.date_naive();
        // Where clocks go back over midnight, the day that has begun goes on.
        let tomorrow = today.checked_add_days(Days::new(1))?;
        if midnight_us(tomorrow, zone).is_some_and(|begins| begins <= at_us) {
            today = tomorrow;
        }
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
    use chrono_tz::{OffsetComponents, TZ_VARIANTS};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const MINUTE_US: i64 = 60_000_000;
    const PERIODS: [Period; 4] = [Period::Day, Period::Week, Period::Month, Period::Year];

    /// The date that the clocks of a zone show.
    fn date(at_us: i64, zone: Zone) -> NaiveDate {
        let at = DateTime::from_timestamp_micros(at_us).unwrap();
        at.with_timezone(&zone).date_naive()
    }

    /// The first and the next day by walking through four days minute by minute: a day begins when
    /// its date is first shown, and ends when a later one is.
    fn day_by_walking(at_us: i64, zone: Zone) -> (i64, i64) {
        let minutes = (-2_880..=2_880).map(|minute| at_us + minute * MINUTE_US);
        let mut newest = NaiveDate::MIN;
        let mut begun = Vec::new();
        for minute in minutes {
            if date(minute, zone) > newest {
                newest = date(minute, zone);
                begun.push(minute);
            }
        }
        let next = begun.iter().position(|minute| *minute > at_us).unwrap();
        (begun[next - 1], begun[next])
    }

    /// What the days of a period have in common.
    fn name(period: Period, day: NaiveDate) -> (i32, u32) {
        match period {
            Period::Day => (day.year(), day.ordinal()),
            Period::Week => (day.iso_week().year(), day.iso_week().week()),
            Period::Month => (day.year(), day.month()),
            Period::Year => (day.year(), 0),
        }
    }

    /// A moment in a year of some clocks, in half of the cases close to one at which they change.
    fn moment(zone: Zone, year: i64, dice: i64, is_near: bool) -> i64 {
        let begin = year * 365 * 86_400;
        let at = |s: i64| DateTime::from_timestamp(s, 0).unwrap().with_timezone(&zone);
        let offset = |s: i64| {
            let shown = at(s);
            let offset = shown.offset();
            offset.base_utc_offset() + offset.dst_offset()
        };
        let mut steps = (0..800).map(|half_day| begin + half_day * 43_200);
        let change = steps.find(|s| is_near && offset(*s) != offset(s + 43_200));
        let seconds = change.map_or(begin + dice * 25, |s| s + dice % 172_800 - 86_400);
        seconds.div_euclid(60) * MINUTE_US
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_moment_is_in_the_period_that_walking_finds(
            zone in select(&TZ_VARIANTS[..]), year in 4i64..67, dice in 0i64..1_261_440,
            is_near: bool, period in select(&PERIODS[..]),
        ) {
            let at_us = moment(zone, year, dice, is_near);
            let (mut begins, mut ends) = day_by_walking(at_us, zone);
            prop_assert_eq!(Period::Day.around(at_us, zone), Some((begins, ends)));
            let own = name(period, date(begins, zone));
            // Day by day to the first and the last of the same week, month or year.
            let day = |at_us: i64| {
                let span = Period::Day.around(at_us, zone).unwrap();
                (span, name(period, date(span.0, zone)))
            };
            while let ((before, _), of) = day(begins - 1) && of == own {
                begins = before;
            }
            while let ((_, after), of) = day(ends) && of == own {
                ends = after;
            }
            prop_assert_eq!(period.around(at_us, zone), Some((begins, ends)));
        }
    }

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
    fn a_day_goes_on_where_its_clocks_go_back_over_midnight() {
        // On 2006-10-29 the clocks of St. John's went from 00:01 to 23:01 of the day before.
        let newfoundland = chrono_tz::America::St_Johns;
        for at in ["2006-10-29T02:30:30Z", "2006-10-29T02:45:00Z"] {
            check(
                Period::Day,
                newfoundland,
                at,
                "2006-10-29T02:30:00Z",
                "2006-10-30T03:30:00Z",
            );
        }
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
