//! What must outlast everything: trips that stand, lockouts, overrides, bypasses, what was given to
//! signals, and the layouts of their pages.
//!
//! It is kept in a small file beside the journal, whatever plan or policy the next start has. The
//! file is written anew when something of it changed, before the order that changed it is answered.

mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::State;
use crate::control::authority::{Lockout, ManualOverride};
use crate::control::health::Bypass;
use crate::control::output::Counters;
use crate::control::trip::{Latch, TripCause};
use crate::moment::Moment;
use crate::request::TimedRequests;
use crate::signal::KeptLayout;

pub use store::{Found, OpenError, SafeStore};

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SafeState {
    /// How often it was written; the greatest is the newest.
    pub number: u64,
    /// The step that it was written after.
    pub at: Moment,
    /// The next numbers after that step.
    pub counters: Counters,
    /// What is kept.
    pub kept: StandingState,
}

/// What is kept of signals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignalsKept {
    /// What was given to them and still counts, by signal.
    pub given: BTreeMap<String, TimedRequests>,
    /// The layouts that their pages are expected to have, by signal.
    pub layouts: BTreeMap<String, KeptLayout>,
}

/// What is kept. The file is written when any of it changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StandingState {
    /// Trips that stand.
    pub latches: BTreeMap<TripCause, Latch>,
    /// Who said that a reset is safe, and when.
    pub resets: Vec<(String, u64)>,
    /// Overrides, one for each scope.
    pub overrides: Vec<ManualOverride>,
    /// Lockouts, also of what the plan no longer has.
    pub lockouts: Vec<Lockout>,
    /// Why nothing is started until a person says so.
    pub start_hold: Option<String>,
    /// Bypasses by input.
    pub bypasses: BTreeMap<String, Bypass>,
    /// What was given to signals, by signal.
    pub given: BTreeMap<String, TimedRequests>,
    /// The layouts that pages of signals are expected to have, by signal.
    pub layouts: BTreeMap<String, KeptLayout>,
    /// The sequence that the newest segment of the journal begins with, as far as it is on the
    /// disk; 0 before the first.
    pub segment: u64,
}

impl StandingState {
    /// What is to be kept of a state.
    pub fn from_state(state: &State, signals: SignalsKept, segment: u64) -> Self {
        let inputs = state.inputs.0.iter();
        let bypasses = inputs.filter_map(|(name, one)| Some((name.clone(), one.bypass.clone()?)));
        Self {
            latches: state.trips.latches.clone(),
            resets: state.trips.resets.clone(),
            overrides: state.authority.overrides.clone(),
            lockouts: state.authority.lockouts.clone(),
            start_hold: state.authority.start_hold.clone(),
            bypasses: bypasses.collect(),
            given: signals.given,
            layouts: signals.layouts,
            segment,
        }
    }

    /// Puts it into a state that the journal gave. Where the journal has later steps, it knows of
    /// orders that this does not; what stands in either stands then.
    pub fn restore(&self, state: &mut State, is_newest: bool, now: Moment) {
        let (trips, authority) = (&mut state.trips, &mut state.authority);
        if !is_newest {
            for (cause, latch) in &self.latches {
                let known = trips.latches.entry(cause.clone());
                known.or_insert_with(|| latch.clone());
            }
            for lockout in &self.lockouts {
                if !authority.lockouts.contains(lockout) {
                    authority.lockouts.push(lockout.clone());
                }
            }
            return;
        }
        trips.latches.clone_from(&self.latches);
        trips.resets.clone_from(&self.resets);
        authority.overrides.clone_from(&self.overrides);
        authority.lockouts.clone_from(&self.lockouts);
        authority.start_hold.clone_from(&self.start_hold);
        for input in state.inputs.0.values_mut() {
            input.bypass = None;
        }
        for (name, bypass) in &self.bypasses {
            state.inputs.bypass(name, bypass.clone(), now);
        }
    }
}
