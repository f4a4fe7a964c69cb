//! The prices in a document, with their times.

use chrono::DateTime;
use headframe_ingest::source::json;
use serde::Deserialize;
use serde_json::Value;

use super::pointer;

/// Intervals of one document.
const MOST_INTERVALS: usize = 10_000;
/// Microseconds of the longest interval.
const LONGEST_US: i64 = 31 * 86_400 * 1_000_000;
/// From this number on a time is in milliseconds: in seconds it would lie in the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// Where intervals and their times stand.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntervalKeys {
    /// The pointer of the list.
    pub list: String,
    /// Of the start, within an entry.
    pub start: String,
    /// Of the end, within an entry.
    pub end: Option<String>,
    /// Seconds of each instead of an end.
    pub length_s: Option<u32>,
}

impl IntervalKeys {
    /// Refuses what cannot work. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        pointer("intervals.list", &self.list)?;
        pointer("intervals.start", &self.start)?;
        if let Some(end) = &self.end {
            pointer("intervals.end", end)?;
        }
        match (&self.end, self.length_s) {
            (Some(_), None) | (None, Some(1..=2_678_400)) => Ok(()),
            _ => Err("set intervals.end, or intervals.length_s of 1 to 2678400".to_owned()),
        }
    }
}

/// A price and when it holds, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriceInterval {
    /// From.
    pub start_us: i64,
    /// To, which is not in it.
    pub end_us: i64,
    /// In the unit of the document.
    pub price: f64,
}

/// All of them; a single price holds for the minute from now on.
pub fn read(
    document: &Value,
    price: &str,
    keys: Option<&IntervalKeys>,
    now_us: i64,
) -> Result<Vec<PriceInterval>, String> {
    let price_of = |value: &Value| {
        let found = value.pointer(price).and_then(json::number);
        found.ok_or_else(|| format!("there is no number at {price:?}"))
    };
    let Some(keys) = keys else {
        return Ok(vec![PriceInterval {
            start_us: now_us,
            end_us: now_us.saturating_add(60_000_000),
            price: price_of(document)?,
        }]);
    };
    let list = document.pointer(&keys.list).and_then(Value::as_array);
    let list = list.ok_or_else(|| format!("there is no list at {:?}", keys.list))?;
    if list.len() > MOST_INTERVALS {
        return Err(format!("there are more than {MOST_INTERVALS} intervals"));
    }
    let interval = |entry: &Value| {
        let start_us = time_us(entry, &keys.start)?;
        let end_us = match &keys.end {
            Some(end) => time_us(entry, end)?,
            None => start_us.saturating_add(i64::from(keys.length_s.unwrap_or(1)) * 1_000_000),
        };
        if end_us <= start_us || end_us.saturating_sub(start_us) > LONGEST_US {
            return Err("an interval ends before it starts, or is longer than a month".to_owned());
        }
        Ok(PriceInterval {
            start_us,
            end_us,
            price: price_of(entry)?,
        })
    };
    list.iter().map(interval).collect()
}

fn time_us(entry: &Value, at: &str) -> Result<i64, String> {
    let wrong = || format!("there is no time at {at:?}");
    let value = entry.pointer(at).ok_or_else(wrong)?;
    if let Some(number) = json::number(value) {
        let factor = if number >= MILLIS_FROM { 1e3 } else { 1e6 };
        return Ok((number * factor) as i64);
    }
    let text = value.as_str().ok_or_else(wrong)?;
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
    Ok(time.timestamp_micros())
}
