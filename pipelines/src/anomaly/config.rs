//! Whether anomalies are looked for, and the limits of the detectors. The defaults are those that
//! `docs/anomalies.md` measures.

use serde::{Deserialize, Serialize};

/// The section `[anomalies]`: limits that hold for every signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnomalyConfig {
    /// Whether anomalies are looked for.
    pub enabled: bool,
    /// Signals that are watched, of each of the streams energy, sensors and hashrate.
    pub max_signals: usize,
    /// A single reading this many standard deviations from what was expected is a spike.
    pub spike_sigma: f64,
    /// The exponentially weighted mean of deviations may be this many of its own standard
    /// deviations from zero.
    pub step_sigma: f64,
    /// What one sample weighs in that mean.
    pub step_weight: f64,
    /// Deviations smaller than this do not add up to a drift, in standard deviations.
    pub drift_slack_sigma: f64,
    /// Larger ones may add up to this much, in standard deviations.
    pub drift_sigma: f64,
    /// A value that varies may stay the same for this many samples.
    pub stuck_samples: u32,
    /// Seconds without a sample after which it is missing; never less than five times the signal's
    /// usual interval.
    pub missing_after_s: u64,
    /// Seconds by which a clock may be wrong.
    pub clock_tolerance_s: u64,
    /// By how much more than rated a machine may use, in parts of its rating.
    pub rating_tolerance: f64,
    /// Seconds after a change of the mode in which nothing is judged.
    pub settle_s: u64,
    /// Seconds after which a level that lasts is taken for the new one.
    pub accept_after_s: u64,
}

impl Default for AnomalyConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_signals: 5_000,
            spike_sigma: 6.0,
            step_sigma: 4.7,
            step_weight: 0.2,
            drift_slack_sigma: 0.35,
            drift_sigma: 15.0,
            stuck_samples: 15,
            missing_after_s: 300,
            clock_tolerance_s: 120,
            rating_tolerance: 0.1,
            settle_s: 900,
            accept_after_s: 86_400,
        }
    }
}

impl AnomalyConfig {
    /// Refuses limits that cannot work, each with its key.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("spike_sigma", self.spike_sigma),
            ("step_sigma", self.step_sigma),
            ("step_weight", self.step_weight),
            ("drift_slack_sigma", self.drift_slack_sigma),
            ("drift_sigma", self.drift_sigma),
            ("rating_tolerance", self.rating_tolerance),
        ];
        if let Some((key, value)) = positive
            .iter()
            .find(|(_, value)| !(value.is_finite() && *value > 0.0))
        {
            return Err(format!(
                "anomalies.{key} is {value}; it must be more than 0"
            ));
        }
        if self.step_weight > 1.0 {
            let weight = self.step_weight;
            return Err(format!(
                "anomalies.step_weight is {weight}; it must be at most 1"
            ));
        }
        if !(1..=100_000).contains(&self.max_signals) {
            let signals = self.max_signals;
            return Err(format!(
                "anomalies.max_signals is {signals}; it must lie between 1 and 100000"
            ));
        }
        if self.stuck_samples < 3 {
            return Err("anomalies.stuck_samples must be at least 3".to_owned());
        }
        for (key, seconds) in [
            ("missing_after_s", self.missing_after_s),
            ("clock_tolerance_s", self.clock_tolerance_s),
            ("accept_after_s", self.accept_after_s),
        ] {
            if !(1..=31_536_000).contains(&seconds) {
                return Err(format!(
                    "anomalies.{key} is {seconds}; it must lie between 1 and 31536000 (a year)"
                ));
            }
        }
        match self.settle_s {
            0..=86_400 => Ok(()),
            more => Err(format!(
                "anomalies.settle_s is {more}; it must be at most 86400 (a day)"
            )),
        }
    }

    pub(crate) fn settle_us(&self) -> i64 {
        micros(self.settle_s)
    }

    pub(crate) fn accept_after_us(&self) -> i64 {
        micros(self.accept_after_s)
    }

    pub(crate) fn missing_after_us(&self) -> i64 {
        micros(self.missing_after_s)
    }

    pub(crate) fn clock_tolerance_us(&self) -> i64 {
        micros(self.clock_tolerance_s)
    }
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

/// What a quantity can be at all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Bounds {
    /// Any number.
    pub const ANY: Self = Self {
        least: f64::MIN,
        most: f64::MAX,
    };

    /// What a quantity can be by its name, unit last.
    pub fn from_quantity(quantity: &str) -> Self {
        let (least, most) = match quantity.rsplit('_').next().unwrap_or_default() {
            // Chips may reach 130; below -60 nothing is mined.
            "c" => (-60.0, 150.0),
            "f" => (-76.0, 302.0),
            "pct" => (0.0, 100.0),
            "rpm" => (0.0, 50_000.0),
            "hpa" => (300.0, 1_100.0),
            "hs" => (0.0, 1e24),
            _ => return Self::ANY,
        };
        Self { least, most }
    }
}
