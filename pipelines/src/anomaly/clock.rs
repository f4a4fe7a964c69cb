//! A clock that jumped: samples that say a time other than that at which they came.
//!
//! The future is always wrong. The past may be a backlog that is being delivered, which comes
//! faster than it was sampled; a clock that went back delivers at its usual pace.

use super::{Closing, Detector, Evidence, Memory, Slot, Stage, Verdict};

/// Samples at their usual pace after which an old time is a wrong clock.
const SAMPLES: u32 = 3;

/// The detector of wrong clocks. Its memory: the usual delay, and how many samples were off.
pub struct Clock;

impl Detector for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }
    fn doc(&self) -> &'static str {
        "The clock of the device differs from the time at which its samples come."
    }
    fn stage(&self) -> Stage {
        Stage::Reading
    }
    fn slot(&self) -> Slot {
        Slot::Clock
    }
    fn closing(&self) -> Closing {
        Closing::Calm(3)
    }
    fn accepts_new_level(&self) -> bool {
        false
    }
    fn judge(&self, evidence: &Evidence<'_>, memory: &mut Memory) -> Verdict {
        let sample = evidence.sample;
        let delay = sample.ingest_time.saturating_sub(sample.event_time) as f64;
        let tolerance = evidence.config.clock_tolerance_us() as f64;
        if memory.longest == 0 {
            memory.first = delay.clamp(0.0, tolerance);
        }
        memory.longest = memory.longest.saturating_add(1);
        let is_early = delay < -tolerance;
        let is_late = delay > memory.first + tolerance;
        if is_early || (is_late && evidence.ingest_gap_us * 2 >= evidence.interval_us) {
            if memory.count == 0 {
                memory.first_since = sample.ingest_time;
            }
            memory.count = memory.count.saturating_add(1);
        } else {
            memory.count = 0;
            if !is_late {
                memory.first += 0.05 * (delay.max(0.0) - memory.first);
            }
        }
        let needed = if is_early { SAMPLES - 1 } else { SAMPLES };
        let score = match memory.count >= needed {
            true => (delay.abs() / tolerance).max(1.0),
            false => 0.5 * f64::from(memory.count) / f64::from(needed),
        };
        Verdict {
            score,
            since: memory.first_since,
        }
    }
}
