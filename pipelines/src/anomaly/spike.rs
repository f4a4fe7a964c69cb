//! One reading that no noise explains: the robust z-score of the innovation.

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// The detector of single readings. It remembers nothing.
pub struct Spike;

impl Detector for Spike {
    fn name(&self) -> &'static str {
        "spike"
    }
    fn doc(&self) -> &'static str {
        "One reading is further from what was expected than noise explains (robust z)."
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
    fn judge(&self, evidence: &Evidence<'_>, _: &mut Memory) -> Verdict {
        let since = evidence.time;
        let score = match evidence.residual {
            Some(residual) if residual.sees_steps => {
                residual.innovation.abs() / evidence.config.spike_sigma
            }
            _ => 0.0,
        };
        Verdict { score, since }
    }
}
