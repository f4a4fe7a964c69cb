//! A price above which something is asked, on some days at some times.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::Deserialize;

use super::days;
use super::intervals::PriceInterval;
use crate::request::{Level, Request};

/// One entry of `strikes`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrikeKeys {
    above: f64,
    #[serde(default = "curtail")]
    level: Level,
    cap_kw: Option<f64>,
    #[serde(default)]
    days: Vec<String>,
    from: Option<String>,
    to: Option<String>,
}

fn curtail() -> Level {
    Level::Curtail
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    above: f64,
    level: Level,
    cap_kw: Option<f64>,
    days: BTreeSet<u32>,
    from: NaiveTime,
    /// The end, if it is not midnight.
    to: Option<NaiveTime>,
}

fn time(key: &str, text: &str) -> Result<NaiveTime, String> {
    let time = NaiveTime::parse_from_str(text, "%H:%M");
    time.map_err(|_| format!("{key} is {text:?}; write hours and minutes, as 14:00"))
}

impl Strike {
    /// Refuses what cannot work. The error names the key.
    pub fn new(keys: StrikeKeys) -> Result<Self, String> {
        if !keys.above.is_finite() {
            return Err("strikes.above is no number".to_owned());
        }
        if keys
            .cap_kw
            .is_some_and(|cap_kw| !cap_kw.is_finite() || cap_kw < 0.0)
        {
            return Err("strikes.cap_kw must be at least 0".to_owned());
        }
        let from = keys
            .from
            .as_deref()
            .map(|text| time("from", text))
            .transpose()?;
        let from = from.unwrap_or_default();
        let to = match keys.to.as_deref() {
            None | Some("24:00") => None,
            Some(text) => Some(time("to", text)?),
        };
        // A window over midnight belongs to the day on which it begins.
        if to == Some(from) {
            return Err("from and to are the same; leave both out for the whole day".to_owned());
        }
        Ok(Self {
            above: keys.above,
            level: keys.level,
            cap_kw: keys.cap_kw,
            days: days(&keys.days)?,
            from,
            to,
        })
    }

    /// What an interval asks for, in the parts of it that lie in the window.
    pub fn requests(&self, interval: &PriceInterval, zone: Tz) -> Vec<Request> {
        if interval.price <= self.above {
            return Vec::new();
        }
        let (Some(start), Some(end)) = (
            DateTime::<Utc>::from_timestamp_micros(interval.start_us),
            DateTime::<Utc>::from_timestamp_micros(interval.end_us),
        ) else {
            return Vec::new();
        };
        let first = start.with_timezone(&zone).date_naive();
        let last = end.with_timezone(&zone).date_naive();
        // A window of the day before may reach over midnight.
        let first = first.checked_sub_days(Days::new(1)).unwrap_or(first);
        let dates = first.iter_days().take_while(|date| *date <= last);
        let windows = dates.filter_map(|date| self.window_us(date, zone));
        let within = windows.filter_map(|(from_us, to_us)| {
            let start_us = from_us.max(interval.start_us);
            let end_us = to_us.min(interval.end_us);
            (start_us < end_us).then(|| Request {
                level: self.level,
                cap_kw: self.cap_kw,
                starts_at_us: Some(start_us),
                ends_at_us: Some(end_us),
                event: Some(format!("price {} above {}", interval.price, self.above)),
            })
        });
        within.collect()
    }

    /// The window that begins on a day.
    fn window_us(&self, date: NaiveDate, zone: Tz) -> Option<(i64, i64)> {
        if !self.days.contains(&date.weekday().num_days_from_monday()) {
            return None;
        }
        let to = self.to.unwrap_or_default();
        let is_over_midnight = to <= self.from;
        let end_date = match is_over_midnight {
            true => date.checked_add_days(Days::new(1))?,
            false => date,
        };
        let micros = |date: NaiveDate, time: NaiveTime| {
            let local = date.and_time(time);
            let found = zone.from_local_datetime(&local).earliest();
            // An hour that is skipped in spring: the one after it.
            let found = found.or_else(|| {
                let later = local.checked_add_signed(chrono::Duration::hours(1))?;
                zone.from_local_datetime(&later).earliest()
            });
            found.map(|time| time.timestamp_micros())
        };
        Some((micros(date, self.from)?, micros(end_date, to)?))
    }
}
