//! What events ask of the site at a time, as a function of their JSON.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::DateTime;
use headframe_ingest::source::json;
use serde_json::Value;

use super::duration;
use crate::request::{Level, Request, SignalValue};
use crate::signal::level_map::{self, LevelRange};

/// Intervals of one event.
const MOST_INTERVALS: usize = 2_000;
/// The year that means "now".
const NOW: &str = "0001-01-01";

/// What payloads mean here.
#[derive(Debug, Clone, Copy)]
pub struct Meaning<'a> {
    /// Of `SIMPLE`.
    pub simple: &'a [LevelRange],
    /// What `DISPATCH_SETPOINT_RELATIVE` counts from.
    pub reference_kw: Option<f64>,
    /// From which `PRICE` asks for something.
    pub price_above: Option<f64>,
    /// The only program that counts.
    pub program: Option<&'a str>,
    /// Our name.
    pub ven_name: &'a str,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// What is asked and announced.
    pub value: SignalValue,
    /// The event that asks most urgently now, and its program.
    pub asking: Option<(String, String)>,
}

/// A payload of an interval, with its time.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    kind: String,
    priority: u64,
    program: String,
    request: Request,
}

/// What these events ask at a time. What is running comes first, the most urgent before the others.
/// One event that cannot be understood makes all unknown, unless others ask to curtail already.
pub fn requests(events: &[Value], meaning: &Meaning<'_>, now_us: i64) -> Found {
    let (mut candidates, mut wrong) = (Vec::new(), None);
    for event in events {
        let id = text(event, "id");
        match of_event(event, meaning, now_us) {
            Ok(found) => candidates.extend(found),
            Err(reason) => wrong = wrong.or(Some(format!("the event {id:.80?}: {reason}"))),
        }
    }
    let is_over = |one: &Candidate| {
        one.request
            .ends_at_us
            .is_some_and(|ends_at| ends_at <= now_us)
    };
    candidates.retain(|one| !is_over(one));
    let is_running = |one: &Candidate| {
        one.request
            .starts_at_us
            .is_none_or(|starts_at| starts_at <= now_us)
    };
    let (running, announced): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|one| is_running(one));
    let mut running = highest_priorities(running);
    running.sort_by(|one, other| {
        let cap = |one: &Candidate| one.request.cap_kw.unwrap_or(f64::INFINITY);
        let by_level = other.request.level.cmp(&one.request.level);
        by_level.then(cap(one).total_cmp(&cap(other)))
    });
    let mut announced = announced;
    announced.sort_by_key(|one| {
        (
            one.request.starts_at_us,
            std::cmp::Reverse(one.request.level),
        )
    });
    let first = running
        .first()
        .filter(|one| one.request.level > Level::Normal);
    let asking = first.map(|one| {
        (
            one.request.event.clone().unwrap_or_default(),
            one.program.clone(),
        )
    });
    let curtails = first.is_some_and(|one| one.request.level >= Level::Curtail);
    let value = match wrong {
        Some(reason) if !curtails => SignalValue::Unknown(reason),
        _ => {
            let all = running.into_iter().chain(announced);
            SignalValue::Known(all.map(|one| one.request).collect())
        }
    };
    Found { value, asking }
}

/// Of each payload type only those of the highest priority, which has the lowest number.
fn highest_priorities(running: Vec<Candidate>) -> Vec<Candidate> {
    let best = |kind: &str| {
        let same = running.iter().filter(|one| one.kind == kind);
        same.map(|one| one.priority).min()
    };
    let kept = running
        .iter()
        .filter(|one| Some(one.priority) == best(&one.kind));
    kept.cloned().collect()
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A start and a length, in microseconds; either may be missing, and a length may have no end.
#[derive(Debug, Clone, Copy, Default)]
struct Period {
    start_us: Option<i64>,
    length_us: Option<Option<i64>>,
    randomize_us: i64,
}

/// Reads a period. A start that means "now" is the time at which the event was last changed.
fn period(value: Option<&Value>, changed_us: Option<i64>) -> Result<Period, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(Period::default());
    };
    let start = value.get("start").and_then(Value::as_str);
    let start_us = match start {
        Some(start) if start.starts_with(NOW) => changed_us,
        Some(start) => Some(time_us(start)?),
        None => None,
    };
    let length = value.get("duration").and_then(Value::as_str);
    let random = value.get("randomizeStart").and_then(Value::as_str);
    Ok(Period {
        start_us,
        length_us: length.map(duration::micros).transpose()?,
        randomize_us: match random.map(duration::micros).transpose()? {
            Some(Some(random)) => random,
            _ => 0,
        },
    })
}

fn time_us(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text);
    let time = time.map_err(|_| format!("{text:.40?} is no time of RFC 3339"))?;
    Ok(time.timestamp_micros())
}

fn of_event(event: &Value, meaning: &Meaning<'_>, now_us: i64) -> Result<Vec<Candidate>, String> {
    let program = text(event, "programID");
    let is_other = meaning.program.is_some_and(|wanted| wanted != program);
    if is_other || !is_for_us(event, meaning.ven_name) {
        return Ok(Vec::new());
    }
    let id = text(event, "id");
    let changed = ["modificationDateTime", "createdDateTime"];
    let changed = changed.iter().find_map(|key| event.get(*key)?.as_str());
    let changed_us = changed.map(time_us).transpose()?;
    let whole = period(event.get("intervalPeriod"), changed_us)?;
    let intervals = event.get("intervals").and_then(Value::as_array);
    let intervals = intervals.ok_or("it has no intervals")?;
    if intervals.len() > MOST_INTERVALS {
        return Err(format!("it has more than {MOST_INTERVALS} intervals"));
    }
    let shift_us = (whole.randomize_us as f64 * share(&id, meaning.ven_name)) as i64;
    let priority = event.get("priority").and_then(Value::as_u64);
    let mut next_us = whole.start_us;
    let mut found = Vec::new();
    for interval in intervals {
        let own = period(interval.get("intervalPeriod"), changed_us)?;
        let start_us = own
            .start_us
            .or(next_us)
            .map(|start| start.saturating_add(shift_us));
        let length_us = own.length_us.or(whole.length_us).flatten();
        let end_us =
            length_us.and_then(|length| Some(start_us.or(changed_us)?.saturating_add(length)));
        next_us = match own.start_us.or(next_us).zip(length_us) {
            Some((start, length)) => Some(start.saturating_add(length)),
            None => next_us,
        };
        if end_us.is_some_and(|end| end <= now_us) {
            continue;
        }
        let payloads = interval.get("payloads").and_then(Value::as_array);
        for payload in payloads.into_iter().flatten() {
            let kind = text(payload, "type");
            if let Some(request) = payload_request(event, payload, &kind, meaning)? {
                found.push(Candidate {
                    kind,
                    // None is the lowest.
                    priority: priority.unwrap_or(u64::MAX),
                    program: program.clone(),
                    request: Request {
                        starts_at_us: start_us,
                        ends_at_us: end_us,
                        event: Some(id.clone()),
                        ..request
                    },
                });
            }
        }
    }
    Ok(found)
}

/// Whether an event with targets by name, as OpenADR 3.0 writes them, has us among them. Since 3.1
/// the server chooses by targets.
fn is_for_us(event: &Value, ven_name: &str) -> bool {
    let targets = event.get("targets").and_then(Value::as_array);
    let names = targets.into_iter().flatten();
    let names = names.filter(|target| text(target, "type") == "VEN_NAME");
    let mut names = names
        .filter_map(|target| target.get("values")?.as_array())
        .peekable();
    names.peek().is_none() || names.flatten().any(|name| name.as_str() == Some(ven_name))
}

/// From 0 up to 1, by event and name.
fn share(event: &str, ven_name: &str) -> f64 {
    let hash = digest(&SHA256, format!("{event}\n{ven_name}").as_bytes());
    let first = hash.as_ref().iter().take(6);
    first.fold(0.0, |share, byte| (share + f64::from(*byte)) / 256.0)
}

/// What a payload asks for; nothing when its type does not matter here.
fn payload_request(
    event: &Value,
    payload: &Value,
    kind: &str,
    meaning: &Meaning<'_>,
) -> Result<Option<Request>, String> {
    let number = || {
        let first = payload.pointer("/values/0");
        let number = first.and_then(json::number);
        number.ok_or_else(|| format!("the payload {kind} has no number"))
    };
    let cap = |cap_kw: f64| {
        Ok(Some(Request {
            cap_kw: Some(cap_kw.max(0.0)),
            ..Request::of_level(Level::Curtail)
        }))
    };
    match kind {
        "SIMPLE" => level_map::request(meaning.simple, number()?).map(Some),
        "IMPORT_CAPACITY_LIMIT" | "DISPATCH_SETPOINT" => {
            is_in_kw(event, kind)?;
            cap(number()?)
        }
        "DISPATCH_SETPOINT_RELATIVE" => {
            is_in_kw(event, kind)?;
            let reference_kw = meaning.reference_kw;
            let reference_kw = reference_kw.ok_or("reference_kw is not set, which it needs")?;
            cap(reference_kw + number()?)
        }
        "ALERT_GRID_EMERGENCY" => Ok(Some(Request::of_level(Level::Emergency))),
        "PRICE" => match meaning.price_above {
            Some(most) if number()? > most => Ok(Some(Request::of_level(Level::Curtail))),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Refuses another unit than kW, where the event says one.
fn is_in_kw(event: &Value, kind: &str) -> Result<(), String> {
    let descriptors = event.get("payloadDescriptors").and_then(Value::as_array);
    let mut descriptors = descriptors.into_iter().flatten();
    let found = descriptors.find(|one| text(one, "payloadType") == kind);
    let units = found.and_then(|one| one.get("units")?.as_str());
    match units {
        None | Some("KW") => Ok(()),
        Some(units) => Err(format!("{kind} is in {units:.20?}, not in KW")),
    }
}

#[cfg(test)]
mod tests;
