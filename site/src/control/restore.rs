//! Starting machines again: the most efficient first, in groups, and never faster than the ramp.
//!
//! A machine draws part of its power at once and the rest when it has booted. Both are entered in a
//! ledger of the coming minutes, and a machine is started only when no minute of the ledger rises
//! by more than what is planned of the ramp. What was learned of a machine's boot stands for the
//! plan's.

use serde::{Deserialize, Serialize};

use super::dispatch::order_on;
use super::machine::{MachinePhase, MachineState};
use super::policy::ms;
use super::selection::cost_j_th;
use super::site_plan::Site;

/// A slot of the ledger.
const SLOT_MS: u64 = 10_000;
/// Slots of a minute.
const MINUTE: usize = 6;
/// Slots of the ledger: forty minutes.
const SLOTS: usize = 240;

/// Watts by which power is expected to rise, by slots of ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RampLedger {
    first_slot: u64,
    watts: Vec<u32>,
}

impl RampLedger {
    fn advance(&mut self, now_ms: u64) {
        let slot = now_ms / SLOT_MS;
        // A minute of the past stays, for the minutes that reach into it.
        let first = slot.saturating_sub(MINUTE as u64);
        let gone = usize::try_from(first.saturating_sub(self.first_slot)).unwrap_or(usize::MAX);
        self.watts.drain(..gone.min(self.watts.len()));
        self.first_slot = first;
        self.watts.resize(SLOTS, 0);
    }

    fn add(&mut self, from_ms: u64, to_ms: u64, watts: f64) {
        let at = |ms: u64| {
            let slot = (ms / SLOT_MS).saturating_sub(self.first_slot);
            usize::try_from(slot).unwrap_or(SLOTS).min(SLOTS - 1)
        };
        let (from, to) = (at(from_ms), at(to_ms));
        let each = (watts / (to - from + 1) as f64).round() as u32;
        for slot in &mut self.watts[from..=to] {
            *slot = slot.saturating_add(each);
        }
    }

    /// The most by which any minute rises.
    fn steepest_w(&self) -> u64 {
        let mut sum: u64 = self.watts[..MINUTE]
            .iter()
            .map(|watts| u64::from(*watts))
            .sum();
        let mut steepest = sum;
        for at in MINUTE..self.watts.len() {
            sum += u64::from(self.watts[at]);
            sum -= u64::from(self.watts[at - MINUTE]);
            steepest = steepest.max(sum);
        }
        steepest
    }
}

/// What is remembered of starting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreState {
    /// What was started lately.
    pub ledger: RampLedger,
    last_group_ms: Option<u64>,
}

/// What bounds the starting at a step.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Kilowatts that may be added before the cap.
    pub headroom_kw: f64,
    /// How much the site's power rose within the last minute.
    pub rise_kw: f64,
    /// Machines that nobody may start, by their place.
    pub forbidden: &'a [bool],
    /// The time.
    pub now_ms: u64,
}

/// A machine could be started, now or when its time off is over.
pub fn is_candidate(machine: &MachineState) -> bool {
    machine.phase == MachinePhase::Stopped
        && !machine.is_busy
        && !machine.is_out_of_use
        && !machine.cut_feeder
}

/// A machine could be started now.
pub fn is_ready(site: &Site, machine: &MachineState, now_ms: u64) -> bool {
    let off_ms = machine
        .off_since_ms
        .map_or(0, |since| now_ms.saturating_sub(since));
    is_candidate(machine)
        && now_ms >= machine.retry_after_ms
        && off_ms >= ms(site.policy.power.min_off_s)
}

/// Starts the next group, if one is due: how many machines.
pub fn start_group(
    site: &Site,
    machines: &mut [MachineState],
    state: &mut RestoreState,
    bounds: Bounds<'_>,
) -> usize {
    let (policy, now_ms) = (&site.policy.restore, bounds.now_ms);
    let design_kw = site.plan.design_kw;
    let every_ms = ms(policy.group_every_s);
    if state
        .last_group_ms
        .is_some_and(|last| now_ms.saturating_sub(last) < every_ms)
    {
        return 0;
    }
    let ramp_kw = policy.ramp_pct_per_min / 100.0 * design_kw * policy.planned_share;
    if bounds.rise_kw > ramp_kw {
        return 0;
    }
    let mut ready: Vec<usize> = (0..machines.len())
        .filter(|at| !bounds.forbidden[*at] && is_ready(site, &machines[*at], now_ms))
        .collect();
    let plans = &site.plan.machines;
    ready.sort_by(|a, b| {
        let tries = machines[*a].failures.cmp(&machines[*b].failures);
        tries
            .then(cost_j_th(&plans[*a]).total_cmp(&cost_j_th(&plans[*b])))
            .then(a.cmp(b))
    });
    let mut feeders_kw = feeder_loads(site, machines);
    let group_kw = policy.group_pct / 100.0 * design_kw;
    let (mut group_left_kw, mut headroom_kw, mut count) = (group_kw, bounds.headroom_kw, 0);
    state.ledger.advance(now_ms);
    for at in ready {
        let kw = plans[at].power_w / 1_000.0;
        if kw > group_left_kw || count >= site.policy.dispatch.concurrency {
            break;
        }
        let feeder = site.feeder_of(at);
        let is_full = feeder.is_some_and(|feeder| {
            let limit_kw = site.plan.feeders[feeder].limit_kw() * policy.feeder_share;
            feeders_kw[feeder] + kw > limit_kw
        });
        if kw > headroom_kw || is_full {
            continue;
        }
        let mut ledger = state.ledger.clone();
        enter(&mut ledger, site, &machines[at], at, now_ms);
        if ledger.steepest_w() as f64 > ramp_kw * 1_000.0 {
            break;
        }
        state.ledger = ledger;
        group_left_kw -= kw;
        headroom_kw -= kw;
        count += 1;
        if let Some(feeder) = feeder {
            feeders_kw[feeder] += kw;
        }
        order_on(&mut machines[at], now_ms);
    }
    if count > 0 {
        state.last_group_ms = Some(now_ms);
    }
    count
}

/// Enters a machine that is started now: part of its power at once, the rest when it has booted.
fn enter(ledger: &mut RampLedger, site: &Site, machine: &MachineState, at: usize, now_ms: u64) {
    let plan = &site.plan.machines[at];
    let first_w = site.policy.restore.boot_share * plan.power_w;
    ledger.add(now_ms, now_ms + SLOT_MS, first_w);
    // Learned boots come again nearly the same; a plan's is good to a quarter.
    let (boot_ms, spread) = match machine.boot_ms {
        Some(learned) => (learned, 0.05),
        None => (ms(plan.boot_s), 0.25),
    };
    let around_ms = (boot_ms as f64 * spread) as u64;
    let from_ms = now_ms + boot_ms.saturating_sub(around_ms);
    ledger.add(
        from_ms,
        now_ms + boot_ms + around_ms,
        plan.power_w - first_w,
    );
}

fn feeder_loads(site: &Site, machines: &[MachineState]) -> Vec<f64> {
    let mut loads = vec![0.0; site.plan.feeders.len()];
    for (at, machine) in machines.iter().enumerate() {
        if let Some(feeder) = site.feeder_of(at) {
            loads[feeder] += machine.settled_w(&site.plan.machines[at]) / 1_000.0;
        }
    }
    loads
}
