//! An anomaly that is open: since when, how large, and whether it is over.

use serde::{Deserialize, Serialize};

use super::finding::Reason;
use super::{Closing, Detector, Residual, Slot, Verdict};

/// An anomaly with a deviation of more standard deviations than this is over as soon as readings
/// are near again.
const LARGE: f64 = 6.0;
/// One deviation counts for at most so many standard deviations in the mean of the last ones.
const LARGEST: f64 = 20.0;
/// Readings are near within so many standard deviations.
const NEAR: f64 = 3.0;
/// So many near readings in a row end a large anomaly.
const NEAR_SAMPLES: u32 = 8;
/// What one sample weighs in the mean of the last ones, which must be near as well.
const LAST_WEIGHT: f64 = 0.2;
/// The mean of the last deviations is near within so many standard deviations.
const LAST_NEAR: f64 = 1.0;
/// What one sample weighs in the mean deviation, which ends a small anomaly.
const WEIGHT: f64 = 0.03;
/// A small anomaly is over when its mean deviation is this part of what it was.
const RETURNED: f64 = 0.2;
/// Samples before the mean says anything.
const MEAN_SAMPLES: u32 = 16;
/// A mean deviation of fewer standard deviations is none.
const NO_SHIFT: f64 = 0.15;

/// An open anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAnomaly {
    /// The detector's name.
    pub detector: String,
    /// When it began, microseconds since 1970.
    pub since: i64,
    /// When it was found, microseconds since 1970.
    pub opened: i64,
    /// Samples in a row that look normal.
    calm: u32,
    /// Samples in the mean.
    samples: u32,
    /// The largest deviation, in standard deviations.
    #[serde(with = "super::bits")]
    peak: f64,
    /// The mean deviation, in the unit of the signal.
    #[serde(with = "super::bits")]
    mean: f64,
    /// The mean of the last deviations, in standard deviations.
    #[serde(with = "super::bits")]
    last: f64,
    /// The largest mean deviation, in standard deviations.
    #[serde(with = "super::bits")]
    largest_mean: f64,
}

impl OpenAnomaly {
    /// Opens one.
    pub fn new(
        detector: &dyn Detector,
        verdict: Verdict,
        time: i64,
        residual: Option<&Residual>,
    ) -> Self {
        let mut open = Self {
            detector: detector.name().to_owned(),
            since: verdict.since.min(time),
            opened: time,
            calm: 0,
            samples: 0,
            peak: 0.0,
            mean: 0.0,
            last: 0.0,
            largest_mean: 0.0,
        };
        if let Some(residual) = residual {
            open.follow(residual);
        }
        open
    }

    /// The detector.
    pub fn detector(&self) -> Option<&'static dyn Detector> {
        let named = |detector: &&&dyn Detector| detector.name() == self.detector;
        super::ALL.iter().find(named).copied()
    }

    /// What it shuts out.
    pub fn slot(&self) -> Option<Slot> {
        self.detector().map(Detector::slot)
    }

    /// The mean deviation since it opened, in the unit of the signal.
    pub fn shift(&self) -> f64 {
        self.mean
    }

    /// Takes a sample in, and says why the anomaly is over once it is.
    pub fn next(
        &mut self,
        score: f64,
        residual: Option<&Residual>,
        age_us: i64,
        accept_after_us: i64,
    ) -> Option<Reason> {
        let detector = self.detector()?;
        if let Some(residual) = residual {
            self.follow(residual);
        }
        let is_over = match (detector.closing(), residual) {
            (Closing::Calm(samples), _) => {
                self.count(score < 0.5);
                self.calm >= samples
            }
            (Closing::Returned, Some(residual)) => self.has_returned(residual),
            (Closing::Returned, None) => false,
        };
        if is_over {
            return Some(Reason::Returned);
        }
        let is_old = age_us >= accept_after_us && detector.accepts_new_level();
        is_old.then_some(Reason::Accepted)
    }

    fn has_returned(&mut self, residual: &Residual) -> bool {
        let deviation = residual.deviation.abs() / residual.spread;
        self.count(deviation < NEAR);
        let mean = self.mean.abs() / residual.spread;
        match self.peak >= LARGE {
            true => self.calm >= NEAR_SAMPLES && self.last.abs() < LAST_NEAR,
            false if self.samples < MEAN_SAMPLES => false,
            false => mean < (RETURNED * self.largest_mean).max(NO_SHIFT),
        }
    }

    fn follow(&mut self, residual: &Residual) {
        self.samples = self.samples.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.samples));
        self.mean += weight * (residual.deviation - self.mean);
        let deviation = residual.deviation / residual.spread;
        let cut = deviation.clamp(-LARGEST, LARGEST);
        self.last += LAST_WEIGHT.max(1.0 / f64::from(self.samples)) * (cut - self.last);
        self.peak = self.peak.max(deviation.abs());
        if self.samples >= MEAN_SAMPLES {
            self.largest_mean = self.largest_mean.max(self.mean.abs() / residual.spread);
        }
    }

    fn count(&mut self, is_calm: bool) {
        self.calm = if is_calm {
            self.calm.saturating_add(1)
        } else {
            0
        };
    }
}
