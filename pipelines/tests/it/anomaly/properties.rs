//! What holds for any samples: the state carried between batches is enough, and it stays small.

use headframe_pipelines::anomaly::{
    self, AnomalyConfig, Bounds, Finding, Mode, Reason, Sample, SignalState, Transition,
};
use headframe_schemas::stream::anomalies;
use proptest::prelude::*;

/// Samples with jumps, repetitions, gaps, old ones, wrong clocks and changes of the mode.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0..1_000_u32, -60_i64..600, 0..40_u8, -2.0..2.0_f64);
    proptest::collection::vec(one, 200..600).prop_map(|steps| {
        let (mut time, mut level, mut last) = (1_772_409_600_000_000_i64, 100.0, 100.0);
        let mut mode = Mode::Running;
        let mut samples = Vec::new();
        for (chance, gap_s, kind, noise) in steps {
            match chance {
                0..8 => level *= 1.5,
                8..16 => level = 100.0,
                16..24 => mode = Mode::Curtailed,
                24..40 => mode = Mode::Running,
                _ => {}
            }
            let mut event_time = time;
            match kind {
                0 => event_time -= gap_s * 30_000_000,
                1 => event_time += 3_600_000_000,
                2 => time += 7_200_000_000,
                _ => {}
            }
            let value = match kind {
                3..6 => last,
                6 => -1e9,
                _ => level + noise,
            };
            last = value;
            samples.push(Sample {
                event_time,
                ingest_time: time + 1_000_000,
                value: (kind != 7).then_some(value),
                mode,
                rated: (kind > 20).then_some(100.0),
            });
            time += 120_000_000 + gap_s.max(0) * 10_000;
        }
        samples
    })
}

const BOUNDS: Bounds = Bounds {
    least: -1e6,
    most: 1e6,
};

fn observe(state: &mut SignalState, sample: &Sample) -> Vec<Finding> {
    let thresholds = AnomalyConfig {
        spike_sigma: 5.0,
        settle_s: 600,
        accept_after_s: 14_400,
        ..AnomalyConfig::default()
    };
    let mut findings = Vec::from_iter(state.tick(sample.ingest_time, &thresholds));
    findings.extend(state.observe(sample, &thresholds, BOUNDS).findings);
    findings
}

proptest! {
    #[test]
    fn any_cut_of_the_samples_leads_to_the_same_findings(
        samples in samples(),
        cuts in proptest::collection::vec(1..80_usize, 1..40),
    ) {
        let mut whole = SignalState::default();
        let expected: Vec<Finding> =
            samples.iter().flat_map(|one| observe(&mut whole, one)).collect();
        let (mut state, mut found, mut rest) = (SignalState::default(), Vec::new(), &samples[..]);
        for cut in cuts.iter().cycle() {
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            found.extend(batch.iter().flat_map(|one| observe(&mut state, one)));
            // What a process that ends stores, and the next one reads.
            let stored = serde_json::to_vec(&state).unwrap();
            state = serde_json::from_slice(&stored).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(state, whole);
    }

    #[test]
    fn each_anomaly_begins_once_and_ends_at_most_once(samples in samples()) {
        let mut state = SignalState::default();
        let mut open: Vec<(&'static str, i64)> = Vec::new();
        for finding in samples.iter().flat_map(|one| observe(&mut state, one)) {
            let identity = (finding.detector, finding.since);
            match finding.transition {
                Transition::Opened => {
                    prop_assert!(open.iter().all(|(detector, _)| *detector != finding.detector));
                    prop_assert!(finding.since <= finding.time);
                    prop_assert!(finding.score >= 1.0);
                    open.push(identity);
                }
                Transition::Closed => {
                    let place = open.iter().position(|one| *one == identity);
                    prop_assert!(place.is_some(), "{:?} ends without a beginning", identity);
                    open.remove(place.unwrap());
                    prop_assert!(finding.reason.is_some());
                }
            }
        }
        let mut left: Vec<(&str, i64)> = state.open().collect();
        left.sort_unstable();
        open.sort_unstable();
        prop_assert_eq!(left, open);
    }
}

#[test]
fn a_chip_that_warmed_up_and_keeps_its_degrees_is_not_frozen_and_a_sensor_that_freezes_later_is() {
    let mut state = SignalState::default();
    let mut observe_degrees = |minute: i64, degrees: i64| {
        let time = 1_772_362_800_000_000 + minute * 60_000_000;
        let sample = Sample {
            event_time: time,
            ingest_time: time,
            value: Some(degrees as f64),
            mode: Mode::Running,
            rated: None,
        };
        let findings = observe(&mut state, &sample);
        findings.iter().any(|finding| finding.detector == "stuck")
    };
    // Every minute another degree, then 65 for two hours, then a degree more or less now and then.
    let degrees = |minute: i64| match minute {
        0..40 => 25 + minute,
        40..160 => 65,
        _ => 65 + minute / 7 % 2,
    };
    let wrong = (0..3_000).find(|minute| observe_degrees(*minute, degrees(*minute)));
    assert_eq!(wrong, None);
    let found = (3_000..5_000).find(|minute| observe_degrees(*minute, 66));
    assert!(
        found.is_some_and(|minute| minute < 3_000 + 4 * 120 + 60),
        "{found:?}"
    );
}

#[test]
fn the_state_of_a_signal_stays_small() {
    let mut state = SignalState::default();
    let mut largest = 0;
    for number in 0..40_000_i64 {
        let time = 1_772_409_600_000_000 + number * 120_000_000;
        let sample = Sample {
            event_time: time,
            ingest_time: time,
            value: Some(1e6 + (number * 7_919 % 1_013) as f64),
            mode: if number % 900 < 60 {
                Mode::Curtailed
            } else {
                Mode::Unknown
            },
            rated: None,
        };
        observe(&mut state, &sample);
        if number % 5_000 == 0 {
            largest = largest.max(serde_json::to_vec(&state).unwrap().len());
        }
    }
    assert!(largest < 16_384, "{largest} bytes");
}

#[test]
fn every_detector_is_named_and_says_what_it_does() {
    let mut names = std::collections::BTreeSet::new();
    for detector in anomaly::ALL {
        let name = detector.name();
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
        assert!(detector.doc().ends_with('.'), "{name}");
    }
}

#[test]
fn the_words_of_findings_are_those_that_the_stream_takes() {
    assert_eq!(anomaly::names().collect::<Vec<_>>(), anomalies::DETECTORS);
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons, anomalies::REASONS);
    let transitions = [Transition::Opened, Transition::Closed].map(Transition::as_str);
    assert_eq!(transitions, anomalies::TRANSITIONS);
}
