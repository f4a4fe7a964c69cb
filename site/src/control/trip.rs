//! Hard trips: causes for which everything is switched off until a person resets it.
//!
//! A trip is latched: it stands when its cause is gone, and over restarts. It ends when its cause
//! has been clear for a time and a person, or two, said why it is safe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs};
use super::observation::{InterlockKind, Observation};
use super::output::Output;
use super::policy::{TripPolicy, ms};
use super::site_plan::Site;
use super::thermal::Air;
use crate::moment::Moment;
use crate::notice::Severity;

/// Why everything was switched off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripCause {
    /// Too hot for too long, or far too hot.
    Temperature,
    /// The temperature rises too fast where it is hot already.
    TemperatureRise,
    /// Smoke.
    Smoke,
    /// Water.
    Leak,
    /// A door.
    Door,
    /// The air is so humid that water would condense.
    Condensation,
    /// Too much current in a feeder.
    FeederCurrent,
    /// The button, or somebody's order.
    EmergencyStop,
}

impl TripCause {
    /// As in topics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TemperatureRise => "temperature_rise",
            Self::Smoke => "smoke",
            Self::Leak => "leak",
            Self::Door => "door",
            Self::Condensation => "condensation",
            Self::FeederCurrent => "feeder_current",
            Self::EmergencyStop => "emergency_stop",
        }
    }

    /// Contactors of feeders open at once, and not only when outlets did not.
    pub fn opens_contactors(&self) -> bool {
        matches!(
            self,
            Self::Smoke | Self::FeederCurrent | Self::EmergencyStop
        )
    }
}

/// A trip that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// What was measured or said.
    pub detail: String,
    /// When it tripped.
    pub at: Moment,
    /// Since when its cause is gone.
    pub clear_since_ms: Option<u64>,
}

/// The last word of an interlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interlock {
    /// What it guards.
    pub kind: InterlockKind,
    /// It says: stop.
    pub is_tripped: bool,
}

/// What is remembered of trips and what leads to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TripState {
    /// Trips that stand.
    pub latches: BTreeMap<TripCause, Latch>,
    /// Interlocks by their input's name.
    pub interlocks: BTreeMap<String, Interlock>,
    /// Who said that a reset is safe, and when.
    pub resets: Vec<(String, u64)>,
    hot_since_ms: Option<u64>,
    feeders: BTreeMap<u32, FeederLoad>,
}

/// How long a feeder has been above its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct FeederLoad {
    amps: f64,
    over_since_ms: Option<u64>,
    far_over_since_ms: Option<u64>,
}

impl TripState {
    /// Takes readings in.
    pub fn read(&mut self, observation: &Observation, site: &Site, inputs: &mut Inputs) {
        for reading in &observation.interlocks {
            let name = format!("interlock/{}", reading.input);
            inputs.read(&name, reading.at);
            let is_tripped = reading.is_tripped;
            let kind = reading.kind;
            self.interlocks.insert(name, Interlock { kind, is_tripped });
        }
        let policy = &site.policy.trips;
        for reading in &observation.feeders {
            let Some(plan) = site.plan.feeders.get(reading.feeder as usize) else {
                continue;
            };
            let Some(amps) = reading.amps else { continue };
            inputs.read(&format!("feeder/{}", plan.name), reading.at);
            let load = self.feeders.entry(reading.feeder).or_default();
            let pct = 100.0 * amps / plan.limit_a;
            let since = |before: Option<u64>, is_over: bool| {
                is_over.then(|| before.unwrap_or(reading.at.elapsed_ms))
            };
            load.amps = amps;
            load.over_since_ms = since(load.over_since_ms, pct > policy.feeder_over_pct);
            let is_far = pct > policy.feeder_far_over_pct;
            load.far_over_since_ms = since(load.far_over_since_ms, is_far);
        }
    }

    /// Latches what is present now.
    pub fn assess(&mut self, site: &Site, air: &Air, inputs: &Inputs, output: &mut Output) {
        let now = output.now;
        let present = self.present(site, air, inputs, now);
        for (cause, detail) in &present {
            let is_new = !self.latches.contains_key(cause);
            if is_new {
                self.latch(cause.clone(), detail.clone(), output);
            }
        }
        for (cause, latch) in &mut self.latches {
            let is_present = present.iter().any(|(one, _)| one == cause);
            latch.clear_since_ms = match is_present {
                true => None,
                false => latch.clear_since_ms.or(Some(now.elapsed_ms)),
            };
            output.alarm(
                Severity::Emergency,
                format!("trip/{}", cause.as_str()),
                format!("everything is switched off: {}", latch.detail),
                "It stays off until a person resets the trip with a reason, when its cause has \
                 been gone for ten minutes. Look at the site first.",
            );
        }
    }

    /// Latches a trip, whatever the state of anything.
    pub fn latch(&mut self, cause: TripCause, detail: String, output: &Output) {
        self.resets.clear();
        let latch = Latch {
            detail,
            at: output.now,
            clear_since_ms: None,
        };
        self.latches.insert(cause, latch);
    }

    fn present(
        &mut self,
        site: &Site,
        air: &Air,
        inputs: &Inputs,
        now: Moment,
    ) -> Vec<(TripCause, String)> {
        let policy = &site.policy.trips;
        let mut found = self.thermal(policy, air, now);
        for (name, interlock) in &self.interlocks {
            if !interlock.is_tripped || inputs.health(name) == Health::Bypassed {
                continue;
            }
            let cause = match interlock.kind {
                InterlockKind::Smoke => TripCause::Smoke,
                InterlockKind::Leak => TripCause::Leak,
                InterlockKind::Door => TripCause::Door,
                InterlockKind::EmergencyStop => TripCause::EmergencyStop,
            };
            found.push((cause, format!("{name} says stop")));
        }
        for (place, load) in &self.feeders {
            let Some(plan) = site.plan.feeders.get(*place as usize) else {
                continue;
            };
            if inputs.health(&format!("feeder/{}", plan.name)) == Health::Bypassed {
                continue;
            }
            let lasts = |since: Option<u64>, after_s: u64| {
                since.is_some_and(|since| now.elapsed_ms.saturating_sub(since) >= ms(after_s))
            };
            if lasts(load.over_since_ms, policy.feeder_over_s)
                || lasts(load.far_over_since_ms, policy.feeder_far_over_s)
            {
                let detail = format!("feeder {} carries {:.0} A", plan.name, load.amps);
                found.push((TripCause::FeederCurrent, detail));
            }
        }
        found
    }

    fn thermal(&mut self, policy: &TripPolicy, air: &Air, now: Moment) -> Vec<(TripCause, String)> {
        let mut found = Vec::new();
        let highest_c = air.highest_c.unwrap_or(f64::MIN);
        self.hot_since_ms = match highest_c >= policy.trip_c {
            true => self.hot_since_ms.or(Some(now.elapsed_ms)),
            false => None,
        };
        let hot_ms = self
            .hot_since_ms
            .map(|since| now.elapsed_ms.saturating_sub(since));
        if highest_c >= policy.trip_at_once_c
            || hot_ms.is_some_and(|hot_ms| hot_ms >= ms(policy.trip_after_s))
        {
            found.push((TripCause::Temperature, format!("{highest_c:.1} degrees")));
        }
        if air.rise_c_per_min >= policy.rise_c_per_min {
            let detail = format!(
                "{highest_c:.1} degrees, {:.1} a minute more",
                air.rise_c_per_min
            );
            found.push((TripCause::TemperatureRise, detail));
        }
        let is_wet = air
            .humidity_pct
            .is_some_and(|pct| pct >= policy.humidity_pct);
        let apart = air.above_dew_point_c();
        if is_wet && apart.is_some_and(|apart| apart < policy.condensation_c) {
            let apart = apart.unwrap_or_default();
            let detail = format!("air {apart:.1} degrees above its dew point");
            found.push((TripCause::Condensation, detail));
        }
        found
    }

    /// Takes a person's word that it is safe: the trips end, or why they do not.
    ///
    /// # Errors
    ///
    /// What is missing: a reason, time, a second person.
    pub fn reset(
        &mut self,
        policy: &TripPolicy,
        by: &str,
        reason: &str,
        now: Moment,
    ) -> Result<(), String> {
        if reason.trim().is_empty() {
            return Err("a reset needs a reason".to_owned());
        }
        let is_clear = |latch: &Latch| {
            latch
                .clear_since_ms
                .is_some_and(|since| now.elapsed_ms.saturating_sub(since) >= ms(policy.clear_s))
        };
        if let Some((cause, _)) = self.latches.iter().find(|(_, latch)| !is_clear(latch)) {
            let minutes = policy.clear_s / 60;
            return Err(format!(
                "the cause {} has not been gone for {minutes} minutes",
                cause.as_str()
            ));
        }
        let oldest_ms = now
            .elapsed_ms
            .saturating_sub(ms(policy.two_person_within_s));
        self.resets.retain(|(_, at_ms)| *at_ms >= oldest_ms);
        if policy.is_two_person && !self.resets.iter().any(|(other, _)| other != by) {
            self.resets.push((by.to_owned(), now.elapsed_ms));
            return Err("a second person must reset it, too".to_owned());
        }
        self.latches.clear();
        self.resets.clear();
        Ok(())
    }
}
