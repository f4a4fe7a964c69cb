//! A value that the quantity cannot have, whatever happens at the site.

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// Good values in a row that end it.
const CALM: u32 = 3;

/// The detector of impossible values.
pub struct Impossible;

impl Detector for Impossible {
    fn name(&self) -> &'static str {
        "impossible"
    }
    fn doc(&self) -> &'static str {
        "A value outside of what the quantity can be."
    }
    fn stage(&self) -> Stage {
        Stage::Reading
    }
    fn slot(&self) -> Slot {
        Slot::Value
    }
    fn closing(&self) -> Closing {
        Closing::Calm(CALM)
    }
    fn accepts_new_level(&self) -> bool {
        false
    }
    fn judge(&self, evidence: &Evidence<'_>, _: &mut Memory) -> Verdict {
        let bounds = evidence.bounds;
        let is_possible = (bounds.least..=bounds.most).contains(&evidence.value);
        Verdict {
            score: if is_possible { 0.0 } else { 1.0 },
            since: evidence.time,
        }
    }
}
