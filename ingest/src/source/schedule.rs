//! When a device is polled: on a grid of its own, later and later while it does not answer.
//!
//! Pure: the time and the random number come from outside.

use std::time::Duration;

/// Doublings of the pause after failures.
const MOST_DOUBLINGS: u32 = 16;
/// The share of a pause after a failure by which it is made longer or shorter, so that devices
/// that failed together do not come back together.
const JITTER: f64 = 0.2;

/// The grid of one device and its pauses after failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    interval: Duration,
    max_backoff: Duration,
}

impl Schedule {
    /// A poll each interval; pauses after failures of at most `max_backoff`, or of the interval
    /// where that is longer.
    pub fn new(interval: Duration, max_backoff: Duration) -> Self {
        Self {
            interval,
            max_backoff: max_backoff.max(interval),
        }
    }

    /// The time of the next poll, after one that was due at `due`; both are measured from the same
    /// moment. `failures` polls in a row failed up to now, and `random` is from 0 to 1.
    ///
    /// Without failures polls stay on the grid and those that were missed are left out. After the
    /// n-th failure the pause is 2^(n-1) intervals, give or take a fifth.
    pub fn next(&self, due: Duration, now: Duration, failures: u32, random: f64) -> Duration {
        if failures == 0 {
            let next = due + self.interval;
            if next >= now {
                return next;
            }
            let behind = (now - due).as_secs_f64() / self.interval.as_secs_f64();
            return due + self.interval.mul_f64(behind.ceil());
        }
        let doublings = (failures - 1).min(MOST_DOUBLINGS);
        let pause = self.interval.as_secs_f64() * f64::from(1_u32 << doublings);
        let pause = pause.min(self.max_backoff.as_secs_f64());
        let jitter = 1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        now + Duration::from_secs_f64(pause * jitter)
    }
}

/// Where in its interval a device is polled, 0 to 1: the same after every start, and spread over
/// the devices.
pub fn phase_of(site: &str, name: &str) -> f64 {
    let hash = blake3::hash(format!("{site}\0{name}").as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hash.as_bytes()[..4]);
    f64::from(u32::from_le_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn polls_stay_on_the_grid_and_missed_ones_are_left_out() {
        let schedule = Schedule::new(s(10.0), s(60.0));
        assert_eq!(schedule.next(s(3.0), s(4.0), 0, 0.5), s(13.0));
        assert_eq!(schedule.next(s(3.0), s(34.0), 0, 0.5), s(43.0));
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_are_jittered() {
        let schedule = Schedule::new(s(10.0), s(60.0));
        let pause = |failures, random| {
            (schedule.next(s(0.0), s(1.0), failures, random) - s(1.0)).as_secs_f64()
        };
        assert_eq!(pause(1, 0.5), 10.0);
        assert_eq!(pause(2, 0.5), 20.0);
        assert_eq!(pause(3, 0.5), 40.0);
        assert_eq!(pause(4, 0.5), 60.0);
        assert_eq!(pause(u32::MAX, 0.5), 60.0);
        assert!((pause(1, 0.0) - 8.0).abs() < 1e-9 && (pause(1, 1.0) - 12.0).abs() < 1e-9);
        let slow = Schedule::new(s(600.0), s(60.0));
        assert_eq!(slow.next(s(0.0), s(1.0), 9, 0.5), s(601.0));
    }

    #[test]
    fn phases_are_spread() {
        let mut tenths = [0; 10];
        for n in 0..1_000 {
            let phase = phase_of("north", &format!("m{n}"));
            tenths[(phase * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| *count > 60), "{tenths:?}");
        assert_eq!(phase_of("a", "b"), phase_of("a", "b"));
    }
}
