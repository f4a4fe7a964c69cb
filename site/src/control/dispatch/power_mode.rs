//! Orders to work in another power mode: sent to the device, then by Foreman, and proven by power.
//!
//! An outlet changes no mode. A machine that does not draw less in time works on as it is, and
//! others are stopped in its place; it is ordered back all the same when the site is restored,
//! since it may have obeyed late.

use super::{MachinePhase, MachineState, Mode, Slots, Stage, send};
use crate::command::{Action, Path, PowerMode, Progress};
use crate::control::output::Output;
use crate::control::policy::{DispatchPolicy, ms};
use crate::control::site_plan::{MachinePlan, Site};
use crate::moment::Moment;

/// Why an order is given up.
const NOT_SHOWN: &str = "it does not draw the power of the mode it was ordered into";

/// Goes on with an order to a machine that is [`MachinePhase::Lowering`] or
/// [`MachinePhase::Raising`].
pub(super) fn change(
    site: &Site,
    machine: &mut MachineState,
    plan: &MachinePlan,
    mode: Mode,
    slots: &mut Slots,
    output: &mut Output,
) {
    let (policy, now_ms) = (&site.policy.dispatch, output.now.elapsed_ms);
    let is_lower = machine.phase == MachinePhase::Lowering;
    // Half of the time is over, or nothing may be started any more.
    let is_late = match is_lower {
        true => mode.is_late || mode.is_trip,
        false => !mode.may_start,
    };
    let wanted = if is_lower {
        PowerMode::Low
    } else {
        PowerMode::Normal
    };
    let Some(life) = machine.command else {
        if is_late {
            return not_sent(machine, is_lower, now_ms);
        }
        // An outlet has no modes.
        let path = match plan.has_interface || !plan.has_foreman {
            true => Path::Device,
            false => Path::Foreman,
        };
        if slots.take(path) {
            send(machine, plan, Action::Mode(wanted), path, 1, output);
        }
        return;
    };
    let off_below_w = machine.off_below_w(plan, policy.off_share);
    let is_read = machine.power_w.is_some() && machine.power_ms > life.sent_ms;
    let is_shown = machine
        .power_w
        .is_some_and(|power_w| is_nearer_to_mode(wanted, power_w, machine, plan, off_below_w));
    if is_read && is_shown {
        return changed(machine, is_lower, output);
    }
    let waited_ms = now_ms.saturating_sub(life.sent_ms);
    let is_over = life.stage == Stage::Acknowledged && waited_ms >= ms(policy.mode_within_s);
    if is_over && !is_read {
        // Nothing measures this machine; the site meter tells whether it is true.
        machine.power_w = None;
        return changed(machine, is_lower, output);
    }
    let has_failed = match life.stage {
        Stage::Failed => true,
        Stage::Sent => waited_ms >= ms(policy.answer_within_s(life.path)),
        Stage::Acknowledged => is_over,
    };
    if has_failed || is_lower && is_late {
        let may_escalate = plan.has_foreman && mode.is_foreman_up && !is_late;
        let next = (may_escalate && life.path == Path::Device).then_some(Path::Foreman);
        match next {
            Some(path) if slots.take(path) => {
                let taken_over = Progress::Escalated(output.next_command());
                output.end(life.id, taken_over);
                send(machine, plan, Action::Mode(wanted), path, 1, output);
            }
            Some(_) => {}
            None => give_up(site, machine, output),
        }
    }
}

/// The machine works on, and nobody knows in which mode.
fn give_up(site: &Site, machine: &mut MachineState, output: &mut Output) {
    let now_ms = output.now.elapsed_ms;
    if let Some(life) = machine.command {
        output.end(life.id, Progress::Failed(NOT_SHOWN.to_owned()));
    }
    if machine.phase == MachinePhase::Raising {
        machine.retry_after_ms = now_ms + ms(site.policy.restore.retry_s);
    }
    machine.command = None;
    machine.is_mode_doubtful = true;
    machine.enter(MachinePhase::Running, now_ms);
}

/// A machine that was ordered into low power, and draws its normal power long after, is in its
/// normal mode.
pub(super) fn settle_doubt(
    policy: &DispatchPolicy,
    machine: &mut MachineState,
    plan: &MachinePlan,
    now: Moment,
) {
    let Some(since_ms) = machine.low_since_ms.filter(|_| machine.is_mode_doubtful) else {
        return;
    };
    let is_long_ago = now.elapsed_ms.saturating_sub(since_ms) >= ms(policy.mode_within_s);
    let is_normal = machine
        .power_w
        .is_some_and(|power_w| power_w >= (plan.power_w + plan.low_w()) / 2.0);
    if is_long_ago && is_normal {
        machine.low_since_ms = None;
        machine.is_mode_doubtful = false;
    }
}

/// The command never left: the machine works on as before.
fn not_sent(machine: &mut MachineState, is_lower: bool, now_ms: u64) {
    if is_lower {
        machine.low_since_ms = None;
    }
    machine.enter(MachinePhase::Running, now_ms);
}

/// Whether a power is nearer to that of the wanted mode than to that of the other.
fn is_nearer_to_mode(
    wanted: PowerMode,
    power_w: f64,
    machine: &MachineState,
    plan: &MachinePlan,
    off_below_w: f64,
) -> bool {
    let low_w = plan.low_w();
    match wanted {
        // One that begins its work anew draws next to nothing meanwhile, which shows nothing.
        PowerMode::Low => power_w > off_below_w && power_w <= (machine.prior_w + low_w) / 2.0,
        PowerMode::Normal | PowerMode::High => power_w >= (plan.power_w + low_w) / 2.0,
    }
}

fn changed(machine: &mut MachineState, is_lower: bool, output: &mut Output) {
    if let Some(life) = machine.command {
        output.end(life.id, Progress::Verified);
    }
    machine.command = None;
    machine.is_mode_doubtful = false;
    if !is_lower {
        machine.low_since_ms = None;
    }
    machine.enter(MachinePhase::Running, output.now.elapsed_ms);
}
