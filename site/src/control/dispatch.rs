//! Orders to machines: sent in waves, proven by power, and sent another way when they fail.
//!
//! A machine is off when it draws less than a tenth of what it drew before, not when it says yes.
//! The ways are its own interface, Foreman, its outlet; what none of them stops is stuck, and other
//! machines are stopped in its place. Orders to work in another power mode are proven by power too.

use super::machine::{CommandLife, MachinePhase, MachineState, Stage, remember_cut};
use super::output::Output;
use super::policy::{DispatchPolicy, ms};
use super::site_plan::{MachinePlan, Site};
use crate::command::{Action, Path, Progress, Target};
use crate::notice::Severity;

mod power_mode;

/// How orders are sent at a step.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// A hard trip: every way at once, and no waves.
    pub is_trip: bool,
    /// Half of the time is over: whatever has not stopped is cut.
    pub is_late: bool,
    /// Machines may be switched on; orders to start end without it.
    pub may_start: bool,
    /// Foreman answers.
    pub is_foreman_up: bool,
    /// Outlets are cut first.
    pub is_outlet_first: bool,
}

/// Orders a machine to stop; the command follows in a wave.
pub fn order_off(machine: &mut MachineState, plan: &MachinePlan, now_ms: u64) {
    machine.prior_w = machine.believed_w(plan);
    machine.stops = machine.stops.saturating_add(1);
    machine.command = None;
    machine.enter(MachinePhase::Stopping, now_ms);
}

/// Orders a machine to start; the command follows in a wave.
pub fn order_on(machine: &mut MachineState, now_ms: u64) {
    machine.command = None;
    machine.ordered_on_ms = Some(now_ms);
    machine.enter(MachinePhase::Starting, now_ms);
}

/// Orders a machine into its low power mode; the command follows in a wave.
pub fn order_low(machine: &mut MachineState, plan: &MachinePlan, now_ms: u64) {
    machine.prior_w = machine.believed_w(plan);
    machine.command = None;
    machine.low_since_ms = Some(now_ms);
    machine.is_mode_doubtful = false;
    machine.enter(MachinePhase::Lowering, now_ms);
}

/// Orders a machine back into its normal power mode; the command follows in a wave.
pub fn order_normal(machine: &mut MachineState, now_ms: u64) {
    machine.command = None;
    machine.enter(MachinePhase::Raising, now_ms);
}

/// Goes on with every order that is under way.
pub fn advance(site: &Site, machines: &mut [MachineState], mode: Mode, output: &mut Output) {
    let mut slots = Slots::new(&site.policy.dispatch, machines);
    let mut stuck = Vec::new();
    for (at, machine) in machines.iter_mut().enumerate() {
        let plan = &site.plan.machines[at];
        match machine.phase {
            MachinePhase::Stopping => stop(site, machine, plan, mode, &mut slots, output),
            MachinePhase::Starting => start(site, machine, plan, mode, &mut slots, output),
            MachinePhase::Lowering | MachinePhase::Raising => {
                power_mode::change(site, machine, plan, mode, &mut slots, output);
            }
            MachinePhase::Running => {
                power_mode::settle_doubt(&site.policy.dispatch, machine, plan, output.now);
            }
            _ => {}
        }
        if machine.phase == MachinePhase::Stuck {
            let stuck_ms = output.now.elapsed_ms.saturating_sub(machine.since_ms);
            stuck.push(plan.name.as_str());
            if stuck_ms >= ms(site.policy.dispatch.stuck_retry_s)
                || mode.is_trip && stuck_ms >= ms(30)
            {
                machine.enter(MachinePhase::Running, output.now.elapsed_ms);
            }
        }
    }
    if !stuck.is_empty() {
        output.alarm(
            Severity::Warning,
            "machines/stuck",
            format!("{} machines cannot be stopped", stuck.len()),
            format!(
                "No way of stopping them worked: {}. Look at their outlets.",
                list(&stuck)
            ),
        );
    }
}

/// Free places in a wave.
struct Slots {
    network: usize,
    outlets: usize,
}

impl Slots {
    fn new(policy: &DispatchPolicy, machines: &[MachineState]) -> Self {
        let (mut network, mut outlets) = (0, 0);
        for life in machines
            .iter()
            .filter_map(|machine| machine.command.as_ref())
        {
            match (life.stage, life.path) {
                (Stage::Sent, Path::Outlet) => outlets += 1,
                (Stage::Sent, _) => network += 1,
                _ => {}
            }
        }
        Self {
            network: policy.concurrency.saturating_sub(network),
            outlets: policy.outlet_concurrency.saturating_sub(outlets),
        }
    }

    fn take(&mut self, path: Path) -> bool {
        let left = match path {
            Path::Outlet => &mut self.outlets,
            _ => &mut self.network,
        };
        let is_free = *left > 0;
        *left = left.saturating_sub(1);
        is_free
    }
}

fn send(
    machine: &mut MachineState,
    plan: &MachinePlan,
    action: Action,
    path: Path,
    attempts: u32,
    output: &mut Output,
) {
    let id = output.command(Target::Machine(plan.name.clone()), action, path);
    machine.command = Some(CommandLife {
        id,
        path,
        stage: Stage::Sent,
        sent_ms: output.now.elapsed_ms,
        attempts,
    });
    // An order to start is remembered when it worked; until then the cut stands.
    if action == Action::Off {
        remember_cut(machine, action, path);
    }
}

fn stop(
    site: &Site,
    machine: &mut MachineState,
    plan: &MachinePlan,
    mode: Mode,
    slots: &mut Slots,
    output: &mut Output,
) {
    let (policy, now_ms) = (&site.policy.dispatch, output.now.elapsed_ms);
    let Some(life) = machine.command else {
        return first_stop(machine, plan, mode, slots, output);
    };
    let is_read = machine.power_w.is_some() && machine.power_ms > life.sent_ms;
    let off_below_w = machine.off_below_w(plan, policy.off_share);
    if is_read && machine.power_w.is_some_and(|power| power <= off_below_w) {
        return stopped(machine, output);
    }
    let waited_ms = now_ms.saturating_sub(life.sent_ms);
    let is_unproven = waited_ms >= ms(policy.proof_within_s);
    if life.stage == Stage::Acknowledged && is_unproven && !is_read {
        // Nothing measures this machine; the site meter tells whether it is true.
        machine.power_w = None;
        return stopped(machine, output);
    }
    let has_failed = match life.stage {
        Stage::Failed => true,
        Stage::Sent if life.path == Path::Outlet => waited_ms >= ms(retry_s(policy, life)),
        Stage::Sent => waited_ms >= ms(policy.answer_within_s(life.path)),
        Stage::Acknowledged => is_unproven,
    };
    let is_cut_now = (mode.is_late || mode.is_trip) && life.path < Path::Outlet && plan.has_outlet;
    if !has_failed && !is_cut_now {
        return;
    }
    if has_failed {
        machine.failures = machine.failures.saturating_add(1);
    }
    match next_path(policy, plan, life, mode, is_cut_now) {
        Some((path, attempts)) => {
            if mode.is_trip || slots.take(path) {
                let taken_over = Progress::Escalated(output.next_command());
                output.end(life.id, taken_over);
                send(machine, plan, Action::Off, path, attempts, output);
            }
        }
        None => {
            output.end(life.id, Progress::Failed("it still draws power".to_owned()));
            machine.command = None;
            machine.enter(MachinePhase::Stuck, now_ms);
        }
    }
}

fn first_stop(
    machine: &mut MachineState,
    plan: &MachinePlan,
    mode: Mode,
    slots: &mut Slots,
    output: &mut Output,
) {
    if mode.is_trip {
        let first = plan.first_path();
        send(machine, plan, Action::Off, first, 1, output);
        if plan.has_outlet && first != Path::Outlet {
            send(machine, plan, Action::Off, Path::Outlet, 1, output);
        }
        return;
    }
    let is_outlet = plan.has_outlet && (mode.is_outlet_first || mode.is_late);
    let path = if is_outlet {
        Path::Outlet
    } else {
        plan.first_path()
    };
    if slots.take(path) {
        send(machine, plan, Action::Off, path, 1, output);
    }
}

fn stopped(machine: &mut MachineState, output: &mut Output) {
    let now_ms = output.now.elapsed_ms;
    if let Some(life) = machine.command {
        output.end(life.id, Progress::Verified);
    }
    machine.command = None;
    machine.failures = 0;
    machine.off_since_ms = Some(now_ms);
    machine.on_since_ms = None;
    machine.enter(MachinePhase::Stopped, now_ms);
}

fn retry_s(policy: &DispatchPolicy, life: CommandLife) -> u64 {
    let tried = life.attempts.saturating_sub(1) as usize;
    policy
        .retry_s
        .get(tried)
        .copied()
        .unwrap_or(policy.answer_within_s)
}

/// The way that is taken after one failed, and how often it was taken then.
fn next_path(
    policy: &DispatchPolicy,
    plan: &MachinePlan,
    life: CommandLife,
    mode: Mode,
    is_cut_now: bool,
) -> Option<(Path, u32)> {
    let outlet = plan.has_outlet.then_some((Path::Outlet, 1));
    if is_cut_now {
        return outlet;
    }
    match life.path {
        Path::Device if plan.has_foreman && mode.is_foreman_up => Some((Path::Foreman, 1)),
        // Without Foreman the device is asked twice.
        Path::Device if life.attempts < 2 => Some((Path::Device, life.attempts + 1)),
        Path::Device | Path::Foreman => outlet,
        Path::Outlet if (life.attempts as usize) <= policy.retry_s.len() => {
            Some((Path::Outlet, life.attempts + 1))
        }
        Path::Outlet | Path::Feeder => None,
    }
}

fn start(
    site: &Site,
    machine: &mut MachineState,
    plan: &MachinePlan,
    mode: Mode,
    slots: &mut Slots,
    output: &mut Output,
) {
    let (policy, now_ms) = (&site.policy.dispatch, output.now.elapsed_ms);
    let ordered_ms = machine.ordered_on_ms.unwrap_or(now_ms);
    let Some(life) = machine.command else {
        if !mode.may_start {
            // It was never sent: the machine is still off.
            return machine.enter(MachinePhase::Stopped, now_ms);
        }
        let path = if machine.cut_outlet {
            Path::Outlet
        } else {
            plan.first_path()
        };
        if slots.take(path) {
            send(machine, plan, Action::On, path, 1, output);
        }
        return;
    };
    let is_read = machine.power_ms > life.sent_ms;
    // Many begin in the mode in which they were stopped.
    let works_w = if machine.low_since_ms.is_some() {
        plan.low_w()
    } else {
        plan.power_w
    };
    let is_on = machine
        .power_w
        .is_some_and(|now| now >= policy.on_share * works_w);
    if is_read && is_on {
        machine.boot_ms = Some(now_ms.saturating_sub(ordered_ms));
        return started(machine, output);
    }
    let waited_ms = now_ms.saturating_sub(life.sent_ms);
    let has_no_meter = machine.power_w.is_none() && life.stage == Stage::Acknowledged;
    if has_no_meter && waited_ms >= ms(plan.boot_s) {
        return started(machine, output);
    }
    let is_over = now_ms.saturating_sub(ordered_ms) >= ms(site.policy.restore.proof_within_s);
    let has_failed = match life.stage {
        Stage::Failed => true,
        Stage::Sent if life.path == Path::Outlet => waited_ms >= ms(retry_s(policy, life)),
        Stage::Sent => waited_ms >= ms(policy.answer_within_s(life.path)),
        Stage::Acknowledged => false,
    };
    if !has_failed && !is_over {
        return;
    }
    // A machine is not cut in order to start it.
    let next = next_path(policy, plan, life, mode, false)
        .filter(|(path, _)| *path != Path::Outlet || life.path == Path::Outlet)
        .filter(|_| !is_over && mode.may_start);
    match next {
        Some((path, attempts)) if slots.take(path) => {
            let taken_over = Progress::Escalated(output.next_command());
            output.end(life.id, taken_over);
            send(machine, plan, Action::On, path, attempts, output);
        }
        Some(_) => {}
        None => {
            output.end(life.id, Progress::Failed("it did not start".to_owned()));
            not_started(site, machine, plan, now_ms);
        }
    }
}

/// Gives up an order to start for a while.
fn not_started(site: &Site, machine: &mut MachineState, plan: &MachinePlan, now_ms: u64) {
    machine.failures = machine.failures.saturating_add(1);
    machine.retry_after_ms = now_ms + ms(site.policy.restore.retry_s);
    let off_below_w = machine.off_below_w(plan, site.policy.dispatch.off_share);
    if machine.power_w.is_none_or(|power| power > off_below_w) {
        // It may have started, or start yet: its power counts until it is proven off.
        return order_off(machine, plan, now_ms);
    }
    machine.command = None;
    machine.off_since_ms = machine.off_since_ms.or(Some(now_ms));
    machine.enter(MachinePhase::Stopped, now_ms);
}

fn started(machine: &mut MachineState, output: &mut Output) {
    let now_ms = output.now.elapsed_ms;
    if let Some(life) = machine.command {
        output.end(life.id, Progress::Verified);
    }
    machine.command = None;
    machine.failures = 0;
    (machine.cut_device, machine.cut_outlet) = (false, false);
    machine.off_since_ms = None;
    machine.on_since_ms = Some(now_ms);
    // Some makes begin in the mode they had, others in their normal one.
    machine.is_mode_doubtful = machine.low_since_ms.is_some();
    machine.enter(MachinePhase::Running, now_ms);
}

/// A few names, and how many more there are.
pub fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
