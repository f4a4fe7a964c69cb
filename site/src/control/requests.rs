//! What signals ask for: requests that stood long enough to be believed, and those announced.
//!
//! A reading that could not be understood changes nothing: what was asked before goes on, and the
//! input gets late.

mod held;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs};
use super::policy::{OnLoss, SignalPolicy, SignalRule, ms};
use crate::moment::Moment;
use crate::request::{Level, Request, SignalClass, SignalReading, SignalValue};

/// A request as a signal last gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldRequest {
    /// What is asked.
    pub request: Request,
    /// When it was asked first.
    pub since: Moment,
    /// Readings that gave it, in a row.
    pub reads: u32,
    /// The cap that counts while another one has not stood long enough: a tighter one counts at
    /// once. None where it asks nothing.
    #[serde(default)]
    pub firm_kw: Option<f64>,
    /// A looser cap than that.
    #[serde(default)]
    pub looser: Option<LooserCap>,
    /// Since when the deadline runs, where the cap became clearly tighter, and the cap then.
    #[serde(default)]
    pub tightened: Option<(Moment, f64)>,
}

/// A cap that would let the site draw more, and that must stand before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LooserCap {
    /// The least that was asked since.
    pub kw: f64,
    /// When it was asked first.
    pub since: Moment,
    /// Readings that were looser, in a row.
    pub reads: u32,
}

/// What a signal said last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalMemory {
    /// What it is worth against others.
    pub class: SignalClass,
    /// Its requests.
    pub held: Vec<HeldRequest>,
    /// Why its last reading was not understood.
    pub trouble: Option<String>,
}

/// Every signal by its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(pub BTreeMap<String, SignalMemory>);

/// What a signal asks for now.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The signal.
    pub source: String,
    /// What it is worth.
    pub class: SignalClass,
    /// How urgent it is.
    pub level: Level,
    /// The most that the site may draw.
    pub cap_kw: f64,
    /// Since when its deadline runs: when it was asked or begins, or became clearly tighter.
    pub asked_at: Moment,
    /// The asker's own name of the event.
    pub event: Option<String>,
    /// When the target must be reached, on the clock of [`Moment::elapsed_ms`].
    pub deadline_ms: u64,
    /// When it ends.
    pub ends_at_us: Option<i64>,
    /// Why, in plain words.
    pub reason: String,
}

/// An event that has not begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Announced {
    /// The signal.
    pub source: String,
    /// What it is worth.
    pub class: SignalClass,
    /// When it begins, in microseconds since 1970.
    pub starts_at_us: i64,
    /// The most that the site may draw then.
    pub cap_kw: f64,
}

/// What all signals say at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demands {
    /// What is asked now.
    pub now: Vec<Demand>,
    /// The next event that was announced.
    pub announced: Option<Announced>,
    /// Every required signal is read and none asks to reduce.
    pub is_normal: bool,
}

impl HeldRequest {
    /// It has stood long enough to be believed.
    fn is_stable(&self, policy: &SignalPolicy, now: Moment) -> bool {
        self.request.level == Level::Emergency
            || self.reads >= policy.debounce_reads
            || now.ms_since(self.since) >= ms(policy.debounce_s)
    }
}

impl Requests {
    /// Takes readings in.
    pub fn read(&mut self, readings: &[SignalReading], policy: &SignalPolicy, inputs: &mut Inputs) {
        for reading in readings {
            let rule = policy.rule(&reading.source);
            let memory = self.0.entry(reading.source.clone());
            let memory = memory.or_insert_with(|| SignalMemory {
                class: reading.class,
                held: Vec::new(),
                trouble: None,
            });
            memory.class = reading.class;
            match &reading.value {
                SignalValue::Known(requests) => {
                    inputs.read(&format!("signal/{}", reading.source), reading.read_at);
                    memory.trouble = None;
                    let before = std::mem::take(&mut memory.held);
                    let held = held::follow(before, requests, policy, &rule, reading.read_at);
                    memory.held = held;
                }
                SignalValue::Unknown(why) => memory.trouble = Some(why.clone()),
            }
        }
    }

    /// Something asks for less power that has not stood long enough to be believed.
    pub fn is_any_doubtful(&self, policy: &SignalPolicy, now: Moment) -> bool {
        self.0.iter().any(|(source, memory)| {
            let rule = policy.rule(source);
            memory.held.iter().any(|held| {
                let asks = rule.cap_kw(held.request.level).is_some();
                let begins = held.request.starts_at_us.unwrap_or(i64::MIN);
                asks && begins <= now.utc_us && !held.is_stable(policy, now)
            })
        })
    }

    /// What is asked at a time.
    pub fn assess(&self, policy: &SignalPolicy, inputs: &Inputs, now: Moment) -> Demands {
        let mut demands = Demands {
            is_normal: true,
            ..Demands::default()
        };
        for name in policy.sources.keys() {
            // "Late" is no reason: what was said last goes on.
            let is_read = inputs.is_usable(&format!("signal/{name}"));
            demands.is_normal &= is_read && self.0.contains_key(name);
        }
        for (source, memory) in &self.0 {
            let rule = policy.rule(source);
            for held in &memory.held {
                let is_stable = held.is_stable(policy, now);
                add(
                    &mut demands,
                    source,
                    memory.class,
                    &rule,
                    held,
                    is_stable,
                    now,
                );
            }
        }
        for source in policy.sources.keys() {
            add_lost_signal(&mut demands, policy, source, inputs, now);
        }
        demands
    }
}

fn add(
    demands: &mut Demands,
    source: &str,
    class: SignalClass,
    rule: &SignalRule,
    held: &HeldRequest,
    is_stable: bool,
    now: Moment,
) {
    let request = &held.request;
    if request.ends_at_us.is_some_and(|end| end <= now.utc_us) {
        return;
    }
    let Some(cap_kw) = rule.cap_kw(request.level) else {
        return;
    };
    let cap_kw = held.firm_kw.or(request.cap_kw).unwrap_or(cap_kw).max(0.0);
    let starts_in_us = request
        .starts_at_us
        .map_or(0, |start| start.saturating_sub(now.utc_us));
    if starts_in_us > 0 {
        let event = Announced {
            source: source.to_owned(),
            class,
            starts_at_us: now.utc_us.saturating_add(starts_in_us),
            cap_kw,
        };
        let first = demands.announced.as_ref().map(|first| first.starts_at_us);
        if first.is_none_or(|first| event.starts_at_us < first) {
            demands.announced = Some(event);
        }
        return;
    }
    demands.is_normal = false;
    if !is_stable {
        return;
    }
    let since = match request
        .starts_at_us
        .filter(|start| *start > held.since.utc_us)
    {
        Some(start) => {
            let ago_ms = u64::try_from(now.utc_us.saturating_sub(start) / 1_000).unwrap_or(0);
            Moment {
                elapsed_ms: now.elapsed_ms.saturating_sub(ago_ms),
                utc_us: start,
            }
        }
        None => held.since,
    };
    let verb = match request.level {
        Level::Emergency => "EMERGENCY",
        _ => "CURTAIL",
    };
    let asked_at = held.tightened.map_or(since, |(at, _)| since.max(at));
    let within_ms = ms(rule.within_s(request.level));
    demands.now.push(Demand {
        source: source.to_owned(),
        class,
        level: request.level,
        cap_kw,
        asked_at,
        event: request.event.clone(),
        deadline_ms: asked_at.elapsed_ms + within_ms,
        ends_at_us: request.ends_at_us,
        reason: format!("{source} asks {verb} since {}", clock(since.utc_us)),
    });
}

/// A signal that was lost for good asks to curtail, where the policy says so.
fn add_lost_signal(
    demands: &mut Demands,
    policy: &SignalPolicy,
    source: &str,
    inputs: &Inputs,
    now: Moment,
) {
    let (name, rule) = (format!("signal/{source}"), policy.rule(source));
    if inputs.health(&name) != Health::Stale || rule.on_loss() == OnLoss::Hold {
        return;
    }
    let last_ms = inputs
        .0
        .get(&name)
        .map_or(now.elapsed_ms, |input| input.last_ms);
    let lost_ms = last_ms + ms(rule.period_s * policy.stale_misses);
    let ago_ms = now.elapsed_ms.saturating_sub(lost_ms);
    let ago_us = i64::try_from(ago_ms).unwrap_or(i64::MAX / 1_000) * 1_000;
    demands.now.push(Demand {
        source: source.to_owned(),
        class: rule.class,
        level: Level::Curtail,
        cap_kw: rule.curtail_kw,
        asked_at: Moment {
            elapsed_ms: lost_ms,
            utc_us: now.utc_us.saturating_sub(ago_us),
        },
        event: None,
        deadline_ms: lost_ms + ms(rule.curtail_within_s),
        ends_at_us: None,
        reason: format!(
            "{source} is lost for {} minutes, and its loss means CURTAIL",
            now.elapsed_ms.saturating_sub(last_ms) / 60_000
        ),
    });
}

/// Hours and minutes of the day, UTC.
pub fn clock(utc_us: i64) -> String {
    let minutes = utc_us.div_euclid(60_000_000).rem_euclid(1_440);
    format!("{:02}:{:02} UTC", minutes / 60, minutes % 60)
}
