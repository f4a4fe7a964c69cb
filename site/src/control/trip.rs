//! Hard trips: causes for which everything is switched off until a person resets it.
//!
//! A trip is latched: it stands when its cause is gone, and over restarts. It ends when its cause
//! has been clear for a time and a person, or two, said why it is safe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dispatch::list;
use super::health::{Health, Inputs};
use super::observation::{InterlockKind, Observation};
use super::order::is_same_person;
use super::output::Output;
use super::policy::{TripPolicy, ms};
use super::site_plan::Site;
use super::thermal::Air;
use crate::moment::Moment;
use crate::notice::Severity;

/// A current below zero by more than this share of the feeder's limit is no noise.
const REVERSED_SHARE: f64 = 0.01;

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
    /// What stood before a start cannot be read.
    MemoryLost,
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
            Self::MemoryLost => "memory_lost",
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
    /// It was below zero.
    #[serde(default)]
    is_reversed: bool,
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
            let Some(amps) = reading.amps.filter(|amps| amps.is_finite()) else {
                continue;
            };
            inputs.read(&format!("feeder/{}", plan.name), reading.at);
            let load = self.feeders.entry(reading.feeder).or_default();
            // A current transformer that is mounted backwards says less than nothing.
            let pct = 100.0 * amps.abs() / plan.limit_a;
            let since = |before: Option<u64>, is_over: bool| {
                is_over.then(|| before.unwrap_or(reading.at.elapsed_ms))
            };
            load.amps = amps.abs();
            load.is_reversed = amps < -REVERSED_SHARE * plan.limit_a;
            load.over_since_ms = since(load.over_since_ms, pct > policy.feeder_over_pct);
            let is_far = pct > policy.feeder_far_over_pct;
            load.far_over_since_ms = since(load.far_over_since_ms, is_far);
        }
    }

    fn say_reversed(&self, site: &Site, output: &mut Output) {
        for (place, load) in self.feeders.iter().filter(|(_, load)| load.is_reversed) {
            let Some(plan) = site.plan.feeders.get(*place as usize) else {
                continue;
            };
            output.alarm(
                Severity::Warning,
                format!("feeder/{}/reversed", plan.name),
                format!("the current of feeder {} is below zero", plan.name),
                format!(
                    "{:.0} A is used as its size, for trips too. Its current transformer is \
                     probably mounted backwards: turn it around.",
                    load.amps
                ),
            );
        }
    }

    /// Latches what is present now.
    pub fn assess(&mut self, site: &Site, air: &Air, inputs: &Inputs, output: &mut Output) {
        let now = output.now;
        say_lost(&site.policy.trips, inputs, output);
        self.say_reversed(site, output);
        let present = self.present_causes(site, air, inputs, now);
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

    /// Forgets readings, as after a change of the plan that names them; trips stand.
    pub fn forget_readings(&mut self) {
        self.interlocks.clear();
        self.feeders.clear();
        self.hot_since_ms = None;
    }

    /// Latches a trip, whatever the state of anything. One that stands keeps its first reason and
    /// time: why everything is off is not changed by whoever stops it again.
    pub fn latch(&mut self, cause: TripCause, detail: String, output: &Output) {
        self.resets.clear();
        let latch = self.latches.entry(cause).or_insert(Latch {
            detail,
            at: output.now,
            clear_since_ms: None,
        });
        latch.clear_since_ms = None;
    }

    /// The share of the design power that is left while an interlock is lost, and why: nobody would
    /// hear smoke. It goes as with a lost thermometer, since a silent device is no fire.
    pub fn lost_share(policy: &TripPolicy, inputs: &Inputs, now_ms: u64) -> Option<(f64, String)> {
        let (name, lost_ms) = inputs.lost_interlocks(now_ms).max_by_key(|(_, ms)| *ms)?;
        let share = if lost_ms >= ms(policy.lost_curtail_after_s) {
            0.0
        } else if lost_ms >= ms(policy.lost_half_after_s) {
            policy.lost_half_share
        } else {
            return None;
        };
        let minutes = lost_ms / 60_000;
        let reason = format!("{name} has not been read for {minutes} minutes");
        Some((share, reason))
    }

    fn present_causes(
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
        if let Some((cause, latch)) = self.latches.iter().find(|(_, latch)| !is_clear(latch)) {
            return Err(cause_stands(cause, latch, policy.clear_s, now));
        }
        let oldest_ms = now
            .elapsed_ms
            .saturating_sub(ms(policy.two_person_within_s));
        self.resets.retain(|(_, at_ms)| *at_ms >= oldest_ms);
        let is_second = |(other, _): &(String, u64)| !is_same_person(other, by);
        if policy.is_two_person && !self.resets.iter().any(is_second) {
            self.resets.push((by.to_owned(), now.elapsed_ms));
            return Err(format!(
                "the word of {by} is noted, and nothing is reset yet: a second person must reset \
                 it, too, within {} s",
                policy.two_person_within_s
            ));
        }
        self.latches.clear();
        self.resets.clear();
        Ok(())
    }
}

/// Says what follows from the loss of interlocks.
fn say_lost(policy: &TripPolicy, inputs: &Inputs, output: &mut Output) {
    let lost = inputs.lost_interlocks(output.now.elapsed_ms);
    let names: Vec<&str> = lost.map(|(name, _)| name).collect();
    if names.is_empty() {
        return;
    }
    output.alarm(
        Severity::Warning,
        "interlock/lost",
        format!("not read: {}", list(&names)),
        format!(
            "Nothing is started. {} minutes after its last reading power is reduced, after {} \
             minutes the site stops. Look at the sensor, or bypass it for a time with a reason.",
            policy.lost_half_after_s / 60,
            policy.lost_curtail_after_s / 60
        ),
    );
}

/// Why a trip cannot be reset yet.
fn cause_stands(cause: &TripCause, latch: &Latch, clear_s: u64, now: Moment) -> String {
    let cause = cause.as_str();
    match latch.clear_since_ms {
        None => format!("the cause {cause} is still there ({})", latch.detail),
        Some(since) => {
            let gone_s = now.elapsed_ms.saturating_sub(since) / 1_000;
            let left_s = clear_s.saturating_sub(gone_s).max(1);
            format!(
                "the cause {cause} must be gone for {clear_s} s (policy.trips.clear_s), and is for \
                 {gone_s} s; reset it in {left_s} s"
            )
        }
    }
}
