//! Hours of a day by the clock of a place, such as those in which power is short.

use chrono::{DateTime, Timelike};

use crate::period::Zone;

const DAY_MINUTES: u32 = 1_440;

/// From one minute of a day to another, the end excluded; over midnight where the end is not after
/// the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from_minute: u32,
    to_minute: u32,
}

impl Hours {
    /// The hours that a text such as `17:00-21:30` names; 24:00 ends a day.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from_minute, to_minute) = (minute(from)?, minute(to)?);
        (from_minute < DAY_MINUTES && from_minute != to_minute).then_some(Self {
            from_minute,
            to_minute,
        })
    }

    /// Whether a moment, microseconds since 1970, is within them. Moments that no calendar has are
    /// not.
    pub fn contains(self, at_us: i64, zone: Zone) -> bool {
        let Some(at) = DateTime::from_timestamp_micros(at_us) else {
            return false;
        };
        let local = at.with_timezone(&zone);
        let minute = local.hour() * 60 + local.minute();
        match self.from_minute < self.to_minute {
            true => (self.from_minute..self.to_minute).contains(&minute),
            false => minute >= self.from_minute || minute < self.to_minute,
        }
    }
}

fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |digits: &str| match digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse::<u32>().ok(),
            false => None,
        };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hours_hold_by_the_clock_of_their_place_and_over_midnight() {
        // 2026-07-01T16:30:00Z is half past six in Oslo.
        let at = 1_782_923_400_000_000;
        let oslo = chrono_tz::Europe::Oslo;
        let holds = |text: &str, zone| Hours::parse(text).unwrap().contains(at, zone);
        assert!(holds("18:30-18:31", oslo));
        assert!(!holds("18:00-18:30", oslo));
        assert!(holds("16:00-17:00", Zone::UTC));
        assert!(holds("18:00-02:00", oslo));
        assert!(holds("22:00-18:31", oslo));
        assert!(!holds("22:00-18:00", oslo));
        assert!(holds("00:00-24:00", oslo));
    }

    #[test]
    fn what_is_no_hours_is_refused() {
        for text in [
            "",
            "17-18",
            "17:00",
            "17:00-17:00",
            "24:00-01:00",
            "7:00-8:00",
            "17:60-18:00",
            "17:00-24:01",
            "+7:00-08:00",
        ] {
            assert_eq!(Hours::parse(text), None, "{text}");
        }
    }
}
