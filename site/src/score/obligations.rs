//! The obligations of a site in its decisions, each with what came of it.
//!
//! An obligation begins when a cap binds, and when the cap that decides becomes another one: of
//! another source, of another event of the same source, or clearly tighter or looser than before.
//! So two events that follow each other without a pause are scored apart, each by its own target.

use super::{Event, ScoreCard, score};
use crate::control::arbiter::{Cap, OVERRIDE};
use crate::control::decision::DecisionRecord;
use crate::control::observation::MeterReading;
use crate::control::power::PowerRegion;
use crate::control::site_plan::SitePlan;
use crate::moment::Moment;

/// An obligation is scored until so long after its release, or until the next begins.
const RESTORE_LIMIT_MS: u64 = 3_600_000;
/// Another cap that decides for less than this is no obligation of its own, and a signal that
/// changed longer ago than this is not what began one.
const SHORT_MS: u64 = 60_000;
/// A target that moved by this share of the design power is another target.
const MOVED_SHARE: f64 = 0.02;

/// An obligation, and what came of it.
#[derive(Debug, Clone)]
pub struct Obligation<'a> {
    /// The decision that began it.
    pub begun: &'a DecisionRecord,
    /// What was asked.
    pub event: Event,
    /// What came of it.
    pub card: ScoreCard,
}

/// Whether the site draws less because it must.
pub fn is_bound(decision: &DecisionRecord) -> bool {
    matches!(
        decision.after.power,
        PowerRegion::Curtailing | PowerRegion::Curtailed
    )
}

/// Whether an obligation that began goes on: the site draws less because it must, or starts
/// machines up to what a signal or a person still asks for.
pub fn goes_on(decision: &DecisionRecord) -> bool {
    let starts = matches!(
        decision.after.power,
        PowerRegion::HoldOff | PowerRegion::Restoring
    );
    let asks = |cap: &Cap| cap.asked_at.is_some() || cap.level == OVERRIDE;
    is_bound(decision) || starts && winner(decision).is_some_and(asks)
}

/// Whether the target of a decision is that of the obligation that another one began.
pub fn is_same_obligation(
    begun: &DecisionRecord,
    decision: &DecisionRecord,
    design_kw: f64,
) -> bool {
    let asker = |one: &DecisionRecord| {
        let cap = one.verdict.cap(&one.caps)?;
        Some((cap.source.clone(), cap.event.clone()))
    };
    let moved_kw = (begun.verdict.target_kw - decision.verdict.target_kw).abs();
    asker(begun) == asker(decision) && moved_kw <= MOVED_SHARE * design_kw
}

/// Finds the obligations in decisions, the oldest first, and scores each.
pub fn obligations<'a>(
    decisions: &'a [DecisionRecord],
    meter: &[MeterReading],
    plan: &SitePlan,
) -> Vec<Obligation<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    let next_bound = |from: usize| {
        let rest = decisions[from..].iter();
        rest.clone().position(is_bound).map(|step| from + step)
    };
    while let Some(begun) = next_bound(at) {
        let length = decisions[begun..].iter().position(|one| !goes_on(one));
        let ended = length.map_or(decisions.len(), |length| begun + length);
        let next = next_bound(ended);
        let segment = Segment {
            decisions,
            baseline_kw: decisions[at..begun]
                .last()
                .unwrap_or(&decisions[begun])
                .measured_kw,
            begun,
            ended,
            next,
        };
        segment.score(meter, plan, &mut found);
        at = ended;
    }
    found
}

/// Decisions in which the site was bound without a pause.
struct Segment<'a> {
    decisions: &'a [DecisionRecord],
    baseline_kw: f64,
    begun: usize,
    ended: usize,
    /// Where the site is bound again.
    next: Option<usize>,
}

impl<'a> Segment<'a> {
    fn score(&self, meter: &[MeterReading], plan: &SitePlan, found: &mut Vec<Obligation<'a>>) {
        let bound = &self.decisions[self.begun..self.ended];
        // A release is seen when the cap is gone; the region waits until it is stable.
        let is_capped = |one: &DecisionRecord| one.verdict.is_capped(&one.caps);
        let capped = bound.iter().rposition(is_capped).map_or(0, |last| last + 1);
        let starts = obligation_starts(&bound[..capped], plan.design_kw);
        let times: Vec<Moment> = starts
            .iter()
            .map(|start| asked_at(&bound[*start], *start == 0))
            .collect();
        for (place, start) in starts.iter().enumerate() {
            let (begun, asked_at) = (&bound[*start], times[place]);
            // Between two obligations nobody may have asked for a while.
            if *start > 0 && !is_capped(begun) {
                continue;
            }
            let follower = times.get(place + 1).copied();
            let released = self.decisions.get(self.begun + capped);
            let released_at = follower.unwrap_or(released.map_or(begun.at, |one| one.at));
            let deadline_ms = winner(begun).and_then(|cap| cap.deadline_ms);
            let allowed_ms = deadline_ms.map_or(0, |at| at.saturating_sub(asked_at.elapsed_ms));
            let event = Event {
                asked_at,
                deadline: asked_at.plus_ms(allowed_ms),
                released_at,
                target_kw: begun.verdict.target_kw,
                baseline_kw: self.baseline_kw,
            };
            let last = match starts.get(place + 1) {
                Some(next) => self.begun + next,
                None => self.next.unwrap_or(self.decisions.len()),
            };
            let limit = released_at.plus_ms(RESTORE_LIMIT_MS);
            let next_at = self.decisions.get(last).map_or(limit, |one| one.at);
            let until = follower.unwrap_or(limit.min(next_at));
            let own: Vec<MeterReading> = super::within(meter, asked_at, until);
            let card = score(
                &event,
                &self.decisions[self.begun + start..last],
                &own,
                plan,
            );
            found.push(Obligation { begun, event, card });
        }
    }
}

fn winner(decision: &DecisionRecord) -> Option<&Cap> {
    decision.verdict.cap(&decision.caps)
}

/// When what a decision obeys was asked for. What followed another obligation counts from when it
/// decided, unless it was asked for just before.
fn asked_at(begun: &DecisionRecord, is_first: bool) -> Moment {
    let requested_at = winner(begun).and_then(|cap| cap.asked_at);
    let is_its = |at: &Moment| *at < begun.at && (is_first || begun.at.ms_since(*at) <= SHORT_MS);
    requested_at.filter(is_its).unwrap_or(begun.at)
}

/// Where obligations begin among decisions that are bound by a cap.
fn obligation_starts(bound: &[DecisionRecord], design_kw: f64) -> Vec<usize> {
    let mut starts = vec![0];
    let mut changed: Option<usize> = None;
    for (at, decision) in bound.iter().enumerate().skip(1) {
        let current = starts.last().copied().unwrap_or_default();
        if is_same_obligation(&bound[current], decision, design_kw) {
            changed = None;
            continue;
        }
        // It counts from when it began to decide, once it has stood.
        let since = *changed.get_or_insert(at);
        if !is_same_obligation(&bound[since], decision, design_kw) {
            changed = Some(at);
        } else if decision.at.ms_since(bound[since].at) >= SHORT_MS {
            starts.push(since);
            changed = None;
        }
    }
    starts
}
