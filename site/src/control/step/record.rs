//! What a step says: alarms of the whole site, and what the record of the decision names.

use super::facts::Seen;
use crate::control::decision::InputUsed;
use crate::control::dispatch;
use crate::control::machine::MachinePhase;
use crate::control::observation::Observation;
use crate::control::output::Output;
use crate::control::policy::ms;
use crate::control::power::PowerRegion;
use crate::control::site_plan::Site;
use crate::control::state::State;
use crate::moment::Moment;
use crate::notice::Severity;

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
            "The container is cooled ahead of it; do not tune or update machines now.",
        );
    }
    troubles(site, observation, output);
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

fn troubles(site: &Site, observation: &Observation, output: &mut Output) {
    if is_clock_doubtful(site, observation) {
        output.alarm(
            Severity::Warning,
            "clock/doubtful",
            "the wall clock cannot be trusted",
            "Timers go by another clock and are right; reports are marked. Look at its servers.",
        );
    }
    let troubles = [
        (
            "journal/lost",
            &observation.journal_trouble,
            Severity::Emergency,
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
    let running = machines.filter(|(machine, _)| machine.phase == MachinePhase::Running);
    running.map(|(_, plan)| plan.hashrate_ths).sum()
}

pub(super) fn inputs_used(state: &State, seen: &Seen, now: Moment) -> Vec<InputUsed> {
    let mut used = Vec::with_capacity(4 + state.requests.0.len());
    if let Some(meter) = state.metering.last {
        used.push(InputUsed {
            source: "meter/site".to_owned(),
            at_ms: meter.at.elapsed_ms,
            value: Some(meter.kw),
        });
    }
    let mut now_used = |source: &str, value: Option<f64>| {
        if value.is_some() {
            used.push(InputUsed {
                source: source.to_owned(),
                at_ms: now.elapsed_ms,
                value,
            });
        }
    };
    now_used("temperature/control", seen.air.control_c);
    now_used("temperature/highest", seen.air.highest_c);
    now_used("humidity", seen.air.humidity_pct);
    for name in state.requests.0.keys() {
        let source = format!("signal/{name}");
        let at_ms = state.inputs.0.get(&source).map_or(0, |input| input.last_ms);
        let demand = seen
            .demands
            .now
            .iter()
            .find(|demand| demand.source == *name);
        used.push(InputUsed {
            source,
            at_ms,
            value: demand.map(|demand| demand.cap_kw),
        });
    }
    used
}
