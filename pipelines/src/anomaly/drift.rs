//! A level that leaves slowly: the two-sided cumulative sum of innovations (CUSUM of Page, 1954).

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// One innovation counts for at most so many standard deviations: a single outlier is no drift.
const LARGEST: f64 = 3.0;

/// The detector of drifts. Its memory: the sums up and down, and since when each is above zero.
pub struct Drift;

impl Detector for Drift {
    fn name(&self) -> &'static str {
        "drift"
    }
    fn doc(&self) -> &'static str {
        "Small deviations to one side have added up (CUSUM)."
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
        let Some(residual) = evidence.residual.filter(|residual| residual.sees_drift) else {
            *memory = Memory::default();
            return Verdict {
                score: 0.0,
                since: evidence.time,
            };
        };
        let slack = evidence.config.drift_slack_sigma;
        let innovation = residual.long_run.clamp(-LARGEST, LARGEST);
        let time = evidence.time;
        add(
            &mut memory.first,
            &mut memory.first_since,
            innovation - slack,
            time,
        );
        add(
            &mut memory.second,
            &mut memory.second_since,
            -innovation - slack,
            time,
        );
        let (sum, since) = match memory.first >= memory.second {
            true => (memory.first, memory.first_since),
            false => (memory.second, memory.second_since),
        };
        Verdict {
            score: sum / evidence.config.drift_sigma,
            since,
        }
    }
}

/// Adds to a sum that never falls below zero; it begins with the first sample that lifts it.
fn add(sum: &mut f64, since: &mut i64, summand: f64, time: i64) {
    if *sum <= 0.0 {
        *since = time;
    }
    *sum = (*sum + summand).max(0.0);
}
