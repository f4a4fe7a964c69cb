//! Series of values: what is found in them, in which portions they come.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;

fn condition(for_minutes: i64) -> Condition {
    Condition {
        comparison: Comparison::AtLeast,
        threshold: 80.0,
        hysteresis: 2.0,
        for_us: for_minutes * MINUTE,
        missing_after_us: Some(10 * MINUTE),
    }
}

fn sample(minute: i64, value: impl Into<Option<f64>>) -> Sample {
    Sample {
        at_us: minute * MINUTE,
        value: value.into(),
        window_us: None,
        seq: minute,
        is_exempt: false,
    }
}

fn found(condition: &Condition, samples: &[Sample]) -> Vec<(FindingKind, i64)> {
    let mut state = Evaluation::default();
    let samples = samples.iter();
    let all = samples.flat_map(|sample| state.take(condition, *sample));
    all.map(|finding| (finding.kind, finding.at_us / MINUTE))
        .collect()
}

#[test]
fn it_begins_at_the_limit_lasts_its_time_and_ends_two_points_below() {
    use FindingKind::{Began, Continued, Ended, Held};
    let samples = [
        sample(1, 79.999),
        sample(2, 80.0),
        sample(7, 78.1),
        sample(12, 90.0),
        sample(13, 78.001),
        sample(14, 78.0),
        sample(15, 79.9),
    ];
    let expected = [(Began, 2), (Held, 12), (Continued, 13), (Ended, 14)];
    assert_eq!(found(&condition(10), &samples), expected);
    let at_once = [
        (Held, 2),
        (Continued, 7),
        (Continued, 12),
        (Continued, 13),
        (Ended, 14),
    ];
    assert_eq!(found(&condition(0), &samples), at_once);
    let mut above = condition(0);
    (above.comparison, above.hysteresis) = (Comparison::Above, 0.0);
    assert_eq!(
        found(&above, &[sample(1, 80.0), sample(2, 80.1), sample(3, 80.0)]),
        [(Held, 2), (Ended, 3)]
    );
    let mut below = condition(0);
    below.comparison = Comparison::Below;
    assert_eq!(
        found(&below, &[sample(1, 80.0), sample(2, 79.0), sample(3, 82.0)]),
        [(Held, 2), (Ended, 3)]
    );
}

#[test]
fn missing_data_end_nothing_and_do_not_count_for_the_time_that_a_rule_waits() {
    use FindingKind::{Began, Continued, Ended, Held, Missing, Returned};
    let samples = [
        sample(0, 90.0),
        sample(5, 90.0),
        sample(6, None),
        sample(30, 90.0),
        sample(35, 90.0),
        sample(60, 10.0),
    ];
    let expected = [
        (Began, 0),
        (Missing, 15),
        (Returned, 30),
        (Held, 35),
        (Missing, 45),
        (Ended, 60),
    ];
    assert_eq!(found(&condition(10), &samples), expected);
    assert_eq!(
        found(&condition(0), &samples[..4]),
        [(Held, 0), (Continued, 5), (Missing, 15), (Returned, 30)]
    );
    // What was never heard of is not missing.
    assert_eq!(Evaluation::default().tick(&condition(0), i64::MAX / 2), []);
}

#[test]
fn a_window_ends_what_began_in_it_and_hours_exempt() {
    use FindingKind::{Ended, Held};
    let of = |minute, window: i64, value: f64| Sample {
        window_us: Some(window),
        ..sample(minute, value)
    };
    let samples = [of(1, 0, 90.0), of(2, 100, 95.0), of(3, 100, 1.0)];
    assert_eq!(
        found(&condition(0), &samples),
        [(Held, 1), (Ended, 2), (Held, 2), (Ended, 3)]
    );
    let exempt = Sample {
        is_exempt: true,
        ..sample(2, 99.0)
    };
    assert_eq!(
        found(&condition(0), &[sample(1, 99.0), exempt]),
        [(Held, 1), (Ended, 2)]
    );
}

#[test]
fn a_value_that_holds_counts_on_without_another() {
    let mut condition = condition(10);
    condition.missing_after_us = None;
    let mut state = Evaluation::default();
    assert_eq!(state.take(&condition, sample(1, 90.0)).len(), 1);
    assert_eq!(state.tick(&condition, 11 * MINUTE - 1), []);
    let held = state.tick(&condition, 500 * MINUTE);
    assert_eq!(
        (held[0].kind, held[0].at_us),
        (FindingKind::Held, 11 * MINUTE)
    );
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (
        1..20_i64,
        proptest::option::weighted(0.9, 60.0..100.0_f64),
        0..9_u8,
    );
    proptest::collection::vec(one, 1..60).prop_map(|steps| {
        let mut minute = 0;
        let mut samples = Vec::new();
        for (passed, value, exempt) in steps {
            minute += passed;
            samples.push(Sample {
                window_us: Some(minute / 200),
                is_exempt: exempt == 0,
                ..sample(minute, value)
            });
        }
        samples
    })
}

proptest! {
    #[test]
    fn looks_at_the_clock_between_samples_change_nothing(
        samples in samples(), for_minutes in 0..30_i64, holds in any::<bool>(),
        looks in proptest::collection::vec(0..1_000_i64, 0..40),
    ) {
        let mut condition = condition(for_minutes);
        if holds {
            condition.missing_after_us = None;
        }
        let mut plain = Evaluation::default();
        let alone: Vec<Finding> =
            samples.iter().flat_map(|one| plain.take(&condition, *one)).collect();
        let mut looks = looks;
        looks.sort_unstable();
        let (mut state, mut found) = (Evaluation::default(), Vec::new());
        for one in &samples {
            for look in looks.iter().map(|minute| minute * MINUTE) {
                if look <= one.at_us {
                    found.extend(state.tick(&condition, look));
                }
            }
            found.extend(state.take(&condition, *one));
            // The same sample again is no other sample.
            prop_assert_eq!(state.take(&condition, *one), vec![]);
        }
        prop_assert_eq!(found, alone);
        prop_assert_eq!(state, plain);
    }

    #[test]
    fn beginnings_and_ends_take_turns(samples in samples(), for_minutes in 0..30_i64) {
        let condition = condition(for_minutes);
        let mut state = Evaluation::default();
        let mut open: Option<Episode> = None;
        for one in &samples {
            for finding in state.take(&condition, *one) {
                match finding.kind {
                    FindingKind::Began => prop_assert!(open.replace(finding.episode).is_none()),
                    FindingKind::Held if open.is_none() => open = Some(finding.episode),
                    FindingKind::Ended => {
                        let begun = open.take().map(|episode| episode.since_us);
                        prop_assert_eq!(begun, Some(finding.episode.since_us));
                    }
                    _ => prop_assert!(open.is_some()),
                }
            }
            prop_assert_eq!(state.holds(), open.is_some());
        }
    }
}
