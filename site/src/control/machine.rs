//! What is known of each machine: what it draws, what it was ordered to do, and how far that is.

use serde::{Deserialize, Serialize};

use super::observation::{MachineCondition, Observation};
use super::policy::{HealthPolicy, ms};
use super::site_plan::{MachinePlan, Site};
use crate::command::{Action, CommandReport, Path, Progress};
use crate::moment::Moment;

/// Readings of a machine that may be missed.
const MISSES: u64 = 3;
/// Readings above so many times the rated power are none.
const MOST_RATED: f64 = 10.0;
/// That a machine is busy or fails is forgotten when nobody has said it for so long.
const CONDITION_MS: u64 = 1_800_000;
/// A machine fails, too, when so many orders in a row did.
const FAILED_ORDERS: u32 = 3;

/// What a machine does, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachinePhase {
    /// Nothing was read of it since the start; it is taken for running.
    Unknown,
    /// It draws power.
    Running,
    /// It was ordered to stop.
    Stopping,
    /// It draws nothing, or waits.
    Stopped,
    /// It was ordered to start.
    Starting,
    /// No way of stopping it worked.
    Stuck,
    /// It was ordered to work in its low power mode.
    Lowering,
    /// It was ordered to work in its normal power mode again.
    Raising,
}

impl MachinePhase {
    /// It works, may work, or is about to.
    pub fn is_on(self) -> bool {
        match self {
            Self::Unknown | Self::Running | Self::Starting | Self::Lowering | Self::Raising => true,
            Self::Stopping | Self::Stopped | Self::Stuck => false,
        }
    }
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was given out.
    Sent,
    /// The device said yes.
    Acknowledged,
    /// It said no, or nothing.
    Failed,
}

/// A command under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CommandLife {
    /// Its number.
    pub id: u64,
    /// By which way.
    pub path: Path,
    /// How far it is.
    pub stage: Stage,
    /// When it was given out.
    pub sent_ms: u64,
    /// How often it was given out on this way.
    pub attempts: u32,
}

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// What it does.
    pub phase: MachinePhase,
    /// Since when, on the clock of [`Moment::elapsed_ms`].
    pub since_ms: u64,
    /// Its last power.
    pub power_w: Option<f64>,
    /// When that was read.
    pub power_ms: u64,
    /// Its last power that is in the last reading of the site's meter, too.
    #[serde(default)]
    pub metered_w: Option<f64>,
    /// What it drew before it was ordered to stop.
    pub prior_w: f64,
    /// The command under way.
    pub command: Option<CommandLife>,
    /// The ways on which it was stopped; it is started on the same.
    pub cut_device: bool,
    /// Its outlet was cut.
    pub cut_outlet: bool,
    /// Its feeder was cut.
    pub cut_feeder: bool,
    /// Since when it is off.
    pub off_since_ms: Option<u64>,
    /// Since when it is on.
    pub on_since_ms: Option<u64>,
    /// When it was ordered to start last.
    pub ordered_on_ms: Option<u64>,
    /// It is not ordered to start before.
    pub retry_after_ms: u64,
    /// How long it took to start, when it was seen.
    pub boot_ms: Option<u64>,
    /// How often it was stopped.
    pub stops: u32,
    /// Orders that failed since one succeeded.
    pub failures: u32,
    /// It is not switched, except for safety.
    pub is_busy: bool,
    /// It is not to be used.
    pub is_out_of_use: bool,
    /// It fails.
    pub is_failing: bool,
    /// When the last of these was said.
    #[serde(default)]
    pub condition_ms: Option<u64>,
    /// Its hottest chip.
    pub chip_c: Option<f64>,
    /// Since when it was ordered into its low power mode; it is brought back when the site is
    /// restored.
    #[serde(default)]
    pub low_since_ms: Option<u64>,
    /// What was measured did not show that it obeyed the order about its power mode.
    #[serde(default)]
    pub is_mode_doubtful: bool,
}

impl MachineState {
    /// A machine of which nothing is known.
    pub fn unknown(now: Moment) -> Self {
        Self {
            phase: MachinePhase::Unknown,
            since_ms: now.elapsed_ms,
            power_w: None,
            power_ms: now.elapsed_ms,
            metered_w: None,
            prior_w: 0.0,
            command: None,
            cut_device: false,
            cut_outlet: false,
            cut_feeder: false,
            off_since_ms: None,
            on_since_ms: None,
            ordered_on_ms: None,
            retry_after_ms: 0,
            boot_ms: None,
            stops: 0,
            failures: 0,
            is_busy: false,
            is_out_of_use: false,
            is_failing: false,
            condition_ms: None,
            chip_c: None,
            low_since_ms: None,
            is_mode_doubtful: false,
        }
    }

    /// It works in its low power mode, as far as is known.
    pub fn is_low(&self) -> bool {
        self.low_since_ms.is_some() && !self.is_mode_doubtful
    }

    /// It says that it fails, or orders to it did, again and again.
    pub fn fails(&self) -> bool {
        self.is_failing || self.failures >= FAILED_ORDERS
    }

    /// The same after a restart: what was learned stays, what it does must be read.
    pub fn after_restart(self, now: Moment) -> Self {
        Self {
            phase: MachinePhase::Unknown,
            since_ms: now.elapsed_ms,
            power_w: None,
            metered_w: None,
            command: None,
            ..self
        }
    }

    /// Goes over to another phase.
    pub fn enter(&mut self, phase: MachinePhase, now_ms: u64) {
        if self.phase != phase {
            self.phase = phase;
            self.since_ms = now_ms;
        }
    }

    /// What it draws now, as far as is known; its rated power when it may be on.
    pub fn believed_w(&self, plan: &MachinePlan) -> f64 {
        self.power_w.unwrap_or(match self.phase {
            MachinePhase::Stopped => plan.standby_w,
            MachinePhase::Running if self.is_low() => plan.low_w(),
            _ => plan.power_w,
        })
    }

    /// What it will draw when all that was ordered has happened.
    pub fn settled_w(&self, plan: &MachinePlan) -> f64 {
        match self.phase {
            MachinePhase::Stopping | MachinePhase::Stopped => self.rest_w(plan),
            MachinePhase::Starting | MachinePhase::Raising => {
                self.believed_w(plan).max(plan.power_w)
            }
            // On the way it may draw less for a while: many begin their work anew.
            MachinePhase::Lowering => plan.low_w(),
            _ => self.believed_w(plan),
        }
    }

    /// What it draws while it is off.
    pub fn rest_w(&self, plan: &MachinePlan) -> f64 {
        let is_cut = self.cut_outlet || self.cut_feeder;
        let rest = if is_cut { 0.0 } else { plan.standby_w };
        self.power_w.map_or(rest, |now| now.min(rest))
    }

    /// A reading of its power, below which it is off.
    pub fn off_below_w(&self, plan: &MachinePlan, off_share: f64) -> f64 {
        let prior = if self.prior_w > 0.0 {
            self.prior_w
        } else {
            plan.power_w
        };
        (off_share * prior).max(1.5 * plan.standby_w)
    }
}

/// Takes readings, conditions and reports in. The site's meter was read last at `metered_ms`,
/// before these.
pub fn read(
    machines: &mut [MachineState],
    observation: &Observation,
    site: &Site,
    metered_ms: Option<u64>,
) {
    let off_share = site.policy.dispatch.off_share;
    for reading in &observation.machines {
        let at = reading.machine as usize;
        let (Some(machine), Some(plan)) = (machines.get_mut(at), site.plan.machines.get(at)) else {
            continue;
        };
        // A clamp that was mounted the wrong way says less than nothing: its size counts, so that
        // a machine at work is not taken for one that is off.
        let power_w = reading.power_w.abs();
        if !power_w.is_finite() || power_w > MOST_RATED * plan.power_w {
            // No machine draws that: it is no reading.
            continue;
        }
        if metered_ms.is_some_and(|at| machine.power_ms <= at) {
            machine.metered_w = machine.power_w;
        }
        machine.power_w = Some(power_w);
        machine.power_ms = reading.at.elapsed_ms;
        let is_off = power_w <= machine.off_below_w(plan, off_share);
        match machine.phase {
            MachinePhase::Unknown | MachinePhase::Running | MachinePhase::Stuck if is_off => {
                machine.enter(MachinePhase::Stopped, reading.at.elapsed_ms);
                machine.off_since_ms = Some(reading.at.elapsed_ms);
                machine.on_since_ms = None;
            }
            MachinePhase::Unknown | MachinePhase::Stopped if !is_off => {
                machine.enter(MachinePhase::Running, reading.at.elapsed_ms);
                machine.on_since_ms = Some(reading.at.elapsed_ms);
                machine.off_since_ms = None;
            }
            _ => {}
        }
    }
    for condition in &observation.conditions {
        if let Some(machine) = machines.get_mut(condition.machine as usize) {
            take_condition(machine, condition);
        }
    }
    take_reports(machines, &observation.reports);
}

fn take_condition(machine: &mut MachineState, said: &MachineCondition) {
    machine.is_busy = said.is_busy.unwrap_or(machine.is_busy);
    machine.is_out_of_use = said.is_out_of_use.unwrap_or(machine.is_out_of_use);
    machine.is_failing = said.is_failing.unwrap_or(machine.is_failing);
    machine.chip_c = said.chip_c.or(machine.chip_c);
    if said.is_busy.or(said.is_failing).is_some() {
        machine.condition_ms = said.at.map(|at| at.elapsed_ms);
    }
}

/// Power that was read too long ago is not known any more, nor is what a machine said of itself.
/// One that is out of use stays so until it is said to be in use.
pub fn forget_old(machines: &mut [MachineState], policy: &HealthPolicy, now: Moment) {
    let oldest_ms = ms(MISSES * policy.machine_period_s + policy.grace_s);
    for machine in machines {
        if now.elapsed_ms.saturating_sub(machine.power_ms) > oldest_ms {
            machine.power_w = None;
        }
        let said_ms = machine.condition_ms;
        if said_ms.is_some_and(|at| now.elapsed_ms.saturating_sub(at) > CONDITION_MS) {
            machine.condition_ms = None;
            (machine.is_busy, machine.is_failing) = (false, false);
        }
    }
}

fn take_reports(machines: &mut [MachineState], reports: &[CommandReport]) {
    if reports.is_empty() {
        return;
    }
    let mut reports: Vec<&CommandReport> = reports.iter().collect();
    reports.sort_by_key(|report| report.command);
    for machine in machines {
        let Some(life) = &mut machine.command else {
            continue;
        };
        let first = reports.partition_point(|report| report.command < life.id);
        let own = reports[first..]
            .iter()
            .take_while(|report| report.command == life.id);
        for report in own {
            life.stage = match report.progress {
                Progress::Acknowledged | Progress::Verified => Stage::Acknowledged,
                Progress::Failed(_) => Stage::Failed,
                _ => life.stage,
            };
        }
    }
}

/// How a machine was cut, remembered for its start.
pub fn remember_cut(machine: &mut MachineState, action: Action, path: Path) {
    let is_off = action == Action::Off;
    match path {
        Path::Device | Path::Foreman => machine.cut_device = is_off,
        Path::Outlet => machine.cut_outlet = is_off,
        Path::Feeder => machine.cut_feeder = is_off,
    }
}
