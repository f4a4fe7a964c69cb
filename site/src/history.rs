//! Power against the target over time, for a chart: a bounded number of samples, the further apart
//! the longer the controller runs.

use std::sync::Arc;

use serde::Serialize;

use crate::control::DecisionRecord;

/// Samples that are kept at most: about 50 bytes each.
pub const MOST_SAMPLES: usize = 720;
/// Samples are no further apart than this; with [`MOST_SAMPLES`] they reach over a day.
const WIDEST_MS: u64 = 120_000;

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// When, on the clock of [`crate::moment::Moment::elapsed_ms`].
    #[serde(skip)]
    pub elapsed_ms: u64,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// What the site drew.
    pub measured_kw: f64,
    /// The most that it was to draw.
    pub target_kw: f64,
    /// The temperature that decides; none when no sensor was believed.
    pub temperature_c: Option<f64>,
    /// Fans that ran.
    pub fans_on: usize,
}

/// Samples, the oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    samples: Vec<Sample>,
    spacing_ms: u64,
}

impl Sample {
    /// What a decision saw.
    pub fn new(decision: &DecisionRecord) -> Self {
        let mut inputs = decision.inputs.iter();
        let temperature = inputs.find(|input| input.source == "temperature/control");
        Self {
            elapsed_ms: decision.at.elapsed_ms,
            at_us: decision.at.utc_us,
            measured_kw: decision.measured_kw,
            target_kw: decision.verdict.target_kw,
            temperature_c: temperature.and_then(|input| input.value),
            fans_on: decision.fans_on,
        }
    }
}

impl History {
    /// Every sample.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The same with a sample, if enough time went by since the last one.
    ///
    /// When there are too many, every second one is left out and samples are taken half as often;
    /// where they are widest, the oldest is left out.
    pub fn with(before: &Arc<Self>, sample: Sample) -> Arc<Self> {
        let last = before.samples.last();
        let is_due = last.is_none_or(|last| {
            sample.elapsed_ms >= last.elapsed_ms.saturating_add(before.spacing_ms)
        });
        if !is_due {
            return before.clone();
        }
        let mut history = Self::clone(before);
        if history.samples.len() >= MOST_SAMPLES {
            if history.spacing_ms >= WIDEST_MS {
                history.samples.remove(0);
            } else {
                history.widen(sample.elapsed_ms);
            }
        }
        history.samples.push(sample);
        Arc::new(history)
    }

    fn widen(&mut self, now_ms: u64) {
        let first_ms = self
            .samples
            .first()
            .map_or(now_ms, |first| first.elapsed_ms);
        let mean_ms = now_ms.saturating_sub(first_ms) / self.samples.len().max(1) as u64;
        self.spacing_ms = (2 * mean_ms.max(self.spacing_ms)).clamp(1, WIDEST_MS);
        let mut place = 0_usize;
        self.samples.retain(|_| {
            place += 1;
            place % 2 == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(elapsed_ms: u64) -> Sample {
        Sample {
            elapsed_ms,
            at_us: elapsed_ms as i64 * 1_000,
            measured_kw: elapsed_ms as f64,
            target_kw: 1.0,
            temperature_c: None,
            fans_on: 0,
        }
    }

    fn after_steps(steps: u64, every_ms: u64) -> Arc<History> {
        (0..steps).fold(Arc::default(), |history, step| {
            History::with(&history, sample(step * every_ms))
        })
    }

    #[test]
    fn samples_stay_bounded_ordered_and_reach_over_everything_until_a_day() {
        for steps in [1, 719, 720, 721, 5_000, 17_280] {
            let history = after_steps(steps, 5_000);
            let samples = history.samples();
            assert!(samples.len() <= MOST_SAMPLES, "{steps}");
            assert_eq!(samples[0].elapsed_ms, 0, "{steps} steps begin at the start");
            let last_ms = samples.last().unwrap().elapsed_ms;
            assert!((steps - 1) * 5_000 - last_ms < WIDEST_MS, "{steps}");
            assert!(
                samples
                    .windows(2)
                    .all(|two| two[0].elapsed_ms < two[1].elapsed_ms),
                "{steps}"
            );
        }
    }

    #[test]
    fn after_a_day_the_oldest_samples_go() {
        let history = after_steps(60_000, 5_000);
        let samples = history.samples();
        assert!(samples.len() <= MOST_SAMPLES && samples[0].elapsed_ms > 0);
        let reach_ms = samples.last().unwrap().elapsed_ms - samples[0].elapsed_ms;
        assert!(reach_ms > 20 * 3_600_000, "{reach_ms}");
    }
}
