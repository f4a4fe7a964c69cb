//! Curtailments that follow each other without a pause are scored apart, each by its own target
//! and its own deadline.

use headframe_site::control::DecisionRecord;
use headframe_site::control::power::PowerRegion;
use headframe_site::episode::{Episodes, ScoredEvent};
use headframe_site::request::{Level, Request};
use headframe_site::what_if::events;

use crate::run::{Run, small, small_policy};

/// What was seen of a run.
struct Seen {
    run: Run,
    decisions: Vec<DecisionRecord>,
    meter: Vec<headframe_site::control::observation::MeterReading>,
    episodes: Episodes,
    scored: Vec<ScoredEvent>,
}

impl Seen {
    fn steady() -> Self {
        let mut policy = small_policy();
        let rule = policy.signals.sources.get_mut("utility").unwrap();
        (rule.period_s, rule.curtail_within_s) = (5, 600);
        Self {
            run: Run::steady(small(), policy),
            decisions: Vec::new(),
            meter: Vec::new(),
            episodes: Episodes::default(),
            scored: Vec::new(),
        }
    }

    /// The utility asks for so many kilowatts in an event, for so long.
    fn ask(&mut self, event: &str, cap_kw: Option<f64>, seconds: u64) {
        self.run.request = Request {
            cap_kw,
            event: cap_kw.map(|_| event.to_owned()),
            ..Request::of_level(cap_kw.map_or(Level::Normal, |_| Level::Curtail))
        };
        self.seconds(seconds);
    }

    fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds / 5 {
            let mut seen = None;
            let decision = self
                .run
                .tick_with(|observation| seen = Some(observation.clone()));
            let seen = seen.unwrap();
            self.meter.extend(seen.site_meter);
            let ended = self.episodes.follow(&self.run.site, &seen, &decision);
            self.scored.extend(ended);
            self.decisions.push(decision);
        }
    }

    /// Until the site runs again, and the scores.
    fn finish(mut self) -> Vec<ScoredEvent> {
        self.ask("", None, 3_600);
        assert_eq!(self.run.region(), PowerRegion::Running);
        let found = events(&self.decisions, &self.meter, &self.run.site.plan);
        let of_steps: Vec<_> = self.scored.iter().map(|one| one.event).collect();
        // Scored as they happen and from the decisions alone they are the same ones.
        let of_decisions: Vec<_> = found.iter().map(|(event, _)| *event).collect();
        assert_eq!(of_steps, of_decisions);
        for (one, (_, card)) in self.scored.iter().zip(&found) {
            // Of steps that change nothing one a minute is kept.
            let near = (one.card.lost_ths_h - card.lost_ths_h).abs();
            assert!(near <= 0.05 * card.lost_ths_h, "{one:?} {card:?}");
            // After the end of the last one the meter is no longer followed.
            let (mut kept, mut all) = (one.card.clone(), card.clone());
            (kept.lost_ths_h, all.lost_ths_h) = (0.0, 0.0);
            (kept.rebound_peak_pct, all.rebound_peak_pct) = (0.0, 0.0);
            assert_eq!(kept, all);
        }
        for one in &self.scored {
            let begun = self.decisions.iter();
            let begun = begun.filter(|decision| decision.number == one.decision);
            assert_eq!(begun.count(), 1, "{one:?}");
        }
        self.scored
    }
}

fn targets(scored: &[ScoredEvent]) -> Vec<f64> {
    scored.iter().map(|one| one.event.target_kw).collect()
}

#[test]
fn two_events_without_a_pause_have_a_score_each() {
    let mut seen = Seen::steady();
    seen.ask("first", Some(30.0), 1_200);
    let second = seen.run.now;
    seen.ask("second", Some(15.0), 1_200);
    let scored = seen.finish();
    assert_eq!(targets(&scored), [30.0, 15.0]);
    let [one, two] = scored.as_slice() else {
        panic!("{scored:?}");
    };
    for scored in &scored {
        let event = scored.event;
        assert_eq!(
            event.deadline.ms_since(event.asked_at),
            600_000,
            "{event:?}"
        );
        assert_eq!(scored.card.performance_factor, Some(1.0), "{scored:?}");
        assert_eq!(scored.card.compliance_pct, Some(100.0), "{scored:?}");
        assert!(event.baseline_kw > 40.0, "{event:?}");
    }
    // The second begins when it is asked for, and ends the first.
    assert_eq!(one.event.released_at, two.event.asked_at);
    assert!(two.event.asked_at.ms_since(second) <= 10_000, "{two:?}");
    assert!(two.card.detect_s < Some(30.0), "{two:?}");
    assert_eq!(
        (one.card.restore_t95_s, one.card.rebound_peak_pct),
        (None, 0.0)
    );
    assert!(two.card.restore_t95_s.is_some(), "{two:?}");
}

#[test]
fn a_target_that_is_loosened_is_scored_apart_and_one_that_hardly_moves_is_not() {
    let mut seen = Seen::steady();
    seen.ask("one", Some(15.0), 1_200);
    seen.ask("one", Some(30.0), 1_200);
    assert_eq!(targets(&seen.finish()), [15.0, 30.0]);

    let mut seen = Seen::steady();
    for step in 0..20 {
        seen.ask("one", Some(15.0 + 0.02 * f64::from(step)), 60);
    }
    assert_eq!(targets(&seen.finish()), [15.0]);
}

#[test]
fn another_asker_for_a_moment_begins_nothing() {
    let mut seen = Seen::steady();
    seen.ask("one", Some(20.0), 900);
    seen.ask("other", Some(15.0), 40);
    seen.ask("one", Some(20.0), 900);
    let scored = seen.finish();
    assert_eq!(targets(&scored), [20.0], "{scored:?}");
}
