//! More than the maker rates: joules per terahash above the rating of the model.
//!
//! It needs no baseline, so that a machine that was bad from its first day is found as well.

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// What one sample weighs in the mean of the ratio.
const WEIGHT: f64 = 0.1;
/// Samples before the mean says anything.
const SAMPLES: u32 = 10;

/// The detector of bad efficiency. Its memory: the mean ratio, and the ratio that was accepted.
pub struct Rating;

impl Detector for Rating {
    fn name(&self) -> &'static str {
        "rating"
    }
    fn doc(&self) -> &'static str {
        "The smoothed value is further above the maker's rating than allowed."
    }
    fn stage(&self) -> Stage {
        Stage::Reading
    }
    fn slot(&self) -> Slot {
        Slot::Value
    }
    fn closing(&self) -> Closing {
        Closing::Calm(SAMPLES)
    }
    fn accepts_new_level(&self) -> bool {
        true
    }
    fn judge(&self, evidence: &Evidence<'_>, memory: &mut Memory) -> Verdict {
        let none = Verdict {
            score: 0.0,
            since: evidence.time,
        };
        let Some(rated) = evidence.sample.rated.filter(|rated| *rated > 0.0) else {
            return none;
        };
        let ratio = (evidence.value / rated).clamp(0.0, 100.0);
        memory.count = memory.count.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(memory.count));
        memory.first += weight * (ratio - memory.first);
        let tolerance = evidence.config.rating_tolerance;
        let above = memory.first - memory.second.max(1.0);
        if above < 0.5 * tolerance || memory.first_since == 0 {
            memory.first_since = evidence.time;
        }
        match memory.count {
            0..SAMPLES => none,
            _ => Verdict {
                score: (above / tolerance).max(0.0),
                since: memory.first_since,
            },
        }
    }
}
