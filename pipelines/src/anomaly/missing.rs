//! Samples that do not come: the only detector that the clock calls.

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// How many usual intervals may pass without a sample, at the least.
const INTERVALS: i64 = 5;

/// The detector of missing samples. It remembers nothing: the signal knows when it was last heard.
pub struct Missing;

impl Missing {
    /// The silence after which samples are missing, in microseconds.
    pub fn deadline_us(interval_us: i64, missing_after_us: i64) -> i64 {
        missing_after_us.max(interval_us.saturating_mul(INTERVALS))
    }
}

impl Detector for Missing {
    fn name(&self) -> &'static str {
        "missing"
    }
    fn doc(&self) -> &'static str {
        "No sample came for longer than five of its usual intervals."
    }
    fn stage(&self) -> Stage {
        Stage::Silence
    }
    fn slot(&self) -> Slot {
        Slot::Silence
    }
    fn closing(&self) -> Closing {
        Closing::Calm(1)
    }
    fn accepts_new_level(&self) -> bool {
        false
    }
    fn judge(&self, evidence: &Evidence<'_>, _: &mut Memory) -> Verdict {
        let missing_after_us = evidence.config.missing_after_us();
        let deadline = Self::deadline_us(evidence.interval_us, missing_after_us);
        Verdict {
            score: evidence.ingest_gap_us as f64 / deadline as f64,
            since: evidence.sample.ingest_time,
        }
    }
}
