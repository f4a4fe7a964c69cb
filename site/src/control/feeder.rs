//! Contactors of feeders: opened when a trip asks for it, or when nothing else stopped what hangs
//! on them; closed by people only.
//!
//! Closing a contactor energises all that hangs on it at once. That is not for a program to do.

use serde::{Deserialize, Serialize};

use super::machine::{MachinePhase, MachineState, remember_cut};
use super::observation::Observation;
use super::output::Output;
use super::policy::ms;
use super::site_plan::Site;
use crate::command::{Action, Path, Target};
use crate::notice::Severity;

/// What is remembered of a feeder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeederState {
    /// When it was opened by the controller; none when it was not, or people closed it again.
    pub opened_ms: Option<u64>,
    /// What its contactor read back last.
    pub is_closed: Option<bool>,
    sent_ms: u64,
    attempts: u32,
}

/// Why contactors are opened.
#[derive(Debug, Clone, Copy)]
pub struct CutReason {
    /// A trip that opens them at once stands.
    pub is_at_once: bool,
    /// A trip stands since.
    pub tripped_since_ms: Option<u64>,
    /// A mandatory event is past its deadline.
    pub is_overdue: bool,
}

/// Takes readings in.
pub fn read(
    feeders: &mut [FeederState],
    machines: &mut [MachineState],
    site: &Site,
    observation: &Observation,
) {
    for reading in &observation.feeders {
        let at = reading.feeder as usize;
        let Some(feeder) = feeders.get_mut(at) else {
            continue;
        };
        let Some(is_closed) = reading.is_closed else {
            continue;
        };
        let was_closed = feeder.is_closed;
        feeder.is_closed = Some(is_closed);
        // People closed it again: what hangs on it may be started.
        if is_closed && was_closed == Some(false) {
            feeder.opened_ms = None;
            let own = machines.iter_mut().enumerate();
            for (_, machine) in own.filter(|(one, _)| site.feeder_of(*one) == Some(at)) {
                machine.cut_feeder = false;
            }
        }
    }
}

/// Opens what must be opened, and says when a contactor does not follow.
pub fn step(
    feeders: &mut [FeederState],
    machines: &mut [MachineState],
    site: &Site,
    reason: CutReason,
    output: &mut Output,
) {
    let now_ms = output.now.elapsed_ms;
    let after_ms = ms(site.policy.trips.contactor_after_s);
    let trip_lasts = reason
        .tripped_since_ms
        .is_some_and(|since| now_ms.saturating_sub(since) >= after_ms);
    for (at, feeder) in feeders.iter_mut().enumerate() {
        let plan = &site.plan.feeders[at];
        if !plan.has_contactor {
            continue;
        }
        let own = || (0..machines.len()).filter(|one| site.feeder_of(*one) == Some(at));
        let draws = |one: usize| !matches!(machines[one].phase, MachinePhase::Stopped);
        let is_stuck = |one: usize| machines[one].phase == MachinePhase::Stuck;
        // A late event of the utility is no safety: what must run beside a stuck machine goes on.
        let must_run = |one: usize| site.plan.machines[one].is_mandatory_run;
        let must_open = reason.is_at_once
            || trip_lasts && own().any(draws)
            || reason.is_overdue && own().any(is_stuck) && !own().any(must_run);
        let is_first = feeder.opened_ms.is_none() && must_open;
        let waited_ms = now_ms.saturating_sub(feeder.sent_ms);
        let is_deaf = feeder.opened_ms.is_some() && feeder.is_closed == Some(true);
        let is_again = is_deaf && feeder.attempts < 4 && waited_ms >= ms(2);
        if is_first || is_again {
            output.command(Target::Feeder(plan.name.clone()), Action::Off, Path::Feeder);
            feeder.opened_ms = feeder.opened_ms.or(Some(now_ms));
            feeder.attempts = if is_first { 1 } else { feeder.attempts + 1 };
            feeder.sent_ms = now_ms;
            for one in own().collect::<Vec<_>>() {
                remember_cut(&mut machines[one], Action::Off, Path::Feeder);
            }
        }
        if feeder.opened_ms.is_some() {
            let title = match is_deaf && feeder.attempts >= 4 {
                true => format!("the contactor of {} does not open", plan.name),
                false => format!("the contactor of {} was opened", plan.name),
            };
            output.alarm(
                Severity::Emergency,
                format!("feeder/{}/contactor", plan.name),
                title,
                "People must look at what hangs on it, and close it by hand.",
            );
        }
    }
}
