//! Region R3: how far each input can be trusted.
//!
//! An input is fresh while its readings come in time, late after a missed one, stale after several,
//! failed while what it says cannot be true, and bypassed while a person said so, until a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::output::Output;
use super::policy::{HealthPolicy, ms};
use super::site_plan::Site;
use crate::moment::Moment;
use crate::notice::Severity;

/// How far an input can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its readings come in time.
    Fresh,
    /// Some readings are missing.
    Late,
    /// Too many readings are missing.
    Stale,
    /// What it says cannot be true.
    Failed,
    /// A person said that it is not used.
    Bypassed,
}

/// A person's word that an input is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// Until then, on the clock of [`Moment::elapsed_ms`].
    pub until_ms: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputHealth {
    /// How far it can be trusted.
    pub health: Health,
    /// Its last reading; since then it is waited for when there was none.
    pub last_ms: u64,
    /// The same, microseconds since 1970.
    #[serde(default)]
    pub last_us: i64,
    /// The decision whose step took its last reading in.
    #[serde(default)]
    pub step: Option<u64>,
    /// It was read at all since the start.
    pub is_read: bool,
    /// Why it is not believed.
    pub fault: Option<String>,
    /// It is not used.
    pub bypass: Option<Bypass>,
}

/// How an input is read.
#[derive(Debug, Clone, Copy)]
pub struct InputRule {
    /// So often.
    pub period_s: u64,
    /// Missed readings that make it late.
    pub late: u64,
    /// Missed readings that make it stale.
    pub stale: u64,
}

/// Every input by its name: `signal/utility`, `temperature/north`, `meter/site`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(pub BTreeMap<String, InputHealth>);

impl InputHealth {
    fn awaited_since(ms: u64) -> Self {
        Self {
            health: Health::Late,
            last_ms: ms,
            last_us: 0,
            step: None,
            is_read: false,
            fault: None,
            bypass: None,
        }
    }

    /// It may be used.
    pub fn is_usable(&self) -> bool {
        self.is_read && matches!(self.health, Health::Fresh | Health::Late)
    }
}

/// Missed readings of an input that is read so often and was read so long ago.
pub fn misses(age_ms: u64, period_s: u64, grace_s: u64) -> u64 {
    age_ms.saturating_sub(ms(grace_s)) / ms(period_s).max(1)
}

impl Inputs {
    /// An input was read.
    pub fn read(&mut self, name: &str, at: Moment) {
        let input = match self.0.get_mut(name) {
            Some(input) => input,
            None => {
                let input = InputHealth::awaited_since(at.elapsed_ms);
                self.0.entry(name.to_owned()).or_insert(input)
            }
        };
        if !input.is_read || at.elapsed_ms >= input.last_ms {
            input.last_us = at.utc_us;
        }
        input.last_ms = input.last_ms.max(at.elapsed_ms);
        input.is_read = true;
        input.step = None;
    }

    /// What was read in this step was taken in by this decision.
    pub fn number(&mut self, decision: u64) {
        let new = self
            .0
            .values_mut()
            .filter(|one| one.is_read && one.step.is_none());
        for input in new {
            input.step = Some(decision);
        }
    }

    /// A person's word that an input is not used; it need not have been read.
    pub fn bypass(&mut self, name: &str, bypass: Bypass, now: Moment) {
        let input = self.0.entry(name.to_owned());
        let input = input.or_insert_with(|| InputHealth::awaited_since(now.elapsed_ms));
        input.bypass = Some(bypass);
    }

    /// Inputs that are not used because a person said so.
    pub fn bypassed(&self) -> impl Iterator<Item = &String> {
        let bypassed = self.0.iter().filter(|(_, input)| input.bypass.is_some());
        bypassed.map(|(name, _)| name)
    }

    /// As after a change of the plan: only bypasses stay.
    pub fn forget_readings(&mut self, now: Moment) {
        self.0.retain(|_, input| input.bypass.is_some());
        for input in self.0.values_mut() {
            let bypass = input.bypass.take();
            *input = InputHealth::awaited_since(now.elapsed_ms);
            input.bypass = bypass;
        }
    }

    /// What an input says is, or is no longer, believed.
    pub fn fault(&mut self, name: &str, fault: Option<String>) {
        if let Some(input) = self.0.get_mut(name) {
            input.fault = fault;
        }
    }

    /// Whether an input may be used.
    pub fn is_usable(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(InputHealth::is_usable)
    }

    /// How far an input can be trusted; stale when it is not known at all.
    pub fn health(&self, name: &str) -> Health {
        self.0.get(name).map_or(Health::Stale, |input| input.health)
    }

    /// Every input of the site must be read: those that were not are awaited from now.
    pub fn expect(&mut self, site: &Site, now: Moment) {
        for name in expected(site) {
            self.0
                .entry(name)
                .or_insert_with(|| InputHealth::awaited_since(now.elapsed_ms));
        }
    }

    /// Waits for everything anew, as after a restart.
    pub fn restart(&mut self, now: Moment) {
        for input in self.0.values_mut() {
            input.is_read = false;
            input.last_ms = now.elapsed_ms;
        }
    }

    /// Judges every input at a time, and says which are late, stale or faulty.
    pub fn assess(&mut self, site: &Site, now: Moment, output: &mut Output) {
        // A bypass of what the plan no longer has goes with its time.
        let is_over = |one: &InputHealth| {
            let bypass = one.bypass.as_ref();
            !one.is_read && bypass.is_some_and(|bypass| bypass.until_ms <= now.elapsed_ms)
        };
        if self.0.values().any(is_over) {
            let expected = expected(site);
            self.0
                .retain(|name, one| !is_over(one) || expected.contains(name));
        }
        for (name, input) in &mut self.0 {
            if input
                .bypass
                .as_ref()
                .is_some_and(|bypass| bypass.until_ms <= now.elapsed_ms)
            {
                input.bypass = None;
            }
            let rule = rule(site, name);
            let age_ms = now.elapsed_ms.saturating_sub(input.last_ms);
            let missed = misses(age_ms, rule.period_s, site.policy.health.grace_s);
            input.health = match (&input.bypass, &input.fault) {
                (Some(_), _) => Health::Bypassed,
                _ if missed >= rule.stale => Health::Stale,
                (_, Some(_)) => Health::Failed,
                _ if missed >= rule.late || !input.is_read => Health::Late,
                _ => Health::Fresh,
            };
            say(name, input, age_ms, output);
        }
    }

    /// Interlocks that are lost, each with the time since its last reading in milliseconds.
    pub fn lost_interlocks(&self, now_ms: u64) -> impl Iterator<Item = (&str, u64)> {
        let lost = |one: &InputHealth| one.health == Health::Stale;
        let inputs = self.0.iter();
        let inputs = inputs.filter(move |(name, one)| name.starts_with("interlock/") && lost(one));
        inputs.map(move |(name, one)| (name.as_str(), now_ms.saturating_sub(one.last_ms)))
    }

    /// Safety inputs that are not fresh: what a self-test waits for.
    pub fn unfit_for_start(&self) -> Vec<&str> {
        let safety = ["temperature/", "interlock/", "feeder/"];
        let inputs = self
            .0
            .iter()
            .filter(|(name, _)| safety.iter().any(|class| name.starts_with(class)));
        inputs
            .filter(|(_, one)| {
                let is_fit = matches!(one.health, Health::Fresh | Health::Bypassed);
                !is_fit
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

fn say(name: &str, input: &InputHealth, age_ms: u64, output: &mut Output) {
    let age_s = age_ms / 1_000;
    match input.health {
        Health::Late if input.is_read => output.alarm(
            Severity::Warning,
            format!("late/{name}"),
            format!("{name} is late"),
            format!("The last reading is {age_s} s old. What it said goes on. Look at the device."),
        ),
        Health::Stale => output.alarm(
            Severity::Warning,
            format!("stale/{name}"),
            format!("{name} is lost"),
            format!("No reading for {age_s} s. The rule for its loss applies. Look at the device."),
        ),
        Health::Failed => output.alarm(
            Severity::Warning,
            format!("failed/{name}"),
            format!("{name} is not believed"),
            input.fault.clone().unwrap_or_default(),
        ),
        _ => {}
    }
}

/// The names of all inputs that a site must have.
fn expected(site: &Site) -> Vec<String> {
    let plan = &site.plan;
    let mut names: Vec<String> = Vec::new();
    names.extend(
        site.policy
            .signals
            .sources
            .keys()
            .map(|one| format!("signal/{one}")),
    );
    names.extend(
        plan.container_sensors
            .iter()
            .map(|one| format!("temperature/{one}")),
    );
    names.extend(plan.interlocks.iter().map(|one| format!("interlock/{one}")));
    let feeders = plan.feeders.iter().filter(|one| one.is_metered);
    names.extend(feeders.map(|one| format!("feeder/{}", one.name)));
    if plan.has_site_meter {
        names.push("meter/site".to_owned());
    }
    if plan.fans.iter().any(|fan| fan.is_metered) {
        names.push("fans/watts".to_owned());
    }
    names
}

/// How an input is read, by the class in its name.
fn rule(site: &Site, name: &str) -> InputRule {
    let health: &HealthPolicy = &site.policy.health;
    let new = |period_s, late, stale| InputRule {
        period_s,
        late,
        stale,
    };
    let (class, rest) = name.split_once('/').unwrap_or((name, ""));
    match class {
        "signal" => {
            let signals = &site.policy.signals;
            let period_s = signals.sources.get(rest).map_or(120, |rule| rule.period_s);
            new(period_s, signals.late_misses, signals.stale_misses)
        }
        "temperature" | "air" | "board" | "outside" | "humidity" => new(
            health.temperature_period_s,
            1,
            site.policy.thermal.sensor_misses,
        ),
        "meter" => new(health.meter_period_s, 1, health.meter_misses),
        "fans" => new(health.fan_period_s, 1, health.fan_misses),
        _ => new(health.interlock_period_s, 1, health.interlock_misses),
    }
}
