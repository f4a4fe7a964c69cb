//! The signals of one source: their states, and the rows that readings lead to. Pure.
//!
//! It is stored as a checkpoint: after which row, with every state, and how far the stream of
//! anomalies was then.

use std::collections::{BTreeMap, VecDeque};

use headframe_schemas::stream::anomalies::Anomaly;
use serde::{Deserialize, Serialize};

use super::source::{Reading, may_be_silent};
use crate::anomaly::{AnomalyConfig, Bounds, Finding, SignalState, Transition, missing::Missing};

/// A signal that was not heard of for so long is forgotten, in microseconds: 30 days.
const FORGET_AFTER_US: i64 = 30 * 86_400_000_000;
/// Signals that were refused are named in the log up to this many.
const NAMED: u64 = 10;

/// Every signal of a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Watched {
    /// The stream.
    source: String,
    /// Every row through this sequence was taken in.
    pub(super) seq: i64,
    /// The newest row was stored then, microseconds since 1970.
    clock: i64,
    /// By site and name.
    signals: BTreeMap<String, BTreeMap<String, SignalState>>,
    count: usize,
    /// Readings of signals for which there was no place.
    refused: u64,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The limits that it was made with.
    pub(super) config: AnomalyConfig,
    /// The rows of `anomalies` through this sequence of its table were written before.
    pub(super) written_through: i64,
    /// The signals.
    pub(super) watched: Watched,
}

impl Watched {
    /// Nothing, after this sequence of a source.
    pub(super) fn new(source: &str, seq: i64) -> Self {
        Self {
            source: source.to_owned(),
            seq,
            ..Self::default()
        }
    }

    /// Takes the next reading in.
    pub(super) fn take(&mut self, reading: &Reading, config: &AnomalyConfig) -> Vec<Anomaly> {
        let mut rows = self.forget(reading.sample.ingest_time, config);
        self.seq = self.seq.max(reading.seq);
        let known = self
            .signals
            .get(&reading.site)
            .is_some_and(|signals| signals.contains_key(&reading.signal));
        if !known {
            if self.count >= config.max_signals {
                self.refuse(reading);
                return rows;
            }
            self.count += 1;
        }
        let signals = self.signals.entry(reading.site.clone()).or_default();
        let state = signals.entry(reading.signal.clone()).or_default();
        let bounds = Bounds::from_quantity(&reading.quantity);
        let found = state.observe(&reading.sample, config, bounds).findings;
        let place = (reading.site.as_str(), reading.signal.as_str());
        rows.extend(
            found
                .iter()
                .map(|finding| self.row(place, finding, reading.seq)),
        );
        rows
    }

    /// Says at a time, microseconds since 1970, what is missing.
    pub(super) fn tick(&mut self, now: i64, config: &AnomalyConfig) -> Vec<Anomaly> {
        let mut found = Vec::new();
        for (site, signals) in &mut self.signals {
            for (signal, state) in signals {
                if may_be_silent(signal) {
                    continue;
                }
                if let Some(finding) = state.tick(now, config) {
                    found.push((site.clone(), signal.clone(), finding));
                }
            }
        }
        let row = |(site, signal, finding): &(String, String, Finding)| {
            self.row((site, signal), finding, self.seq)
        };
        found.iter().map(row).collect()
    }

    /// When the newest row was stored, microseconds since 1970.
    pub(super) fn clock(&self) -> i64 {
        self.clock
    }

    /// Signals that are watched.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Readings of signals for which there was no place.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Makes what is open here equal to what is open by the rows that were written: forgets what no
    /// row has begun, and answers the ends of what is not open any more.
    pub(super) fn reconcile(&mut self, written: &[Anomaly]) -> Vec<Anomaly> {
        let mut ends = Vec::new();
        for begun in written {
            let state = self
                .signals
                .get(&begun.site)
                .and_then(|signals| signals.get(&begun.signal));
            let is_open = state.is_some_and(|state| {
                let mut open = state.open();
                open.any(|(detector, since)| detector == begun.detector && since == begun.since)
            });
            if !is_open {
                ends.push(Anomaly {
                    event_time: self.clock.max(begun.event_time),
                    transition: Transition::Closed.as_str().to_owned(),
                    reason: Some("restarted".to_owned()),
                    input_seq: self.seq,
                    ..begun.clone()
                });
            }
        }
        for (site, signals) in &mut self.signals {
            for (signal, state) in signals {
                state.retain_open(|detector, since| {
                    written.iter().any(|row| {
                        (&row.site, &row.signal, row.since) == (site, signal, since)
                            && row.detector == detector
                    })
                });
            }
        }
        ends
    }

    /// Once a day by the clock of the rows, signals that are gone make place for others.
    fn forget(&mut self, ingest_time: i64, config: &AnomalyConfig) -> Vec<Anomaly> {
        let day = |time: i64| time.div_euclid(86_400_000_000);
        let (before, now) = (self.clock, self.clock.max(ingest_time));
        self.clock = now;
        if before == 0 || day(before) == day(now) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for (site, signals) in &mut self.signals {
            signals.retain(|signal, state| {
                let is_gone = now - state.last_ingest() > FORGET_AFTER_US;
                if is_gone {
                    gone.extend(
                        state
                            .end_all(now, config)
                            .into_iter()
                            .map(|finding| (site.clone(), signal.clone(), finding)),
                    );
                }
                !is_gone
            });
        }
        self.signals.retain(|_, signals| !signals.is_empty());
        self.count = self.signals.values().map(BTreeMap::len).sum();
        let row = |(site, signal, finding): &(String, String, Finding)| {
            self.row((site, signal), finding, self.seq)
        };
        gone.iter().map(row).collect()
    }

    fn refuse(&mut self, reading: &Reading) {
        self.refused += 1;
        if self.refused <= NAMED {
            tracing::warn!(
                source = self.source,
                site = reading.site,
                signal = reading.signal,
                "signal is not watched for anomalies: anomalies.max_signals are watched already"
            );
        }
    }

    fn row(&self, (site, signal): (&str, &str), finding: &Finding, seq: i64) -> Anomaly {
        let deviation = finding.value.zip(finding.expected);
        Anomaly {
            event_time: finding.time,
            site: site.to_owned(),
            source: self.source.clone(),
            signal: signal.to_owned(),
            detector: finding.detector.to_owned(),
            transition: finding.transition.as_str().to_owned(),
            since: finding.since,
            value: finding.value,
            expected: finding.expected,
            deviation: deviation.map(|(value, expected)| value - expected),
            lower: finding.lower,
            upper: finding.upper,
            score: finding.score,
            reason: finding.reason.map(|reason| reason.as_str().to_owned()),
            input_seq: seq,
        }
    }
}

/// Rows that were written after a checkpoint, which are found again on the way from it.
#[derive(Debug, Default)]
pub(super) struct Written(VecDeque<Anomaly>);

/// Whether rows that are found again are those that were written.
#[derive(Debug, PartialEq)]
pub(super) enum Match {
    /// They are; these are still to be written.
    New(Vec<Anomaly>),
    /// They are not: the program or its limits were others then.
    Different,
}

impl Written {
    /// Rows in the order in which they were written.
    pub(super) fn new(rows: Vec<Anomaly>) -> Self {
        Self(rows.into())
    }

    /// Where the signals must be judged by the clock next, as they were then: after which sequence,
    /// and when.
    pub(super) fn next_tick(&self) -> Option<(i64, i64)> {
        let first = self.0.iter().find(|row| is_of_tick(row))?;
        Some((first.input_seq, first.event_time))
    }

    /// Whether the next row is one that the clock led to at this sequence.
    pub(super) fn is_at_tick(&self, seq: i64) -> Option<i64> {
        let first = self.0.front().filter(|row| is_of_tick(row))?;
        (first.input_seq == seq).then_some(first.event_time)
    }

    /// Takes off what was written already.
    pub(super) fn next(&mut self, rows: Vec<Anomaly>) -> Match {
        let mut rows = rows.into_iter();
        while !self.0.is_empty() {
            let Some(row) = rows.next() else {
                return Match::New(Vec::new());
            };
            match self.0.pop_front() {
                Some(written) if is_same(&written, &row) => {}
                _ => return Match::Different,
            }
        }
        Match::New(rows.collect())
    }

    /// Whether rows are left although the source was read beyond them.
    pub(super) fn is_behind(&self, seq: i64) -> bool {
        let first = self.0.front().filter(|row| !is_of_tick(row));
        first.is_some_and(|row| row.input_seq <= seq)
    }

    /// Whether every row was found again.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_of_tick(row: &Anomaly) -> bool {
    use crate::anomaly::Detector;
    row.detector == Missing.name() && row.transition == Transition::Opened.as_str()
}

/// Whether two rows say the same. Numbers are left out: they are read back from text.
fn is_same(one: &Anomaly, other: &Anomaly) -> bool {
    let identity = |row: &Anomaly| (row.event_time, row.since, row.input_seq);
    identity(one) == identity(other)
        && one.site == other.site
        && one.signal == other.signal
        && one.detector == other.detector
        && one.transition == other.transition
        && one.reason == other.reason
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::anomaly::{Mode, Sample};

    const MINUTE_US: i64 = 60_000_000;
    const START_US: i64 = 1_772_409_600_000_000;

    fn config() -> AnomalyConfig {
        AnomalyConfig {
            spike_sigma: 4.0,
            step_sigma: 3.0,
            ..AnomalyConfig::default()
        }
    }

    /// Row `seq` of three signals that take turns; one is silent for a while, and all have steps.
    fn reading(seq: i64) -> Option<Reading> {
        let (signal, number) = (seq % 3, seq / 3);
        if signal == 2 && number % 120 > 80 {
            return None;
        }
        let time = START_US + number * 2 * MINUTE_US;
        let level = if number % 150 > 110 { 140.0 } else { 100.0 };
        Some(Reading {
            seq,
            site: format!("site-{}", signal % 2),
            subject: format!("m{signal}"),
            is_power: true,
            signal: format!("m{signal}/power_w"),
            quantity: "power_w".to_owned(),
            sample: Sample {
                event_time: time,
                ingest_time: time + 1_000_000,
                value: Some(level + (seq * 7_919 % 1_013) as f64 / 1_013.0),
                mode: Mode::Unknown,
                rated: None,
            },
        })
    }

    #[test]
    fn a_machine_above_its_rating_is_found_and_one_that_stands_still_is_not_missed() {
        let mut watched = Watched::new("sensors", 0);
        let found = (0..200).flat_map(|number| {
            let mut rows = Vec::new();
            for (name, ratio) in [("good", 1.02), ("worn", 1.25)] {
                let mut reading = reading(3 * number).unwrap();
                reading.signal = format!("{name}/efficiency_rated_ratio");
                reading.quantity = "efficiency_rated_ratio".to_owned();
                reading.sample.value = Some(ratio + (number % 7) as f64 / 1_000.0);
                reading.sample.rated = Some(1.0);
                rows.extend(watched.take(&reading, &AnomalyConfig::default()));
            }
            rows
        });
        let found: Vec<(String, String)> = found.map(|row| (row.signal, row.detector)).collect();
        let worn = (
            "worn/efficiency_rated_ratio".to_owned(),
            "rating".to_owned(),
        );
        assert_eq!(found, [worn]);
        let later = START_US + 30 * 86_400_000_000;
        assert!(watched.tick(later, &AnomalyConfig::default()).is_empty());
    }

    /// The source read up to a sequence, as the follower does it: what is still to be written.
    fn advance(watched: &mut Watched, written: &mut Written, through: i64) -> Vec<Anomaly> {
        let mut fresh = Vec::new();
        let mut keep = |written: &mut Written, rows| match written.next(rows) {
            Match::New(rows) => fresh.extend(rows),
            Match::Different => panic!("what was written is not found again"),
        };
        loop {
            while let Some(now) = written.is_at_tick(watched.seq) {
                keep(written, watched.tick(now, &config()));
            }
            let tick = written.next_tick().map_or(i64::MAX, |(seq, _)| seq);
            let last = through.min(tick.max(watched.seq));
            let mut rows = Vec::new();
            for reading in (watched.seq + 1..=last).filter_map(reading) {
                rows.extend(watched.take(&reading, &config()));
            }
            watched.seq = last;
            keep(written, rows);
            assert!(!written.is_behind(last));
            if last == through && written.is_at_tick(last).is_none() {
                return fresh;
            }
        }
    }

    proptest! {
        #[test]
        fn crashes_between_any_two_rows_lose_nothing_and_double_nothing(
            steps in proptest::collection::vec((1..60_i64, 0..6_u8, 0..4_usize), 20..120),
        ) {
            let mut stream: Vec<Anomaly> = Vec::new();
            let mut stored = (serde_json::to_vec(&Watched::new("energy", 0)).unwrap(), 0);
            let mut watched = Watched::new("energy", 0);
            let mut through = 0;
            for (rows, what, kept) in steps {
                through += rows;
                let mut written = Written::default();
                if what == 0 {
                    watched = serde_json::from_slice(&stored.0).unwrap();
                    written = Written::new(stream[stored.1..].to_vec());
                }
                let mut fresh = advance(&mut watched, &mut written, through);
                prop_assert!(written.is_empty());
                if what > 3 {
                    let now = watched.clock() + 11 * MINUTE_US;
                    fresh.extend(watched.tick(now, &config()));
                }
                // A crash leaves the first rows of a step behind.
                let is_killed = what == 1 || what == 5;
                let reached = if is_killed { kept.min(fresh.len()) } else { fresh.len() };
                stream.extend_from_slice(&fresh[..reached]);
                if is_killed {
                    watched = serde_json::from_slice(&stored.0).unwrap();
                    let mut written = Written::new(stream[stored.1..].to_vec());
                    stream.extend(advance(&mut watched, &mut written, through));
                    prop_assert!(written.is_empty());
                } else if what == 2 {
                    stored = (serde_json::to_vec(&watched).unwrap(), stream.len());
                }
            }
            // One pass from the beginning, with the same moments, finds the very same rows.
            let mut again = Watched::new("energy", 0);
            let mut written = Written::new(stream.clone());
            prop_assert_eq!(advance(&mut again, &mut written, through), Vec::new());
            prop_assert!(written.is_empty());
            let mut open: BTreeMap<(String, String), i64> = BTreeMap::new();
            for row in stream {
                let place = (row.signal.clone(), row.detector.clone());
                match row.transition.as_str() {
                    "opened" => prop_assert_eq!(open.insert(place, row.since), None),
                    _ => prop_assert_eq!(open.remove(&place), Some(row.since)),
                }
            }
        }
    }

    #[test]
    fn signals_beyond_the_limit_are_counted_and_not_watched() {
        let config = AnomalyConfig {
            max_signals: 2,
            ..config()
        };
        let mut watched = Watched::new("energy", 0);
        for reading in (1..300).filter_map(reading) {
            watched.take(&reading, &config);
        }
        assert_eq!(watched.count(), 2);
        assert!(watched.refused() > 70, "{}", watched.refused());
    }

    #[test]
    fn what_another_version_left_open_is_ended_and_what_it_never_opened_is_forgotten() {
        let mut watched = Watched::new("energy", 0);
        let rows: Vec<Anomaly> = (1..1_300)
            .filter_map(reading)
            .flat_map(|reading| watched.take(&reading, &config()))
            .collect();
        let open = rows.last().unwrap().clone();
        assert_eq!(open.transition, "opened");
        assert!(
            watched
                .clone()
                .reconcile(std::slice::from_ref(&open))
                .is_empty()
        );
        let foreign = Anomaly {
            since: open.since - 1,
            ..open
        };
        let ends = watched.reconcile(std::slice::from_ref(&foreign));
        assert_eq!(ends.len(), 1);
        assert_eq!(
            (ends[0].transition.as_str(), ends[0].since),
            ("closed", foreign.since)
        );
        assert!(watched.reconcile(&[]).is_empty());
    }
}
