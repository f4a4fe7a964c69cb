//! What a step does: machines are stopped and started as the region asks, contactors opened, fans
//! switched.

use super::facts::{StepFacts, headroom_kw, may_start, settled_kw};
use crate::control::arbiter::{Cap, Verdict};
use crate::control::caps::forbidden;
use crate::control::dispatch::{self, Mode, order_low, order_off};
use crate::control::fans::Heat;
use crate::control::feeder::{self, CutReason};
use crate::control::machine::MachinePhase;
use crate::control::output::Output;
use crate::control::power::PowerRegion;
use crate::control::prepared::PreparedShed;
use crate::control::restore;
use crate::control::selection;
use crate::control::site_plan::Site;
use crate::control::state::State;
use crate::control::trip::TripCause;
use crate::moment::Moment;

/// Stops and starts machines as the region asks.
pub(super) fn switch(
    site: &Site,
    state: &mut State,
    seen: &StepFacts,
    caps: &[Cap],
    verdict: &Verdict,
    output: &mut Output,
) {
    let now_ms = output.now.elapsed_ms;
    let region = state.power.region;
    let is_tripped = !state.trips.latches.is_empty();
    if region == PowerRegion::Boot || (region == PowerRegion::SelfTest && !is_tripped) {
        // Read back first; only a cap that is exceeded leads out of here.
        return;
    }
    let off = forbidden(site, caps);
    let is_capped = verdict.is_capped(caps);
    let is_all_off = is_tripped || region == PowerRegion::Lockout;
    for (at, machine) in state.machines.iter_mut().enumerate() {
        if machine.phase.is_on() && (is_all_off || off[at]) {
            order_off(machine, &site.plan.machines[at], now_ms);
        }
    }
    match region {
        PowerRegion::Curtailing | PowerRegion::Curtailed if is_capped => {
            shed(site, state, seen, caps, verdict, now_ms);
            let is_paid = site.policy.power.is_energy_paid && region == PowerRegion::Curtailed;
            let headroom_kw = headroom_kw(site, state, seen, verdict, true);
            let band_kw = site.policy.power.readmit_below_pct / 100.0 * site.plan.design_kw;
            if is_paid && headroom_kw > band_kw && may_start(site, state, seen) {
                start(site, state, seen, &off, headroom_kw, now_ms);
            }
        }
        PowerRegion::Restoring if may_start(site, state, seen) => {
            let headroom_kw = headroom_kw(site, state, seen, verdict, is_capped);
            start(site, state, seen, &off, headroom_kw, now_ms);
        }
        _ => {}
    }
    let is_overdue = state
        .power
        .deadline_ms
        .is_some_and(|deadline| now_ms >= deadline);
    let level = verdict.cap(caps).map_or(u8::MAX, |cap| cap.level);
    cut_power(
        site,
        state,
        level,
        is_overdue && region == PowerRegion::Curtailing,
        output,
    );
    let mode = Mode {
        is_trip: is_tripped,
        is_late: state.power.escalate_ms.is_some_and(|at| now_ms >= at),
        may_start: may_energise(region) && may_start(site, state, seen),
        is_foreman_up: seen.is_foreman_up,
        is_outlet_first: site.policy.dispatch.is_outlet_first,
    };
    dispatch::advance(site, &mut state.machines, mode, output);
}

/// Works out which machines an announced event will stop, and remembers it until the event has
/// begun: what is new.
pub(super) fn prepare(
    site: &Site,
    state: &mut State,
    seen: &StepFacts,
    now: Moment,
) -> Option<PreparedShed> {
    let event = match (state.power.region, &seen.demands.announced) {
        (PowerRegion::Notice, Some(event)) => event,
        (PowerRegion::Curtailing, _) => return None,
        _ => {
            state.prepared = None;
            return None;
        }
    };
    let before = state.prepared.as_ref();
    if before.is_some_and(|before| before.is_for(event, site, now)) {
        return None;
    }
    let settled_kw = settled_kw(site, state, seen);
    let prepared = PreparedShed::new(site, &state.machines, event, settled_kw, now);
    let is_same = before.is_some_and(|before| before.is_same(&prepared));
    state.prepared = Some(prepared.clone());
    (!is_same).then_some(prepared)
}

/// Regions in which an order to start may be sent, or sent again.
fn may_energise(region: PowerRegion) -> bool {
    matches!(
        region,
        PowerRegion::Restoring
            | PowerRegion::Running
            | PowerRegion::Notice
            | PowerRegion::Curtailed
    )
}

/// Stops machines while the site would stay above its target.
fn shed(
    site: &Site,
    state: &mut State,
    seen: &StepFacts,
    caps: &[Cap],
    verdict: &Verdict,
    now_ms: u64,
) {
    let margin_kw = site.margin_kw();
    let cap = verdict.cap(caps);
    let level = cap.map_or(u8::MAX, |cap| cap.level);
    let source = cap.map(|cap| cap.source.as_str());
    let excess_kw = |state: &State| settled_kw(site, state, seen) - (verdict.target_kw - margin_kw);
    // What was announced to stop goes first.
    let own = |one: &&PreparedShed| Some(one.source.as_str()) == source;
    if let Some(prepared) = state.prepared.clone().as_ref().filter(own) {
        let excess_w = excess_kw(state) * 1_000.0;
        let first = prepared.machines.as_slice();
        let chosen = selection::of_prepared(site, &state.machines, first, excess_w, level, now_ms);
        for at in chosen {
            order_off(&mut state.machines[at], &site.plan.machines[at], now_ms);
        }
    }
    // A target that is held is corrected when half of the margin is used up.
    let is_held = state.power.region == PowerRegion::Curtailed;
    let tolerated_kw = if is_held { margin_kw / 2.0 } else { 0.0 };
    let excess_kw = excess_kw(state);
    if excess_kw <= tolerated_kw {
        return;
    }
    let wanted = selection::SelectionGoal {
        excess_w: excess_kw * 1_000.0,
        level,
        // What was not proven in half of the time is not tried again.
        may_trim: state.power.escalate_ms.is_none_or(|at| now_ms < at),
        now_ms,
    };
    let chosen = selection::select(site, &state.machines, wanted);
    for at in chosen.stops {
        order_off(&mut state.machines[at], &site.plan.machines[at], now_ms);
    }
    for at in chosen.lows {
        order_low(&mut state.machines[at], &site.plan.machines[at], now_ms);
    }
}

fn start(
    site: &Site,
    state: &mut State,
    seen: &StepFacts,
    forbidden: &[bool],
    headroom_kw: f64,
    now_ms: u64,
) {
    let bounds = restore::Bounds {
        headroom_kw,
        rise_kw: seen.power.rise_kw,
        forbidden,
        now_ms,
    };
    restore::start_group(site, &mut state.machines, &mut state.restore, bounds);
}

fn cut_power(site: &Site, state: &mut State, level: u8, is_overdue: bool, output: &mut Output) {
    let latches = &state.trips.latches;
    let reason = CutReason {
        is_at_once: latches.keys().any(TripCause::opens_contactors),
        tripped_since_ms: latches.values().map(|latch| latch.at.elapsed_ms).min(),
        is_overdue: is_overdue && level <= 3,
    };
    feeder::step(
        &mut state.feeders,
        &mut state.machines,
        site,
        reason,
        output,
    );
}

pub(super) fn cool(site: &Site, state: &mut State, seen: &StepFacts, output: &mut Output) {
    if state.power.region == PowerRegion::Boot {
        return;
    }
    let is_stopping = state
        .machines
        .iter()
        .any(|one| one.phase == MachinePhase::Stopping);
    let heat = Heat {
        air: &seen.air,
        mining_kw: seen.mining_kw,
        is_stopping,
        is_precooling: state.power.region == PowerRegion::Notice,
        is_locked: state.power.region == PowerRegion::Lockout,
    };
    state.fans.step(site, heat, &state.inputs, output);
    state.fans.say(site, &state.inputs, output);
}
