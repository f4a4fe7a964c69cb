//! A level that changed: the exponentially weighted mean of innovations (EWMA chart of Roberts,
//! 1959).

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// One innovation counts for at most so many standard deviations.
const LARGEST: f64 = 12.0;

/// The detector of steps. Its memory: the mean, and since when it is off zero.
pub struct Step;

impl Detector for Step {
    fn name(&self) -> &'static str {
        "step"
    }
    fn doc(&self) -> &'static str {
        "The level changed: the weighted mean of deviations left its control limits (EWMA)."
    }
    fn stage(&self) -> Stage {
        Stage::Residual
    }
    fn slot(&self) -> Slot {
        Slot::Value
    }
    fn closing(&self) -> Closing {
        Closing::Returned
    }
    fn accepts_new_level(&self) -> bool {
        true
    }
    fn judge(&self, evidence: &Evidence<'_>, memory: &mut Memory) -> Verdict {
        let Some(residual) = evidence.residual.filter(|residual| residual.sees_steps) else {
            *memory = Memory::default();
            return Verdict {
                score: 0.0,
                since: evidence.time,
            };
        };
        let weight = evidence.config.step_weight;
        let spread = (weight / (2.0 - weight)).sqrt();
        if memory.first.abs() < spread || memory.first_since == 0 {
            memory.first_since = evidence.time;
        }
        let innovation = residual.innovation.clamp(-LARGEST, LARGEST);
        memory.first += weight * (innovation - memory.first);
        Verdict {
            score: memory.first.abs() / (spread * evidence.config.step_sigma),
            since: memory.first_since,
        }
    }
}
