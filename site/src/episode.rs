//! Curtailments as they happen, and their scores when the site runs again: a pure function of the
//! steps.

use serde::{Deserialize, Serialize};

use crate::control::observation::MeterReading;
use crate::control::power::PowerRegion;
use crate::control::{DecisionRecord, Observation, Site};
use crate::score::{Event, ScoreCard, goes_on, is_bound, is_same_obligation, obligations};

/// Samples of the meter that are kept of one curtailment: almost three days at one in 5 seconds.
const MOST_SAMPLES: usize = 50_000;
/// Decisions that are kept of one curtailment.
const MOST_DECISIONS: usize = 5_000;
/// Between two decisions that are kept though they change nothing.
const ROUTINE_MS: u64 = 60_000;
/// A curtailment is scored so long after its release, if the site does not run again before.
const RESTORE_LIMIT_MS: u64 = 3_600_000;

/// The curtailment under way, if any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Episodes {
    /// What was decided last while nothing was curtailed.
    before: Option<Box<DecisionRecord>>,
    open: Option<Box<Episode>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Episode {
    signal: String,
    level: u8,
    decisions: Vec<DecisionRecord>,
    meter: Vec<MeterReading>,
    commands: usize,
    notices: u32,
    is_estimated: bool,
    released_ms: Option<u64>,
}

/// A curtailment that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredEvent {
    /// The decision that began it.
    pub decision: u64,
    /// What asked for it.
    pub signal: String,
    /// Its level at the arbiter, 0 to 6.
    pub level: u8,
    /// What was asked.
    pub event: Event,
    /// What came of it.
    pub card: ScoreCard,
    /// Commands of it.
    pub commands: usize,
    /// Warnings and emergencies of it.
    pub notices: u32,
    /// Whether a part of the power is an estimate.
    pub is_estimated: bool,
}

impl Episodes {
    /// Follows one step: the curtailments that it ended.
    pub fn follow(
        &mut self,
        site: &Site,
        observation: &Observation,
        decision: &DecisionRecord,
    ) -> Vec<ScoredEvent> {
        if self.open.is_none() {
            if !is_bound(decision) {
                self.before = Some(Box::new(decision.clone()));
                return Vec::new();
            }
            self.open = Some(Box::new(Episode::begin(decision, self.before.take())));
        }
        let Some(open) = &mut self.open else {
            return Vec::new();
        };
        open.add(observation, decision, site.plan.design_kw);
        let now_ms = decision.at.elapsed_ms;
        let is_late = open
            .released_ms
            .is_some_and(|released| now_ms >= released + RESTORE_LIMIT_MS);
        let is_over = !goes_on(decision)
            && (is_late
                || matches!(
                    decision.after.power,
                    PowerRegion::Running | PowerRegion::Tripped | PowerRegion::Lockout
                ));
        match is_over {
            true => self.close(site),
            false => Vec::new(),
        }
    }

    fn close(&mut self, site: &Site) -> Vec<ScoredEvent> {
        let Some(open) = self.open.take() else {
            return Vec::new();
        };
        let found = obligations(&open.decisions, &open.meter, &site.plan);
        let scored = found.into_iter().map(|one| {
            // Each may be asked for by another, such as a person first and the utility then.
            let winner = one.begun.verdict.cap(&one.begun.caps);
            let signal = winner.map_or(&open.signal, |cap| &cap.source).clone();
            ScoredEvent {
                decision: one.begun.number,
                signal,
                level: winner.map_or(open.level, |cap| cap.level),
                event: one.event,
                card: one.card,
                commands: open.commands,
                notices: open.notices,
                is_estimated: open.is_estimated,
            }
        });
        scored.collect()
    }
}

impl Episode {
    fn begin(decision: &DecisionRecord, before: Option<Box<DecisionRecord>>) -> Self {
        let winner = decision.verdict.cap(&decision.caps);
        let signal = winner.map(|cap| cap.source.clone()).unwrap_or_default();
        Self {
            level: winner.map_or(7, |cap| cap.level),
            signal,
            decisions: before.into_iter().map(|before| *before).collect(),
            meter: Vec::new(),
            commands: 0,
            notices: 0,
            is_estimated: false,
            released_ms: None,
        }
    }

    fn add(&mut self, observation: &Observation, decision: &DecisionRecord, design_kw: f64) {
        self.commands += decision.commands.len();
        self.notices += decision.alarms;
        self.is_estimated |= decision.quality == crate::control::metering::Quality::Estimated;
        if !decision.verdict.is_capped(&decision.caps) && self.released_ms.is_none() {
            self.released_ms = Some(decision.at.elapsed_ms);
        }
        let now_ms = decision.at.elapsed_ms;
        let last_ms = self.decisions.last().map(|last| last.at.elapsed_ms);
        let is_due = last_ms.is_none_or(|last| now_ms >= last + ROUTINE_MS);
        let is_first = self.decisions.len() <= 1;
        let is_another = self
            .decisions
            .last()
            .is_none_or(|last| !is_same_obligation(last, decision, design_kw));
        let is_kept = is_first || is_another || is_due || !decision.is_routine();
        if is_kept && self.decisions.len() < MOST_DECISIONS {
            self.decisions.push(decision.clone());
        }
        let Some(reading) = observation.site_meter else {
            return;
        };
        let last = self.meter.last().map(|last| last.at.elapsed_ms);
        let is_new = last.is_none_or(|last| reading.at.elapsed_ms > last);
        if is_new && self.meter.len() < MOST_SAMPLES {
            self.meter.push(reading);
        }
    }
}
