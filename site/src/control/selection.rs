//! Which machines are stopped: the least efficient first, and no more than needed.
//!
//! Of machines alike, those that fail, are hot, or started last are stopped first, then those that
//! were stopped least often. Phases stay balanced, and the last machine is the one that fits best,
//! or a few are set to low power in its place.

use std::cmp::Ordering;

use super::machine::MachineState;
use super::policy::ms;
use super::site_plan::{MachinePlan, Site};

mod trim;

/// Machines as alike as this, in efficiency, may stand for each other to balance phases.
const ALIKE: f64 = 0.05;
/// The least urgent level of caps that stops every machine.
const SAFETY: u8 = 2;

/// Watts that stopping a machine brings.
pub fn gain_w(machine: &MachineState, plan: &MachinePlan) -> f64 {
    (machine.settled_w(plan) - machine.rest_w(plan).min(plan.standby_w)).max(0.0)
}

/// Joules per terahash, weighted by what is promised to its owner; infinite when not known.
pub fn cost_j_th(plan: &MachinePlan) -> f64 {
    plan.efficiency_j_th
        .map_or(f64::INFINITY, |j_th| j_th / plan.sla_weight)
}

/// What is wanted of a selection.
#[derive(Debug, Clone, Copy)]
pub struct SelectionGoal {
    /// Power falls by at least so many watts.
    pub excess_w: f64,
    /// The level of the cap: safety (2 and less) stops everything, others spare machines that must
    /// run.
    pub level: u8,
    /// Machines may be set to their low power mode where that fits closer.
    pub may_trim: bool,
    /// The time.
    pub now_ms: u64,
}

/// Machines by their place in the plan, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// To stop.
    pub stops: Vec<usize>,
    /// To set to their low power mode.
    pub lows: Vec<usize>,
}

/// The machines whose power falls by at least what is wanted.
///
/// Machines that are busy or have just started are stopped only when the rest is not enough.
pub fn select(site: &Site, machines: &[MachineState], wanted: SelectionGoal) -> Chosen {
    let mut chosen = Chosen::default();
    let stops = &mut chosen.stops;
    let left_w = stop(site, machines, wanted, stops);
    let may_trim = wanted.may_trim && wanted.level > SAFETY && left_w <= 0.0;
    if may_trim && let Some(lows) = trim::low_power_in_place_of_last(site, machines, wanted, stops)
    {
        stops.pop();
        chosen.lows = lows;
    }
    chosen
}

/// Chooses machines to stop: watts that are still missing.
fn stop(
    site: &Site,
    machines: &[MachineState],
    wanted: SelectionGoal,
    chosen: &mut Vec<usize>,
) -> f64 {
    let (level, now_ms) = (wanted.level, wanted.now_ms);
    let mut left_w = wanted.excess_w;
    for is_spared in [false, true] {
        let mut candidates: Vec<usize> = (0..machines.len())
            .filter(|at| is_candidate(&machines[*at], &site.plan.machines[*at], level))
            .filter(|at| {
                let (machine, plan) = (&machines[*at], &site.plan.machines[*at]);
                is_exempt(machine, plan, now_ms) == is_spared
            })
            .collect();
        candidates.sort_by(|a, b| compare(site, machines, *a, *b));
        left_w = take(site, machines, candidates, left_w, chosen);
        if left_w <= 0.0 {
            break;
        }
    }
    left_w
}

/// Of machines that were chosen before, in their order, those to stop so that power falls by so
/// many watts; those that are off, busy or have just started are left out.
pub fn of_prepared(
    site: &Site,
    machines: &[MachineState],
    prepared: &[u32],
    excess_w: f64,
    level: u8,
    now_ms: u64,
) -> Vec<usize> {
    let (mut chosen, mut left_w) = (Vec::new(), excess_w);
    for at in prepared.iter().map(|at| *at as usize) {
        let (Some(machine), Some(plan)) = (machines.get(at), site.plan.machines.get(at)) else {
            continue;
        };
        if left_w <= 0.0 {
            break;
        }
        if is_candidate(machine, plan, level) && !is_exempt(machine, plan, now_ms) {
            left_w -= gain_w(machine, plan);
            chosen.push(at);
        }
    }
    chosen
}

fn is_candidate(machine: &MachineState, plan: &MachinePlan, level: u8) -> bool {
    machine.phase.is_on() && (level <= SAFETY || !plan.is_mandatory_run)
}

fn is_exempt(machine: &MachineState, plan: &MachinePlan, now_ms: u64) -> bool {
    let is_young = machine
        .on_since_ms
        .is_some_and(|since| now_ms.saturating_sub(since) < ms(plan.min_on_s));
    machine.is_busy || is_young
}

fn compare(site: &Site, machines: &[MachineState], a: usize, b: usize) -> Ordering {
    let (plan_a, plan_b) = (&site.plan.machines[a], &site.plan.machines[b]);
    let (one, two) = (&machines[a], &machines[b]);
    let chip = |machine: &MachineState| machine.chip_c.unwrap_or(0.0);
    cost_j_th(plan_b)
        .total_cmp(&cost_j_th(plan_a))
        .then(two.fails().cmp(&one.fails()))
        .then(chip(two).total_cmp(&chip(one)))
        .then(two.on_since_ms.cmp(&one.on_since_ms))
        .then(one.stops.cmp(&two.stops))
        .then(a.cmp(&b))
}

/// Takes candidates until enough power is found: watts that are still missing.
fn take(
    site: &Site,
    machines: &[MachineState],
    mut candidates: Vec<usize>,
    mut left_w: f64,
    chosen: &mut Vec<usize>,
) -> f64 {
    let plans = &site.plan.machines;
    let dispatch = &site.policy.dispatch;
    let gain = |at: usize| gain_w(&machines[at], &plans[at]);
    let mut phases = phase_loads(site, machines, chosen);
    candidates.reverse();
    while left_w > 0.0 {
        let Some(head) = candidates.last().copied() else {
            break;
        };
        let near = candidates.len().saturating_sub(dispatch.best_fit_among);
        let last = candidates.len() - 1;
        let pick = if gain(head) >= left_w {
            // Any of these is enough; the smallest of them overshoots least.
            let enough = (near..candidates.len())
                .rev()
                .filter(|i| gain(candidates[*i]) >= left_w);
            enough
                .min_by(|i, j| gain(candidates[*i]).total_cmp(&gain(candidates[*j])))
                .unwrap_or(last)
        } else {
            let fits = |i: &usize| {
                let plan = &plans[candidates[*i]];
                let is_alike = cost_j_th(plan) >= cost_j_th(&plans[head]) * (1.0 - ALIKE);
                is_alike && overloaded_phase(&phases, dispatch.phase_balance_pct) == plan.phase
            };
            match overloaded_phase(&phases, dispatch.phase_balance_pct) {
                Some(_) => (near..candidates.len()).rev().find(fits).unwrap_or(last),
                None => last,
            }
        };
        let at = candidates.remove(pick);
        left_w -= gain(at);
        if let Some(load) = plans[at]
            .phase
            .and_then(|phase| phases.get_mut(phase as usize))
        {
            *load -= gain(at);
        }
        chosen.push(at);
    }
    left_w
}

/// Watts of each phase, 1 to 3, after what was chosen.
fn phase_loads(site: &Site, machines: &[MachineState], chosen: &[usize]) -> [f64; 4] {
    let mut loads = [0.0; 4];
    for (at, plan) in site.plan.machines.iter().enumerate() {
        let Some(load) = plan.phase.and_then(|phase| loads.get_mut(phase as usize)) else {
            continue;
        };
        if !chosen.contains(&at) {
            *load += machines[at].settled_w(plan);
        }
    }
    loads
}

/// The phase with the highest load, when it is too far above the mean.
fn overloaded_phase(loads: &[f64; 4], balance_pct: f64) -> Option<u8> {
    let mean = loads[1..].iter().sum::<f64>() / 3.0;
    let highest = (1_u8..=3).max_by(|a, b| {
        let load = |phase: &u8| loads[*phase as usize];
        load(a).total_cmp(&load(b))
    })?;
    let is_far = loads[highest as usize] > mean * (1.0 + balance_pct / 100.0);
    (mean > 0.0 && is_far).then_some(highest)
}
