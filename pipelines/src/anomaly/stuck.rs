//! A value that varies and then does not any more: the sensor is frozen.
//!
//! The length of the run of equal values is compared with the longest run that the signal had
//! before, so that a quantity of few values, such as a fan's steps, is not taken for a frozen one.
//! For the first hours every run counts as a good one: a chip's temperature in whole degrees varies
//! while it warms up and hardly ever after that.

use super::{Closing, Detector, Evidence, Memory, Mode, Slot, Stage, Verdict};

/// How many times the longest run before a run may last.
const LONGEST_FACTOR: u32 = 4;

/// Samples before runs are judged.
const LEARNED_SAMPLES: f64 = 60.0;
/// Time before runs are judged, in microseconds: two hours.
const LEARNED_US: i64 = 7_200_000_000;

/// The detector of frozen values. Its memory: the value, since when, the run and the longest one;
/// as the second number the samples so far, and when they began.
pub struct Stuck;

impl Detector for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }
    fn doc(&self) -> &'static str {
        "A value that used to vary stays the same to the last digit."
    }
    fn stage(&self) -> Stage {
        Stage::Reading
    }
    fn slot(&self) -> Slot {
        Slot::Value
    }
    fn closing(&self) -> Closing {
        Closing::Calm(1)
    }
    fn accepts_new_level(&self) -> bool {
        false
    }
    fn judge(&self, evidence: &Evidence<'_>, memory: &mut Memory) -> Verdict {
        let most = evidence.config.stuck_samples;
        if matches!(evidence.sample.mode, Mode::Curtailed | Mode::Standby) {
            // What is switched off reads nothing, again and again.
            memory.count = 0;
            return Verdict {
                score: 0.0,
                since: evidence.time,
            };
        }
        if memory.second == 0.0 {
            memory.second_since = evidence.time;
        }
        memory.second = (memory.second + 1.0).min(LEARNED_SAMPLES);
        let is_learning = memory.second < LEARNED_SAMPLES
            || evidence.time.saturating_sub(memory.second_since) < LEARNED_US;
        if memory.count > 0 && memory.first == evidence.value {
            memory.count = memory.count.saturating_add(1);
        } else {
            // A run that was found to be a fault says nothing about how long good ones are.
            let limit = limit(memory.longest, most);
            if memory.count > 0 && (is_learning || f64::from(memory.count) < limit) {
                memory.longest = memory.longest.max(memory.count);
            } else if memory.count > 0 && memory.longest == 0 {
                memory.longest = memory.count;
            }
            (memory.first, memory.count) = (evidence.value, 1);
            memory.first_since = evidence.time;
        }
        if is_learning && memory.longest > 0 {
            memory.longest = memory.longest.max(memory.count);
        }
        // Until a second run began nobody knows whether the value varies.
        let score = match memory.longest {
            0 => 0.0,
            longest => f64::from(memory.count) / limit(longest, most),
        };
        Verdict {
            score,
            since: memory.first_since,
        }
    }
}

/// The run that is too long.
fn limit(longest: u32, most: u32) -> f64 {
    f64::from(longest.saturating_mul(LONGEST_FACTOR).max(most))
}
