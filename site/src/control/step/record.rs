//! What a step says: alarms of the whole site, and what the record of the decision names.

use super::facts::StepFacts;
use crate::control::decision::InputUsed;
use crate::control::dispatch;
use crate::control::health::Health;
use crate::control::machine::{MachinePhase, MachineState};
use crate::control::observation::Observation;
use crate::control::order::Scope;
use crate::control::output::Output;
use crate::control::policy::ms;
use crate::control::power::PowerRegion;
use crate::control::requests::clock;
use crate::control::site_plan::{MachinePlan, Site};
use crate::control::state::State;
use crate::moment::Moment;
use crate::notice::Severity;

/// A disk that takes nothing for less long may only be slow.
const SLOW_DISK_MS: u64 = 10_000;

/// What people must know besides what each part says itself.
pub(super) fn say(site: &Site, state: &State, observation: &Observation, output: &mut Output) {
    let lasted_ms = output.now.elapsed_ms.saturating_sub(state.power.since_ms);
    let is_waiting = state.power.region == PowerRegion::SelfTest;
    if is_waiting && lasted_ms >= ms(site.policy.power.self_test_s) {
        let unfit = state.inputs.unfit_for_start();
        output.alarm(
            Severity::Warning,
            "self_test/degraded",
            "the self-test does not pass",
            format!(
                "Nothing is started while these are not fresh: {}.",
                dispatch::list(&unfit)
            ),
        );
    }
    if state.power.region == PowerRegion::Notice {
        output.alarm(
            Severity::Info,
            "event/announced",
            "an event was announced",
            format!(
                "{}The container is cooled ahead of it; do not tune or update machines now.",
                what_is_prepared(site, state)
            ),
        );
    }
    standing_orders(site, state, output);
    supervised(state, output);
    troubles(site, state, observation, output);
    let gap_ms = state.stepped.map_or(0, |last| output.now.ms_since(last));
    if gap_ms > 3 * ms(site.policy.health.loop_s) {
        output.news(
            Severity::Warning,
            "controller/gap",
            "the controller stood still",
            format!(
                "No step for {} s. Look at its machine and its journal.",
                gap_ms / 1_000
            ),
        );
    }
}

/// The event and the machines that it will stop, in a sentence.
fn what_is_prepared(site: &Site, state: &State) -> String {
    let Some(prepared) = &state.prepared else {
        return String::new();
    };
    let plans = prepared.machines.iter();
    let names: Vec<&str> = plans
        .filter_map(|at| Some(site.plan.machines.get(*at as usize)?.name.as_str()))
        .collect();
    let (source, from) = (&prepared.source, clock(prepared.starts_at_us));
    let (cap_kw, kw) = (prepared.cap_kw, prepared.kw);
    match names.is_empty() {
        true => format!("{source} asks for {cap_kw:.0} kW from {from}; no machine has to stop. "),
        false => format!(
            "{source} asks for {cap_kw:.0} kW from {from}; {kw:.0} kW will be stopped: {}. ",
            dispatch::list(&names)
        ),
    }
}

/// What the loop that supervises found.
fn supervised(state: &State, output: &mut Output) {
    let Some(found) = &state.supervision else {
        return;
    };
    let names = |all: &[String]| {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        dispatch::list(&all)
    };
    if !found.unread.is_empty() {
        output.alarm(
            Severity::Info,
            "supervisor/inputs",
            "inputs are not read",
            format!(
                "Nothing came of {} since the last look. Each has a rule for its loss.",
                names(&found.unread)
            ),
        );
    }
    if !found.stuck.is_empty() {
        output.alarm(
            Severity::Warning,
            "supervisor/commands",
            "commands do not come to an end",
            format!(
                "Neither done nor given up for too long: {}. Look at these devices and their \
                 network.",
                names(&found.stuck)
            ),
        );
    }
}

/// What stands until a person ends it, and is easily overlooked.
fn standing_orders(site: &Site, state: &State, output: &mut Output) {
    if let Some(why) = &state.authority.start_hold {
        output.alarm(
            Severity::Emergency,
            "start/held",
            "nothing is started: what stood before this start may be incomplete",
            format!(
                "{why}. Trips and orders of before may not have been written. Look at the site, \
                 then at the disk, and reset it with a reason."
            ),
        );
    }
    let unknown = state
        .authority
        .lockouts
        .iter()
        .filter(|one| match &one.scope {
            Scope::Site => false,
            Scope::Feeder(name) => site.feeder(name).is_none(),
            Scope::Machine(name) => site.machine(name).is_none(),
        });
    let unknown: Vec<&str> = unknown.map(|one| one.by.as_str()).collect();
    if !unknown.is_empty() {
        output.alarm(
            Severity::Warning,
            "lockout/unknown",
            "the plan does not have what is locked out",
            format!(
                "Lockouts of {} hold nothing off: the plan has another name for it, or it is \
                 gone. Lock it out by its new name, and end the old lockout.",
                dispatch::list(&unknown)
            ),
        );
    }
}

fn troubles(site: &Site, state: &State, observation: &Observation, output: &mut Output) {
    if is_clock_doubtful(site, observation) {
        output.alarm(
            Severity::Warning,
            "clock/doubtful",
            "the wall clock cannot be trusted",
            "Timers go by another clock and are right; reports are marked. Look at its servers.",
        );
    }
    let lost_since_ms = state.journal_lost_since_ms.unwrap_or(output.now.elapsed_ms);
    let is_disk_slow = output.now.elapsed_ms.saturating_sub(lost_since_ms) < SLOW_DISK_MS;
    let troubles = [
        (
            "journal/lost",
            &observation.journal_trouble,
            match is_disk_slow {
                true => Severity::Warning,
                false => Severity::Emergency,
            },
        ),
        (
            "notifier/failing",
            &observation.notifier_trouble,
            Severity::Warning,
        ),
        (
            "foreman/lost",
            &observation.foreman_trouble,
            Severity::Warning,
        ),
    ];
    for (topic, trouble, severity) in troubles {
        let Some(why) = trouble else { continue };
        let (title, text) = match topic {
            "journal/lost" => (
                "the journal cannot be written",
                "The controller goes on from memory. Look at the disk.",
            ),
            "notifier/failing" => (
                "a channel does not carry notices",
                "The next channel is used. Look at its account and network.",
            ),
            _ => (
                "Foreman does not answer",
                "Machines are asked directly, then their outlets are cut.",
            ),
        };
        output.alarm(severity, topic, title, format!("{why}. {text}"));
    }
}

pub(super) fn is_clock_doubtful(site: &Site, observation: &Observation) -> bool {
    let (clock, health) = (&observation.clock, &site.policy.health);
    clock
        .stepped_s
        .is_some_and(|step| step.abs() > health.clock_step_s)
        || clock
            .unsynchronised_s
            .is_some_and(|seconds| seconds >= health.clock_unsynchronised_s)
}

pub(super) fn hashrate_ths(site: &Site, state: &State) -> f64 {
    let machines = state.machines.iter().zip(&site.plan.machines);
    let works = |phase| {
        use MachinePhase::{Lowering, Raising, Running};
        matches!(phase, Running | Lowering | Raising)
    };
    let running = machines.filter(|(machine, _)| works(machine.phase));
    // In low power a machine hashes about as much less as it draws less.
    let share = |machine: &MachineState, plan: &MachinePlan| match machine.is_low() {
        true => plan.low_share(),
        false => 1.0,
    };
    running
        .map(|(machine, plan)| plan.hashrate_ths * share(machine, plan))
        .sum()
}

pub(super) fn inputs_used(state: &State, seen: &StepFacts, now: Moment) -> Vec<InputUsed> {
    let mut used = Vec::with_capacity(4 + state.requests.0.len());
    let own = |name: &str| state.inputs.0.get(name);
    if let Some(meter) = state.metering.last {
        let input = own("meter/site");
        used.push(InputUsed {
            source: "meter/site".to_owned(),
            at_ms: meter.at.elapsed_ms,
            at_us: meter.at.utc_us,
            health: input.map(|input| input.health),
            step: input.and_then(|input| input.step),
            value: Some(meter.kw),
        });
    }
    let mut now_used = |source: &str, value: Option<f64>, classes: &[&str]| {
        if value.is_some() {
            used.push(InputUsed {
                source: source.to_owned(),
                at_ms: now.elapsed_ms,
                at_us: now.utc_us,
                health: worst_health(state, classes),
                step: Some(state.counters.decision),
                value,
            });
        }
    };
    let air = ["temperature/", "air/"];
    now_used("temperature/control", seen.air.control_c, &air);
    now_used("temperature/highest", seen.air.highest_c, &air);
    now_used("humidity", seen.air.humidity_pct, &["humidity/"]);
    for name in state.requests.0.keys() {
        let source = format!("signal/{name}");
        let input = own(&source);
        let mut demands = seen.demands.now.iter();
        let demand = demands.find(|demand| demand.source == *name);
        used.push(InputUsed {
            at_ms: input.map_or(0, |input| input.last_ms),
            at_us: input.map_or(0, |input| input.last_us),
            health: input.map(|input| input.health),
            step: input.and_then(|input| input.step),
            value: demand.map(|demand| demand.cap_kw),
            source,
        });
    }
    used
}

/// How far the inputs of these classes that may be used can be trusted: the worst of them.
fn worst_health(state: &State, classes: &[&str]) -> Option<Health> {
    let own = |name: &str| classes.iter().any(|class| name.starts_with(class));
    let inputs = state
        .inputs
        .0
        .iter()
        .filter(|(name, one)| own(name) && one.is_usable());
    inputs.map(|(_, one)| one.health).max()
}
