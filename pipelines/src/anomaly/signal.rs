//! The state of one signal, and what a sample or the passing of time makes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::finding::{Finding, Reason, Transition};
use super::open::OpenAnomaly;
use super::season::Season;
use super::{
    ALL, AnomalyConfig, Bounds, Detector, Evidence, Memory, Mode, Residual, Sample, Slot, Stage,
    Verdict,
};

/// Half of the width of the band that is normal, in standard deviations.
const BAND: f64 = 4.0;
/// What one gap weighs in the usual interval.
const INTERVAL_WEIGHT: f64 = 0.05;

/// What a sample led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// What began or ended.
    pub findings: Vec<Finding>,
    /// How far the worst statistic is, in parts of its threshold: for callers that want a number
    /// for every sample.
    pub score: f64,
}

/// Everything that is known of one signal. It is a few kilobytes at most, however long the signal
/// is watched.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SignalState {
    mode: Mode,
    /// When the mode changed, microseconds since 1970; 0 for never.
    mode_since: i64,
    baselines: BTreeMap<Mode, Baseline>,
    season: Season,
    memories: Vec<Memory>,
    open: Vec<OpenAnomaly>,
    /// The newest time that was judged.
    last_time: i64,
    /// When the newest sample was stored.
    last_ingest: i64,
    #[serde(with = "super::bits")]
    interval_us: f64,
    /// The largest value that was learnt.
    #[serde(with = "super::bits")]
    scale: f64,
    /// Samples that were older than the newest, and were not judged.
    late: u64,
}

impl SignalState {
    /// Takes the next sample in and says what began or ended with it. Samples come in the order in
    /// which they were stored. One that is older than the newest is counted and not judged.
    pub fn observe(
        &mut self,
        sample: &Sample,
        config: &AnomalyConfig,
        bounds: Bounds,
    ) -> Observation {
        let mut findings = Vec::new();
        if sample.value.is_none_or(|value| !value.is_finite()) {
            return Observation::default();
        }
        self.memories.resize(ALL.len(), Memory::default());
        let ingest_gap_us = self.next_ingest(sample.ingest_time);
        let mut evidence = self.evidence(sample, sample.ingest_time, config, bounds);
        evidence.ingest_gap_us = ingest_gap_us;
        self.close_silence(&evidence, &mut findings);
        self.judge(Slot::Clock, Stage::Reading, &evidence, &mut findings);
        let is_future = sample.event_time - sample.ingest_time > config.clock_tolerance_us();
        if !is_future && !self.is_open(Slot::Clock) {
            evidence.time = sample.event_time;
        }
        if evidence.time <= self.last_time {
            self.late += 1;
            return Observation {
                findings,
                score: 0.0,
            };
        }
        self.next_interval(evidence.time);
        self.change_mode(sample.mode, &evidence, &mut findings);
        let mut score = self.judge(Slot::Value, Stage::Reading, &evidence, &mut findings);
        let is_settling =
            self.mode_since != 0 && evidence.time - self.mode_since < config.settle_us();
        let is_comparable = !is_settling && self.mode != Mode::Changing;
        if score < 1.0 && is_comparable {
            score = self.compare(&evidence, &mut findings);
        }
        Observation { findings, score }
    }

    /// Says whether samples are missing at a time, microseconds since 1970. Nothing else changes
    /// with time alone, and where nothing is found the state stays as it is.
    pub fn tick(&mut self, now: i64, config: &AnomalyConfig) -> Option<Finding> {
        if self.last_ingest == 0 || self.is_open(Slot::Silence) {
            return None;
        }
        let detector = silence_detector()?;
        let sample = Sample {
            event_time: self.last_time,
            ingest_time: self.last_ingest,
            value: None,
            mode: self.mode,
            rated: None,
        };
        let mut evidence = self.evidence(&sample, now, config, Bounds::ANY);
        evidence.ingest_gap_us = now - self.last_ingest;
        let verdict = detector.judge(&evidence, &mut Memory::default());
        if verdict.score < 1.0 {
            return None;
        }
        let open = OpenAnomaly::new(detector, verdict, now, None);
        let begun = (verdict.score, None);
        let found = finding(&open, Transition::Opened, &evidence, None, begun);
        self.open.push(open);
        found
    }

    /// What is open, by detector and beginning.
    pub fn open(&self) -> impl Iterator<Item = (&str, i64)> {
        self.open
            .iter()
            .map(|open| (open.detector.as_str(), open.since))
    }

    /// Forgets what is open but not to be kept, by detector and beginning.
    pub fn retain_open(&mut self, keep: impl Fn(&str, i64) -> bool) {
        self.open.retain(|open| keep(&open.detector, open.since));
    }

    /// Ends everything that is open, because the signal is not watched any more.
    pub fn end_all(&mut self, now: i64, config: &AnomalyConfig) -> Vec<Finding> {
        let sample = Sample {
            event_time: now,
            ingest_time: now,
            value: None,
            mode: self.mode,
            rated: None,
        };
        let evidence = self.evidence(&sample, now, config, Bounds::ANY);
        let ended = (0.0, Some(Reason::Accepted));
        let open = std::mem::take(&mut self.open);
        open.iter()
            .filter_map(|open| finding(open, Transition::Closed, &evidence, None, ended))
            .collect()
    }

    /// Samples that were older than the newest, and were not judged.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// When the newest sample was stored, microseconds since 1970.
    pub fn last_ingest(&self) -> i64 {
        self.last_ingest
    }

    fn evidence<'a>(
        &self,
        sample: &'a Sample,
        time: i64,
        config: &'a AnomalyConfig,
        bounds: Bounds,
    ) -> Evidence<'a> {
        Evidence {
            sample,
            value: sample.value.unwrap_or_default(),
            time,
            residual: None,
            interval_us: self.interval_us as i64,
            ingest_gap_us: 0,
            config,
            bounds,
        }
    }

    fn is_open(&self, slot: Slot) -> bool {
        self.open.iter().any(|open| open.slot() == Some(slot))
    }

    fn next_ingest(&mut self, ingest_time: i64) -> i64 {
        let gap = match self.last_ingest {
            0 => 0,
            last => (ingest_time - last).max(0),
        };
        self.last_ingest = self.last_ingest.max(ingest_time);
        gap
    }

    /// The usual interval follows the gaps; one long gap counts for three.
    fn next_interval(&mut self, time: i64) {
        if self.last_time != 0 {
            let gap = (time - self.last_time) as f64;
            if self.interval_us == 0.0 {
                self.interval_us = gap;
            }
            let most = 3.0 * self.interval_us;
            self.interval_us += INTERVAL_WEIGHT * (gap.min(most) - self.interval_us);
        }
        self.last_time = time;
    }

    /// A sample ends the silence before it.
    fn close_silence(&mut self, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
        if let Some(index) = self.index(Slot::Silence) {
            let open = self.open.remove(index);
            let ended = (0.0, Some(Reason::Returned));
            findings.extend(finding(&open, Transition::Closed, evidence, None, ended));
        }
    }

    /// Another mode has another baseline. What was open was of the old one.
    fn change_mode(&mut self, mode: Mode, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
        if mode == self.mode {
            return;
        }
        let is_first = self.baselines.is_empty();
        self.mode = mode;
        self.mode_since = if is_first { 0 } else { evidence.time };
        if let Some(index) = self.index(Slot::Value) {
            let open = self.open.remove(index);
            let ended = (0.0, Some(Reason::ModeChanged));
            findings.extend(finding(&open, Transition::Closed, evidence, None, ended));
        }
        self.forget_residuals();
    }

    /// Calls the detectors of a slot and stage, and opens or closes what follows. Answers the
    /// largest score of those whose anomalies make a reading worthless, or, at the stage of
    /// residuals, of all; while an anomaly of the slot and stage is open it is at least 1.
    fn judge(
        &mut self,
        slot: Slot,
        stage: Stage,
        evidence: &Evidence<'_>,
        findings: &mut Vec<Finding>,
    ) -> f64 {
        let mut worst: Option<(&'static dyn Detector, Verdict)> = None;
        let (mut of_open, mut largest) = (0.0, 0.0_f64);
        let open = self.index(slot);
        for (detector, memory) in ALL.iter().zip(&mut self.memories) {
            if detector.slot() != slot || detector.stage() != stage {
                continue;
            }
            let verdict = detector.judge(evidence, memory);
            if open.is_some_and(|index| self.open[index].detector == detector.name()) {
                of_open = verdict.score;
            }
            if !detector.accepts_new_level() || stage == Stage::Residual {
                largest = largest.max(verdict.score);
            }
            if worst.is_none_or(|(_, worst)| verdict.score > worst.score) {
                worst = Some((*detector, verdict));
            }
        }
        let Some((detector, verdict)) = worst else {
            return 0.0;
        };
        match open {
            Some(index) => {
                let is_of_stage = self.open[index].detector().map(Detector::stage) == Some(stage);
                if is_of_stage {
                    self.follow_open(index, of_open, evidence, findings);
                    return largest.max(1.0);
                }
            }
            None if verdict.score >= 1.0 => {
                let open = OpenAnomaly::new(detector, verdict, evidence.time, evidence.residual);
                let begun = (verdict.score, None);
                let residual = self.residual(evidence);
                findings.extend(finding(
                    &open,
                    Transition::Opened,
                    evidence,
                    Some(&residual),
                    begun,
                ));
                self.open.push(open);
            }
            None => {}
        }
        largest
    }

    fn follow_open(
        &mut self,
        index: usize,
        score: f64,
        evidence: &Evidence<'_>,
        findings: &mut Vec<Finding>,
    ) {
        let accept_after_us = evidence.config.accept_after_us();
        let age_us = evidence.time - self.open[index].opened;
        let over = self.open[index].next(score, evidence.residual, age_us, accept_after_us);
        let Some(reason) = over else {
            return;
        };
        let open = self.open.remove(index);
        let residual = self.residual(evidence);
        let ended = (score, Some(reason));
        findings.extend(finding(
            &open,
            Transition::Closed,
            evidence,
            Some(&residual),
            ended,
        ));
        match (reason, open.detector().map(Detector::stage)) {
            (Reason::Accepted, Some(Stage::Residual)) => {
                self.baselines
                    .entry(self.mode)
                    .or_default()
                    .accept(open.shift());
            }
            (Reason::Accepted, _) => self.accept_ratio(),
            _ => {}
        }
        self.forget_residuals();
    }

    /// Compares a reading with the baseline of its mode, and learns from it unless an anomaly is
    /// open: a fault must not become the normal within hours.
    fn compare(&mut self, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) -> f64 {
        let (time, value, interval_us) = (evidence.time, evidence.value, self.interval_us as i64);
        let residual = self.residual(evidence);
        let evidence = Evidence {
            residual: Some(&residual),
            interval_us,
            ..*evidence
        };
        let was_open = self.is_open(Slot::Value);
        let score = self.judge(Slot::Value, Stage::Residual, &evidence, findings);
        let has_season = self.has_season();
        let baseline = self.baselines.entry(self.mode).or_default();
        if was_open
            || self
                .open
                .iter()
                .any(|open| open.slot() == Some(Slot::Value))
        {
            baseline.pass(time, value);
        } else {
            let none = Season::default();
            let season = if has_season { &self.season } else { &none };
            baseline.learn(season, &residual, time, value, interval_us);
            self.scale = self.scale.max(value.abs());
        }
        if let Some(deviation) = baseline.above_level(value).filter(|_| has_season) {
            self.season.learn(time, deviation);
        }
        score
    }

    /// Machines that were told to stop follow no clock.
    fn has_season(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Unknown)
    }

    fn residual(&self, evidence: &Evidence<'_>) -> Residual {
        let (time, interval_us) = (evidence.time, self.interval_us as i64);
        let (empty, none) = (Baseline::default(), Season::default());
        let season = if self.has_season() {
            &self.season
        } else {
            &none
        };
        let baseline = self.baselines.get(&self.mode).unwrap_or(&empty);
        baseline.residual(season, time, evidence.value, self.scale, interval_us)
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        self.open.iter().position(|open| open.slot() == Some(slot))
    }

    /// After an anomaly the detectors of residuals begin anew.
    fn forget_residuals(&mut self) {
        for (detector, memory) in ALL.iter().zip(&mut self.memories) {
            if detector.stage() == Stage::Residual {
                *memory = Memory::default();
            }
        }
    }

    /// The ratio that lasts is the one that later ones are compared with.
    fn accept_ratio(&mut self) {
        for (detector, memory) in ALL.iter().zip(&mut self.memories) {
            if detector.stage() == Stage::Reading && detector.accepts_new_level() {
                memory.second = memory.first;
            }
        }
    }
}

fn silence_detector() -> Option<&'static dyn Detector> {
    let of_silence = |detector: &&&dyn Detector| detector.slot() == Slot::Silence;
    ALL.iter().find(of_silence).copied()
}

/// The row of a beginning or an end; `ended` is its score and, for an end, the reason.
fn finding(
    open: &OpenAnomaly,
    transition: Transition,
    evidence: &Evidence<'_>,
    residual: Option<&Residual>,
    ended: (f64, Option<Reason>),
) -> Option<Finding> {
    let is_value = open.slot() == Some(Slot::Value);
    let known = residual.filter(|residual| residual.sees_steps && is_value);
    let band = |side: f64| known.map(|known| known.expected + side * BAND * known.spread);
    let detector = open.detector()?;
    let is_reading = detector.slot() != Slot::Clock;
    Some(Finding {
        detector: detector.name(),
        transition,
        time: evidence.time,
        since: open.since,
        value: evidence.sample.value.filter(|_| is_reading),
        expected: known.map(|known| known.expected),
        lower: band(-1.0),
        upper: band(1.0),
        score: ended.0,
        reason: ended.1,
    })
}
