//! What another policy would have done: recorded signals and orders, replayed on a virtual site.
//!
//! Recorded readings of machines cannot be replayed under other decisions, so the plant stands for
//! them. The recorded weather may stand for the plant's.

use serde::{Deserialize, Serialize};

use crate::control::observation::{MeterReading, Observation};
use crate::control::policy::{BadValue, Policy};
use crate::control::{DecisionRecord, Site, SitePlan, State, advance};
use crate::moment::Moment;
use crate::plant::{Plant, PlantConfig};
use crate::score::{Event, ScoreCard, obligations};

/// The poll of the replay.
const POLL_MS: u64 = 5_000;

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
    let found = obligations(decisions, meter, plan).into_iter();
    found.map(|one| (one.event, one.card)).collect()
}
