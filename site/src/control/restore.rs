//! Starting machines again: the most efficient first, in groups, and never faster than the ramp.
//!
//! A machine draws part of its power at once and the rest when it has booted. Both are entered in a
//! ledger of the coming minutes, and a machine is started only when no minute of the ledger rises
//! by more than what is planned of the ramp. What was learned of a machine's boot stands for the
//! plan's. A machine in its low power mode is brought back in the same way.
//!
//! The ledger spreads the rest over the time in which a boot may end, which holds where each boot
//! is wrong by a chance of its own. Where all are right, or all wrong alike, the rest of machines
//! that were started together comes together: further ledgers, one a common error, hold for that.

use serde::{Deserialize, Serialize};

use super::dispatch::{order_normal, order_on};
use super::machine::{MachinePhase, MachineState};
use super::policy::ms;
use super::selection::cost_j_th;
use super::site_plan::{MachinePlan, Site};

/// A slot of the ledger.
const SLOT_MS: u64 = 10_000;
/// Slots of a minute.
const MINUTE: usize = 6;
/// Slots of the ledger: forty minutes.
const SLOTS: usize = 240;
/// Factors by which the boots of all machines may differ from their plans at once.
const COMMON_ERRORS: [f64; 5] = [0.75, 0.87, 1.0, 1.13, 1.25];
/// The share of the ramp that is kept whichever of them is true.
const COMMON_SHARE: f64 = 0.9;

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

    /// The most by which any so many slots rise.
    fn steepest_w(&self, slots: usize) -> f64 {
        let mut sum: u64 = self.watts[..slots]
            .iter()
            .map(|watts| u64::from(*watts))
            .sum();
        let mut steepest = sum;
        for at in slots..self.watts.len() {
            sum += u64::from(self.watts[at]);
            sum -= u64::from(self.watts[at - slots]);
            steepest = steepest.max(sum);
        }
        steepest as f64
    }
}

/// What is remembered of starting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreState {
    /// What was started lately, where each boot is wrong by a chance of its own.
    ledger: RampLedger,
    /// The same where all boots are wrong by a common factor, a ledger each.
    #[serde(default)]
    common: Vec<RampLedger>,
    last_group_ms: Option<u64>,
}

impl RestoreState {
    fn advance(&mut self, now_ms: u64) {
        self.common
            .resize_with(COMMON_ERRORS.len(), RampLedger::default);
        for ledger in std::iter::once(&mut self.ledger).chain(&mut self.common) {
            ledger.advance(now_ms);
        }
    }

    /// Enters a machine that is started now.
    fn enter(&mut self, site: &Site, machine: &MachineState, plan: &MachinePlan, now_ms: u64) {
        let boot = Boot::new(site, machine, plan);
        boot.enter_spread(&mut self.ledger, now_ms);
        for (ledger, factor) in self.common.iter_mut().zip(COMMON_ERRORS) {
            boot.enter_whole(ledger, factor, now_ms);
        }
    }

    /// Some minute of the future may rise by more than the ramp, in watts.
    fn is_too_steep(&self, ramp_w: f64, planned_share: f64) -> bool {
        let common_w = ramp_w * planned_share.max(COMMON_SHARE);
        // A minute may begin within a slot.
        let is_steep = |ledger: &RampLedger| ledger.steepest_w(MINUTE + 1) > common_w;
        self.ledger.steepest_w(MINUTE) > ramp_w * planned_share || self.common.iter().any(is_steep)
    }
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

/// A machine could be started, or brought back from its low power mode, now or when its time is
/// over.
pub fn is_candidate(machine: &MachineState) -> bool {
    let is_below = machine.phase == MachinePhase::Stopped || is_low(machine);
    is_below && !machine.is_busy && !machine.is_out_of_use && !machine.cut_feeder
}

/// It works in its low power mode, or may.
fn is_low(machine: &MachineState) -> bool {
    machine.phase == MachinePhase::Running && machine.low_since_ms.is_some()
}

/// Watts by which power rises when a candidate is started or brought back.
pub fn rise_w(machine: &MachineState, plan: &MachinePlan) -> f64 {
    match is_low(machine) {
        true => (plan.power_w - machine.believed_w(plan)).max(0.0),
        false => plan.power_w,
    }
}

/// A machine could be started or brought back now.
pub fn is_ready(site: &Site, machine: &MachineState, now_ms: u64) -> bool {
    let since_ms = match is_low(machine) {
        true => machine.low_since_ms,
        false => machine.off_since_ms,
    };
    let off_ms = since_ms.map_or(0, |since| now_ms.saturating_sub(since));
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
    let ramp_kw = policy.ramp_pct_per_min / 100.0 * design_kw;
    if bounds.rise_kw > ramp_kw * policy.planned_share {
        return 0;
    }
    let mut ready: Vec<usize> = (0..machines.len())
        .filter(|at| !bounds.forbidden[*at] && is_ready(site, &machines[*at], now_ms))
        .collect();
    let plans = &site.plan.machines;
    ready.sort_by(|a, b| {
        // Whole machines first; what is left of the headroom brings others back from low power.
        let modes = is_low(&machines[*a]).cmp(&is_low(&machines[*b]));
        let tries = machines[*a].failures.cmp(&machines[*b].failures);
        modes
            .then(tries)
            .then(cost_j_th(&plans[*a]).total_cmp(&cost_j_th(&plans[*b])))
            .then(a.cmp(b))
    });
    let mut feeders_kw = feeder_loads(site, machines);
    let group_kw = policy.group_pct / 100.0 * design_kw;
    let (mut group_left_kw, mut headroom_kw, mut count) = (group_kw, bounds.headroom_kw, 0);
    state.advance(now_ms);
    for at in ready {
        let kw = rise_w(&machines[at], &plans[at]) / 1_000.0;
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
        let mut next = state.clone();
        next.enter(site, &machines[at], &plans[at], now_ms);
        if next.is_too_steep(1_000.0 * ramp_kw, policy.planned_share) {
            break;
        }
        *state = next;
        group_left_kw -= kw;
        headroom_kw -= kw;
        count += 1;
        if let Some(feeder) = feeder {
            feeders_kw[feeder] += kw;
        }
        match is_low(&machines[at]) {
            true => order_normal(&mut machines[at], now_ms),
            false => order_on(&mut machines[at], now_ms),
        }
    }
    if count > 0 {
        state.last_group_ms = Some(now_ms);
    }
    count
}

/// How the power of a machine that is started rises: a part at once, the rest when it has booted.
#[derive(Debug, Clone, Copy)]
struct Boot {
    first_w: f64,
    rest_w: f64,
    boot_ms: u64,
    is_learned: bool,
}

impl Boot {
    fn new(site: &Site, machine: &MachineState, plan: &MachinePlan) -> Self {
        let first_w = site.policy.restore.boot_share * plan.power_w;
        Self {
            first_w,
            rest_w: plan.power_w - first_w,
            boot_ms: machine.boot_ms.unwrap_or(ms(plan.boot_s)),
            is_learned: machine.boot_ms.is_some(),
        }
    }

    /// The rest comes at some time around the end of the boot.
    fn enter_spread(self, ledger: &mut RampLedger, now_ms: u64) {
        ledger.add(now_ms, now_ms + SLOT_MS, self.first_w);
        // Learned boots come again nearly the same; a plan's is good to a quarter.
        let spread = if self.is_learned { 0.05 } else { 0.25 };
        let around_ms = (self.boot_ms as f64 * spread) as u64;
        let from_ms = now_ms + self.boot_ms.saturating_sub(around_ms);
        let to_ms = now_ms + self.boot_ms + around_ms;
        ledger.add(from_ms, to_ms, self.rest_w);
    }

    /// The rest comes at the end of a boot that takes so many times as long as planned.
    fn enter_whole(self, ledger: &mut RampLedger, factor: f64, now_ms: u64) {
        ledger.add(now_ms, now_ms, self.first_w);
        let factor = if self.is_learned { 1.0 } else { factor };
        let at_ms = now_ms + (self.boot_ms as f64 * factor) as u64;
        ledger.add(at_ms, at_ms, self.rest_w);
    }
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
