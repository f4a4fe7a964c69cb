//! What detectors make of signals: delays, recall, precision, false alarms.

use headframe_pipelines::anomaly::{AnomalyConfig, Finding, Mode, Sample, SignalState, Transition};
use rand::Rng;

use super::faults::{Affected, Case, first_sample};
use super::signals::{DAY, INTERVAL_S, Noise, START_US, Signal};

/// Samples after a fault in which its end may still be noticed.
const AFTER: i64 = DAY / 4;

/// What was seen of one case.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub trials: usize,
    /// Trials in which an anomaly opened while it lasted.
    pub found: usize,
    /// Anomalies that opened while it lasted.
    pub opened: usize,
    /// Anomalies that opened in the clean day before it or after it.
    pub false_alarms: usize,
    /// Minutes until the first opened.
    pub delays: Vec<f64>,
    /// What named it first, by trial.
    pub detectors: Vec<&'static str>,
}

impl Outcome {
    pub fn delay(&self, hundredths: usize) -> Option<f64> {
        let mut sorted = self.delays.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get(last * hundredths / 100).copied()
    }
}

fn sample(signal: &Signal, number: i64, noise: f64) -> Sample {
    let time = START_US + number * INTERVAL_S * 1_000_000;
    Sample {
        event_time: time,
        ingest_time: time + 1_500_000,
        value: Some(signal.clean(number, 0) + signal.spread * noise),
        mode: Mode::Running,
        rated: signal.rated,
    }
}

/// One run of a case: its first sample, and what was found at which sample.
fn run(case: &Case, seed: u64) -> (i64, Vec<(i64, Finding)>) {
    let (signal, thresholds) = (case.signal, AnomalyConfig::default());
    let mut noise = Noise::new(signal.phi, seed);
    let begin = first_sample(case, noise.random().random_range(0..i64::from(u16::MAX)));
    let end = begin + case.hours * 3_600 / INTERVAL_S;
    let (mut state, mut findings, mut before) = (SignalState::default(), Vec::new(), 0.0);
    for number in 0..end + AFTER {
        let drawn = noise.next();
        let mut now = sample(&signal, number, drawn);
        let clock = now.ingest_time;
        let mut comes = true;
        if (begin..end).contains(&number) {
            let mut affected = Affected {
                sample: &mut now,
                number,
                minutes: ((number - begin) * INTERVAL_S) as f64 / 60.0,
                before,
                noise: drawn,
                comes: true,
                signal: &signal,
            };
            (case.apply)(&mut affected);
            comes = affected.comes;
        } else {
            before = now.value.unwrap_or_default();
        }
        let mut found = Vec::new();
        if comes {
            found = state.observe(&now, &thresholds, signal.bounds()).findings;
        }
        found.extend(state.tick(clock, &thresholds));
        findings.extend(found.into_iter().map(|finding| (number, finding)));
    }
    (begin, findings)
}

/// Many runs of a case.
pub fn measure(case: &Case, trials: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for trial in 0..trials {
        let seed = seed_of(case.name).wrapping_add(trial);
        let (begin, findings) = run(case, seed);
        let end = begin + case.hours * 3_600 / INTERVAL_S;
        // The end of a fault may be abnormal for a moment, too.
        let during = begin..end + 2;
        // What was learnt before a season was known is not counted.
        let counted = (begin - DAY).max(2 * DAY)..;
        let opened: Vec<&(i64, Finding)> = findings
            .iter()
            .filter(|(_, finding)| finding.transition == Transition::Opened)
            .collect();
        let inside: Vec<_> = opened
            .iter()
            .filter(|(number, _)| during.contains(number) && case.is_fault)
            .collect();
        outcome.trials += 1;
        outcome.opened += inside.len();
        let outside = opened.len() - inside.len();
        let early = opened
            .iter()
            .filter(|(number, _)| !during.contains(number) && !counted.contains(number));
        outcome.false_alarms += outside - early.count();
        if let Some((number, finding)) = inside.first() {
            outcome.found += 1;
            outcome
                .delays
                .push(((number - begin + 1) * INTERVAL_S) as f64 / 60.0);
            outcome.detectors.push(finding.detector);
        }
    }
    outcome
}

/// Another one for each signal, so that no two share their noise.
fn seed_of(name: &str) -> u64 {
    let letters = name.bytes().map(u64::from);
    letters.fold(7, |seed, letter| seed.wrapping_mul(1_000_003) ^ letter)
}

/// False alarms of a clean signal in 30 days, from so many runs of 30 days after three weeks.
pub fn false_alarms(signal: &Signal, runs: u64) -> (f64, Vec<&'static str>) {
    let thresholds = AnomalyConfig::default();
    let mut by_detector = Vec::new();
    let learn = match signal.shape {
        super::signals::Shape::Flat => 2 * DAY,
        _ => 21 * DAY,
    };
    for run in 0..runs {
        let mut noise = Noise::new(signal.phi, seed_of(signal.name).wrapping_add(run));
        let mut state = SignalState::default();
        for number in 0..learn + 30 * DAY {
            let now = sample(signal, number, noise.next());
            let found = state.observe(&now, &thresholds, signal.bounds()).findings;
            let opened = found
                .iter()
                .filter(|finding| finding.transition == Transition::Opened && number >= learn);
            by_detector.extend(opened.map(|finding| finding.detector));
        }
    }
    (by_detector.len() as f64 / runs as f64, by_detector)
}
