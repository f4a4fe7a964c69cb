//! One temperature sensor: its last reading, how it changed, and whether it can be true.

use serde::{Deserialize, Serialize};

use crate::control::observation::SensorKind;
use crate::control::policy::{ThermalPolicy, ms};

/// What a sensor can say at all; a DS18B20 reaches from -55 to 125, a broken one says -127 or 850.
const POSSIBLE_C: std::ops::RangeInclusive<f64> = -45.0..=125.0;
/// Less is no change.
const SAME_C: f64 = 0.01;
/// Samples for the rise are so far apart, so that noise is no rise.
const SAMPLE_EVERY_MS: u64 = 15_000;
/// A rise is measured over at least so long.
const RISE_OVER_MS: u64 = 60_000;
const SAMPLES: usize = 6;

/// What is remembered of a sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// What it measures.
    pub kind: SensorKind,
    /// Its last possible reading.
    pub celsius: Option<f64>,
    read_ms: u64,
    changed_ms: u64,
    /// It is not believed until then.
    doubtful_until_ms: u64,
    why: Option<String>,
    /// Readings of the last minute and a half, the oldest first.
    samples: Vec<(u64, f64)>,
}

impl Sensor {
    /// A sensor that was not read.
    pub fn new(kind: SensorKind) -> Self {
        Self {
            kind,
            celsius: None,
            read_ms: 0,
            changed_ms: 0,
            doubtful_until_ms: 0,
            why: None,
            samples: Vec::new(),
        }
    }

    /// Takes a reading in.
    pub fn read(&mut self, celsius: f64, at_ms: u64, policy: &ThermalPolicy) {
        if !celsius.is_finite() || !POSSIBLE_C.contains(&celsius) {
            self.doubt(
                at_ms,
                policy,
                format!("It says {celsius}, which no air has."),
            );
            self.read_ms = at_ms;
            return;
        }
        if let Some(before) = self.celsius {
            let minutes = (at_ms.saturating_sub(self.read_ms) as f64 / 60_000.0).max(1.0);
            let change = (celsius - before).abs();
            if change > policy.jump_c_per_min * minutes {
                let why = format!("It jumped by {change:.1} degrees in {minutes:.0} minutes.");
                self.doubt(at_ms, policy, why);
            }
            if change >= SAME_C {
                self.changed_ms = at_ms;
            }
        } else {
            self.changed_ms = at_ms;
        }
        self.celsius = Some(celsius);
        self.read_ms = at_ms;
        let is_due = self
            .samples
            .last()
            .is_none_or(|(last_ms, _)| at_ms.saturating_sub(*last_ms) >= SAMPLE_EVERY_MS);
        if is_due {
            if self.samples.len() == SAMPLES {
                self.samples.remove(0);
            }
            self.samples.push((at_ms, celsius));
        }
    }

    fn doubt(&mut self, at_ms: u64, policy: &ThermalPolicy, why: String) {
        self.doubtful_until_ms = at_ms + ms(policy.recover_s);
        self.why = Some(why);
    }

    /// Why it is not believed at a time.
    pub fn fault(&self, policy: &ThermalPolicy, now_ms: u64) -> Option<String> {
        if now_ms < self.doubtful_until_ms {
            return self.why.clone();
        }
        let same_ms = self.read_ms.saturating_sub(self.changed_ms);
        (same_ms >= ms(policy.stuck_s))
            .then(|| format!("It says the same for {} minutes.", same_ms / 60_000))
    }

    /// Degrees a minute, over the last minute or two; none when it was not read for so long.
    pub fn rise_c_per_min(&self) -> f64 {
        let Some(celsius) = self.celsius else {
            return 0.0;
        };
        let old = self
            .samples
            .iter()
            .rev()
            .find(|(at_ms, _)| self.read_ms.saturating_sub(*at_ms) >= RISE_OVER_MS);
        old.map_or(0.0, |(at_ms, before)| {
            (celsius - before) / (self.read_ms.saturating_sub(*at_ms) as f64 / 60_000.0)
        })
    }
}
