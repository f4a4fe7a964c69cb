//! What a step knows: its readings, judged, and what the table of transitions looks at.

use crate::control::arbiter::{Cap, Verdict, decide};
use crate::control::caps::{Reasons, forbidden, post};
use crate::control::decision::Regions;
use crate::control::fans::forces_all;
use crate::control::feeder;
use crate::control::machine::{self, MachinePhase};
use crate::control::metering::{Quality, SitePower};
use crate::control::observation::Observation;
use crate::control::output::Output;
use crate::control::power::PowerFacts;
use crate::control::requests::{Demand, Demands};
use crate::control::restore;
use crate::control::site_plan::Site;
use crate::control::state::State;
use crate::control::thermal::Air;
use crate::moment::Moment;
use crate::request::Level;

/// What a step knows after it took its readings in.
pub(super) struct StepFacts {
    pub(super) air: Air,
    pub(super) power: SitePower,
    pub(super) mining_kw: f64,
    pub(super) demands: Demands,
    pub(super) is_foreman_up: bool,
}

pub(super) fn regions(state: &State) -> Regions {
    Regions {
        power: state.power.region,
        thermal: state.thermal.region,
        authority: state.authority.region(),
    }
}

pub(super) fn take_readings(
    site: &Site,
    state: &mut State,
    observation: &Observation,
    output: &mut Output,
) -> StepFacts {
    let policy = &site.policy;
    let now = output.now;
    let inputs = &mut state.inputs;
    inputs.expect(site, now);
    state.thermal.read(observation, &policy.thermal, inputs);
    state.trips.read(observation, site, inputs);
    state
        .requests
        .read(&observation.signals, &policy.signals, inputs);
    let metered_ms = state.metering.last.map(|last| last.at.elapsed_ms);
    let is_metered = state.metering.read(observation.site_meter, inputs);
    state.fans.read(observation, &policy.fans, inputs);
    machine::read(&mut state.machines, observation, site, metered_ms);
    machine::forget_old(&mut state.machines, &policy.health, now);
    feeder::read(&mut state.feeders, &mut state.machines, site, observation);
    state.authority.take_orders(
        &observation.orders,
        policy,
        &mut state.trips,
        inputs,
        output,
    );
    inputs.number(state.counters.decision);
    state.thermal.judge_sensors(&policy.thermal, inputs, now);
    inputs.assess(site, now, output);
    let rise_above_c = policy.trips.rise_above_c;
    let air = state.thermal.assess(
        &policy.thermal,
        rise_above_c,
        &policy.health,
        inputs,
        output,
    );
    // Also in the step of a reset: what is there now is a trip again.
    state.trips.assess(site, &air, inputs, output);
    let power = state
        .metering
        .assess(site, &state.machines, inputs, is_metered, output);
    let plans = site.plan.machines.iter();
    let mining_w: f64 = state
        .machines
        .iter()
        .zip(plans)
        .map(|(one, plan)| one.believed_w(plan))
        .sum();
    StepFacts {
        air,
        power,
        mining_kw: mining_w / 1_000.0,
        demands: state.requests.assess(&policy.signals, inputs, now),
        is_foreman_up: observation.foreman_trouble.is_none() || observation.is_foreman_tried_again,
    }
}

pub(super) fn arbitrate(
    site: &Site,
    state: &mut State,
    seen: &StepFacts,
    now: Moment,
) -> (Vec<Cap>, Verdict) {
    let reasons = Reasons {
        authority: &state.authority,
        trips: &state.trips,
        thermal: &state.thermal,
        inputs: &state.inputs,
        fan_faults: state.fans.faults(),
        demands: &seen.demands,
        now_ms: now.elapsed_ms,
    };
    let caps = post(site, &reasons);
    let verdict = decide(&caps, site.plan.design_kw);
    let band_kw = site.policy.power.drift_band_kw(site.plan.design_kw);
    state
        .metering
        .compare(seen.power, verdict.target_kw, band_kw, now.elapsed_ms);
    (caps, verdict)
}

/// What the site will draw when every order has happened, in kilowatts.
pub(super) fn settled_kw(site: &Site, state: &State, seen: &StepFacts) -> f64 {
    let meter_ms = match (seen.power.quality, state.metering.last) {
        (Quality::Measured, Some(last)) => last.at.elapsed_ms,
        // An estimate is made of the machines' own readings.
        _ => u64::MAX,
    };
    let plans = site.plan.machines.iter();
    let change_w: f64 = state
        .machines
        .iter()
        .zip(plans)
        .map(|(one, plan)| {
            // What a machine said after the meter was read is not in the meter yet: what it drew
            // before is. Otherwise machines that stopped would be missed, and others stopped in
            // their place.
            let is_ahead = one.power_ms > meter_ms;
            match one.phase {
                MachinePhase::Stopping | MachinePhase::Lowering if is_ahead => {
                    one.settled_w(plan) - one.prior_w
                }
                MachinePhase::Stopped if is_ahead && one.since_ms > meter_ms => {
                    one.settled_w(plan) - one.prior_w
                }
                MachinePhase::Running if is_ahead && one.is_low() && one.since_ms > meter_ms => {
                    one.settled_w(plan) - one.prior_w
                }
                // The same the other way: what started would be missed, and more be started in its
                // place.
                MachinePhase::Starting | MachinePhase::Raising if is_ahead => {
                    one.settled_w(plan) - one.metered_w.unwrap_or(one.believed_w(plan))
                }
                MachinePhase::Running if is_ahead && one.since_ms > meter_ms => {
                    one.settled_w(plan) - one.metered_w.unwrap_or(one.believed_w(plan))
                }
                MachinePhase::Stopping
                | MachinePhase::Starting
                | MachinePhase::Lowering
                | MachinePhase::Raising => one.settled_w(plan) - one.believed_w(plan),
                _ => 0.0,
            }
        })
        .sum();
    seen.power.kw + change_w / 1_000.0
}

pub(super) fn facts(
    site: &Site,
    state: &State,
    seen: &StepFacts,
    caps: &[Cap],
    verdict: &Verdict,
    now: Moment,
) -> PowerFacts {
    let is_capped = verdict.is_capped(caps);
    let off = forbidden(site, caps);
    let headroom_kw = headroom_kw(site, state, seen, verdict, is_capped);
    let fits = |at: usize| {
        let rise_w = restore::rise_w(&state.machines[at], &site.plan.machines[at]);
        !off[at] && (!is_capped || rise_w / 1_000.0 <= headroom_kw)
    };
    let any =
        |test: &dyn Fn(usize) -> bool| (0..state.machines.len()).any(|at| test(at) && fits(at));
    let has_retry = |at: usize| now.elapsed_ms >= state.machines[at].retry_after_ms;
    let is_on = |phase| phase != MachinePhase::Stopped;
    PowerFacts {
        now_ms: now.elapsed_ms,
        is_locked: state.authority.is_site_locked(),
        is_tripped: !state.trips.latches.is_empty(),
        is_fit: state.inputs.unfit_for_start().is_empty(),
        is_signal_normal: seen.demands.is_normal,
        may_start: may_start(site, state, seen),
        is_announced: seen.demands.announced.is_some(),
        cap_kw: is_capped.then_some(verdict.target_kw),
        deadline_ms: verdict.cap(caps).and_then(|cap| cap.deadline_ms),
        kw: seen.power.kw,
        is_reading_first: is_reading_first(site, state, seen, caps, verdict, now),
        samples_below: state.metering.samples_below,
        is_floor: !state.machines.iter().any(|machine| is_on(machine.phase)),
        above_since_ms: state.metering.above_since_ms,
        has_candidates: any(&|at| restore::is_candidate(&state.machines[at]) && has_retry(at)),
        has_ready: any(&|at| restore::is_ready(site, &state.machines[at], now.elapsed_ms)),
        is_starting: state
            .machines
            .iter()
            .any(|one| matches!(one.phase, MachinePhase::Starting | MachinePhase::Raising)),
    }
}

/// Right after a start power is estimated from machines that were not read, and is too much: so
/// the first readings are waited for, unless safety or an emergency asks for less.
fn is_reading_first(
    site: &Site,
    state: &State,
    seen: &StepFacts,
    caps: &[Cap],
    verdict: &Verdict,
    now: Moment,
) -> bool {
    let winner = verdict.cap(caps);
    let is_safety = winner.is_some_and(|cap| cap.level < 3);
    let is_emergency = |demand: &Demand| demand.level == Level::Emergency;
    if is_safety || seen.demands.now.iter().any(is_emergency) {
        return false;
    }
    let is_known = match site.plan.has_site_meter {
        true => seen.power.quality == Quality::Measured,
        false => state.machines.iter().all(|one| one.power_w.is_some()),
    };
    let deadline_ms = winner.and_then(|cap| cap.deadline_ms);
    let power = &site.policy.power;
    !is_known && state.power.reads_first(power, deadline_ms, now.elapsed_ms)
}

/// It is cool enough to start machines, and every failsafe allows it.
pub(super) fn may_start(site: &Site, state: &State, seen: &StepFacts) -> bool {
    let is_cool = seen
        .air
        .highest_c
        .is_some_and(|celsius| celsius < site.policy.restore.below_c);
    let is_held = state.authority.start_hold.is_some();
    !is_held && is_cool && !forces_all(&seen.air) && state.inputs.unfit_for_start().is_empty()
}

pub(super) fn headroom_kw(
    site: &Site,
    state: &State,
    seen: &StepFacts,
    verdict: &Verdict,
    is_capped: bool,
) -> f64 {
    match is_capped {
        true => verdict.target_kw - site.margin_kw() - settled_kw(site, state, seen),
        false => f64::INFINITY,
    }
}
