//! `price`: the price of energy from JSON, and the prices above which the site asks itself to draw
//! less, by time of day.
//!
//! The document has either one number, which is the price now, or a list of intervals with their
//! times: RFC 3339, or seconds or milliseconds since 1970. Without a price for now the signal is
//! unknown.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::evidence::{Evidence, RawBody};
use super::{Keys, ReadContext, Signal, SignalKind, fetch, parse_keys};
use crate::request::{Level, Request, SignalValue};

mod intervals;
mod strike;

use intervals::{IntervalKeys, PriceInterval};
use strike::{Strike, StrikeKeys};

/// Entries of `strikes`.
const MOST_STRIKES: usize = 50;

/// The kind.
pub struct Price;

impl SignalKind for Price {
    fn kind(&self) -> &'static str {
        "price"
    }
    fn doc(&self) -> &'static str {
        "The price of energy from JSON, against strike prices by time of day."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "url",
                "The document. Redirections to other hosts are not followed.",
            ),
            (
                "price",
                "The JSON pointer of the price; within an interval where `intervals` is set.",
            ),
            (
                "intervals",
                "`{ list, start, end, length_s }`: the pointer of a list, and within each of its \
                 entries those of start and end; `length_s` instead of `end`.",
            ),
            (
                "strikes",
                "A list of `{ above, level, cap_kw, days, from, to }`: from which price on what is \
                 asked. `level` is curtail when left out; `days` are mon to sun, all when left \
                 out; `from` and `to` are local times such as `\"14:00\"`, the whole day when left \
                 out.",
            ),
            (
                "time_zone",
                "Of `from` and `to`, such as America/Chicago; UTC when left out.",
            ),
        ]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        Ok(Box::new(PriceSignal::new(parse_keys(keys)?)?))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceKeys {
    url: String,
    price: String,
    intervals: Option<IntervalKeys>,
    strikes: Vec<StrikeKeys>,
    time_zone: Option<String>,
}

struct PriceSignal {
    url: Url,
    price: String,
    intervals: Option<IntervalKeys>,
    strikes: Vec<Strike>,
    zone: Tz,
    evidence: Evidence,
}

fn pointer(key: &str, text: &str) -> Result<(), String> {
    match text.is_empty() || text.starts_with('/') {
        true => Ok(()),
        false => Err(format!("{key} is {text:?}; a JSON pointer begins with /")),
    }
}

impl PriceSignal {
    fn new(keys: PriceKeys) -> Result<Self, String> {
        pointer("price", &keys.price)?;
        if let Some(intervals) = &keys.intervals {
            intervals.check()?;
        }
        if keys.strikes.is_empty() || keys.strikes.len() > MOST_STRIKES {
            return Err(format!("strikes must have 1 to {MOST_STRIKES} entries"));
        }
        let zone = keys.time_zone.as_deref().unwrap_or("UTC");
        Ok(Self {
            url: fetch::checked_url(&keys.url)?,
            price: keys.price,
            intervals: keys.intervals,
            strikes: keys
                .strikes
                .into_iter()
                .map(Strike::new)
                .collect::<Result<_, _>>()?,
            zone: zone
                .parse()
                .map_err(|_| format!("time_zone is {zone:?}, which is none"))?,
            evidence: Evidence::default(),
        })
    }

    /// What a body asks for at a time.
    fn value(&self, body: &[u8], now_us: i64) -> Result<Vec<Request>, String> {
        let document: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the answer is not JSON: {error}"))?;
        let all = intervals::read(&document, &self.price, self.intervals.as_ref(), now_us)?;
        let is_now = |one: &PriceInterval| one.start_us <= now_us && now_us < one.end_us;
        if !all.iter().any(is_now) {
            return Err("no interval of the prices has the time now".to_owned());
        }
        let mut requests = Vec::new();
        for interval in all.iter().filter(|one| one.end_us > now_us) {
            requests.extend(
                self.strikes
                    .iter()
                    .flat_map(|one| one.requests(interval, self.zone)),
            );
        }
        // A single price says nothing about later; it is asked for again.
        if self.intervals.is_none() {
            requests.retain(|one| one.starts_at_us.is_none_or(|start_us| start_us <= now_us));
            for request in &mut requests {
                (request.starts_at_us, request.ends_at_us) = (None, None);
            }
        }
        requests.retain(|one| one.ends_at_us.is_none_or(|end_us| end_us > now_us));
        requests.sort_by_key(|one| {
            let is_later = one.starts_at_us.is_some_and(|start_us| start_us > now_us);
            let start_us = one.starts_at_us.filter(|_| is_later);
            (is_later, start_us, std::cmp::Reverse(one.level))
        });
        if requests
            .first()
            .is_none_or(|one| one.starts_at_us > Some(now_us))
        {
            requests.insert(0, Request::of_level(Level::Normal));
        }
        Ok(requests)
    }
}

#[async_trait]
impl Signal for PriceSignal {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        let body = match fetch::body(&self.url, context).await {
            Ok(body) => body,
            Err(reason) => return SignalValue::Unknown(reason),
        };
        self.evidence.add(context.now, body.clone());
        match self.value(&body, context.now.utc_us) {
            Ok(requests) => SignalValue::Known(requests),
            Err(reason) => SignalValue::Unknown(reason),
        }
    }

    fn evidence(&self) -> Vec<RawBody> {
        self.evidence.all()
    }
}

/// The days of a strike, from their short names. The error names the key.
fn days(names: &[String]) -> Result<BTreeSet<u32>, String> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let number = |name: &String| {
        let found = NAMES
            .iter()
            .position(|known| *known == name.to_ascii_lowercase());
        let found = found.ok_or_else(|| format!("days has {name:?}; there are mon to sun"));
        found.map(|index| index as u32)
    };
    match names.is_empty() {
        true => Ok((0..7).collect()),
        false => names.iter().map(number).collect(),
    }
}

#[cfg(test)]
mod tests;
