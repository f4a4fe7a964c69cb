//! One step: from what was observed to commands, notices and the record of the decision.

mod facts;
mod record;
mod switch;

use super::debug;
use super::decision::{DecisionRecord, MachineCounts, reason};
use super::observation::{Observation, rounded};
use super::output::Output;
use super::power;
use super::site_plan::Site;
use super::state::State;
use crate::command::Command;
use crate::moment::Moment;
use crate::notice::{Notice, Severity};
use crate::random::Random;
use facts::{arbitrate, facts, regions, take_readings};
use record::{hashrate_ths, inputs_used, is_clock_doubtful, say};
use switch::{cool, prepare, switch};

/// What a step gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The state for the next step.
    pub state: State,
    /// Commands, in the order in which they are sent.
    pub commands: Vec<Command>,
    /// Notices to people.
    pub notices: Vec<Notice>,
    /// Why.
    pub decision: DecisionRecord,
}

/// Decides, without changing the state that it is given.
pub fn step(site: &Site, state: &State, observation: &Observation, now: Moment) -> Step {
    let mut state = state.clone();
    let (commands, notices, decision) = advance(site, &mut state, observation, now);
    Step {
        state,
        commands,
        notices,
        decision,
    }
}

/// [`step`] in place.
pub fn advance(
    site: &Site,
    state: &mut State,
    observation: &Observation,
    now: Moment,
) -> (Vec<Command>, Vec<Notice>, DecisionRecord) {
    let is_live = site.policy.authority.allow_live_debug;
    let live = state.authority.debug.as_ref().filter(|_| is_live);
    let replaced = live.map(|(_, values)| debug::replace(site, observation, values, now));
    let seen = replaced.as_ref().unwrap_or(observation);
    let (commands, notices, mut decision) = advance_real(site, state, seen, now);
    match &state.authority.debug {
        None => debug::forget(state),
        Some((_, values)) if !is_live => {
            let mut seen = debug::replace(site, observation, values, now);
            seen.orders.clear();
            let mut shadow = state
                .shadow
                .take()
                .unwrap_or_else(|| Box::new(state.clone()));
            decision.simulated = advance_real(site, &mut shadow, &seen, now).0;
            state.shadow = Some(shadow);
        }
        Some(_) => {}
    }
    (commands, notices, decision)
}

fn advance_real(
    site: &Site,
    state: &mut State,
    observation: &Observation,
    now: Moment,
) -> (Vec<Command>, Vec<Notice>, DecisionRecord) {
    let mut output = Output::new(now, &state.counters);
    let before = regions(state);
    let seen = take_readings(site, state, observation, &mut output);
    if let Some(found) = &observation.supervision {
        state.supervision = Some(found.clone());
    }
    state.journal_lost_since_ms = match observation.journal_trouble {
        Some(_) => state.journal_lost_since_ms.or(Some(now.elapsed_ms)),
        None => None,
    };
    let (caps, verdict) = arbitrate(site, state, &seen, now);
    let facts = facts(site, state, &seen, &caps, &verdict, now);
    let next = power::next(&state.power, &facts, &site.policy.power);
    if next != state.power.region {
        state.metering.samples_below = 0;
        let chance = chance(state);
        state.power.enter(next, &facts, &site.policy.power, chance);
    }
    state.power.follow_cap(&facts, &site.policy.power);
    let prepared = prepare(site, state, &seen, now);
    switch(site, state, &seen, &caps, &verdict, &mut output);
    cool(site, state, &seen, &mut output);
    say(site, state, observation, &mut output);
    let line = reason(state.power.region, &caps, &verdict, seen.power);
    let notices = state.notices.step(
        &site.policy.authority,
        &observation.acknowledged,
        || line.clone(),
        &mut output,
        &mut state.counters,
    );
    let loud = notices
        .iter()
        .filter(|notice| notice.severity >= Severity::Warning);
    let commands = std::mem::take(&mut output.commands);
    state.counters.command = output.next_command();
    let decision = DecisionRecord {
        number: state.counters.decision,
        at: now,
        policy: site.policy_version.clone(),
        plan: site.plan_version.clone(),
        before,
        after: regions(state),
        deadline_ms: state.power.deadline_ms,
        measured_kw: seen.power.kw,
        quality: seen.power.quality,
        is_clock_doubtful: is_clock_doubtful(site, observation),
        is_journal_lost: observation.journal_trouble.is_some(),
        reason: line,
        mining_kw: rounded(seen.mining_kw),
        hashrate_ths: rounded(hashrate_ths(site, state)),
        machines: MachineCounts::new(&state.machines),
        fans_on: state.fans.sound_on(),
        fans_wanted: state.fans.wanted,
        inputs: inputs_used(state, &seen, now),
        commands: commands.iter().map(|command| command.id).collect(),
        ended: std::mem::take(&mut output.ended),
        failed_commands: output.failed_commands,
        alarms: u32::try_from(loud.count()).unwrap_or(u32::MAX),
        prepared,
        simulated: Vec::new(),
        refused: std::mem::take(&mut output.refused),
        caps,
        verdict,
    };
    state.counters.decision += 1;
    state.stepped = Some(now);
    (commands, notices, decision)
}
/// A chance from 0 to 1, from the state's seed.
fn chance(state: &mut State) -> f64 {
    let mut random = Random(state.seed);
    let chance = random.share();
    state.seed = random.0;
    chance
}
