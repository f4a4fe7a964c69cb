//! What another policy would have done: recorded signals and orders, replayed on a virtual site.
//!
//! Recorded readings of machines cannot be replayed under other decisions, so the plant stands for
//! them. The recorded weather may stand for the plant's.

use serde::{Deserialize, Serialize};

use crate::control::observation::{MeterReading, Observation};
use crate::control::policy::{BadValue, Policy};
use crate::control::power::PowerRegion;
use crate::control::{DecisionRecord, Site, SitePlan, State, advance};
use crate::moment::Moment;
use crate::plant::{Plant, PlantConfig};
use crate::score::{Event, ScoreCard, score};

/// The poll of the replay.
const POLL_MS: u64 = 5_000;
/// An event is scored until so long after its release, or until everything runs again.
const RESTORE_LIMIT_MS: u64 = 3_600_000;

/// One recorded step: what came from outside of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// When.
    pub at: Moment,
    /// Signals and orders; everything else is ignored.
    pub observation: Observation,
}

/// What a policy made of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The policy's version.
    pub policy: String,
    /// Each event.
    pub events: Vec<(Event, ScoreCard)>,
    /// Energy that was drawn.
    pub energy_kwh: f64,
    /// Work that was done.
    pub work_ths_h: f64,
    /// Commands that were given out.
    pub commands: usize,
}

/// Two policies on the same recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first.
    pub before: Outcome,
    /// The second.
    pub after: Outcome,
}

/// Replays a recording under two policies, on the same virtual site.
///
/// # Errors
///
/// What is wrong with a policy.
pub fn compare(
    before: Policy,
    after: Policy,
    config: &PlantConfig,
    recording: &[Recorded],
) -> Result<Comparison, Vec<BadValue>> {
    Ok(Comparison {
        before: replay(before, config, recording)?,
        after: replay(after, config, recording)?,
    })
}

/// Replays a recording under a policy, on a virtual site.
///
/// # Errors
///
/// What is wrong with the policy.
pub fn replay(
    policy: Policy,
    config: &PlantConfig,
    recording: &[Recorded],
) -> Result<Outcome, Vec<BadValue>> {
    let start = recording.first().map_or(
        Moment {
            elapsed_ms: 0,
            utc_us: 0,
        },
        |one| one.at,
    );
    let mut plant = Plant::running(config.clone(), start);
    let site = Site::new(policy, plant.plan.clone())?;
    let mut state = State::new(&site, config.seed, start);
    let end_ms = recording.last().map_or(0, |one| one.at.elapsed_ms);
    let (mut decisions, mut meter) = (Vec::new(), Vec::new());
    let (mut work_ths_h, mut commands, mut next) = (0.0, 0, 0);
    let mut now = start;
    while now.elapsed_ms < end_ms.saturating_add(POLL_MS) {
        now = now.plus_ms(POLL_MS);
        plant.advance(now);
        let mut observation = plant.observe();
        while let Some(one) = recording.get(next).filter(|one| one.at <= now) {
            observation
                .signals
                .extend(one.observation.signals.iter().cloned());
            observation
                .orders
                .extend(one.observation.orders.iter().cloned());
            next += 1;
        }
        meter.extend(observation.site_meter);
        let (sent, _, decision) = advance(&site, &mut state, &observation, now);
        plant.apply(&sent);
        commands += sent.len();
        work_ths_h += plant.hashrate_ths() * POLL_MS as f64 / 3_600_000.0;
        decisions.push(decision);
    }
    let hours = POLL_MS as f64 / 3_600_000.0;
    Ok(Outcome {
        policy: site.policy_version.clone(),
        events: events(&decisions, &meter, &site.plan),
        energy_kwh: meter.iter().map(|one| one.kw * hours).sum(),
        work_ths_h,
        commands,
    })
}

/// Finds the events in decisions, and scores each.
pub fn events(
    decisions: &[DecisionRecord],
    meter: &[MeterReading],
    plan: &SitePlan,
) -> Vec<(Event, ScoreCard)> {
    let is_bound = |one: &DecisionRecord| {
        matches!(
            one.after.power,
            PowerRegion::Curtailing | PowerRegion::Curtailed
        )
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begun) = decisions[at..]
        .iter()
        .position(is_bound)
        .map(|step| at + step)
    {
        let length = decisions[begun..].iter().position(|one| !is_bound(one));
        let ended = length.map_or(decisions.len(), |length| begun + length);
        let bound = &decisions[begun..ended];
        // A release is seen when the cap is gone; the region waits until it is stable.
        let is_capped = |one: &&DecisionRecord| one.verdict.is_capped(&one.caps);
        let capped = bound.iter().take_while(is_capped).count();
        let released_at = decisions
            .get(begun + capped)
            .map_or(bound[0].at, |one| one.at);
        let asked_at = bound[0].at;
        let until = released_at.plus_ms(RESTORE_LIMIT_MS);
        let before = &decisions[at..begun];
        let baseline_kw = before.last().unwrap_or(&bound[0]).measured_kw;
        let deadline_ms = bound[0].deadline_ms.unwrap_or(asked_at.elapsed_ms);
        let event = Event {
            asked_at,
            deadline: asked_at.plus_ms(deadline_ms.saturating_sub(asked_at.elapsed_ms)),
            released_at,
            target_kw: bound[0].verdict.target_kw,
            baseline_kw,
        };
        let next = decisions[ended..]
            .iter()
            .position(is_bound)
            .map(|step| ended + step);
        let last = next.unwrap_or(decisions.len());
        let until = decisions.get(last).map_or(until, |one| until.min(one.at));
        let own: Vec<MeterReading> = meter
            .iter()
            .filter(|one| one.at >= asked_at && one.at < until)
            .copied()
            .collect();
        let card = score(&event, &decisions[begun..last], &own, plan);
        found.push((event, card));
        at = ended;
    }
    found
}
