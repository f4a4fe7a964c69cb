//! The controller's clock: monotonic for timers, the wall clock for what people read, and how far
//! the two disagree.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::control::observation::ClockQuality;
use crate::moment::Moment;

/// A difference between the clocks that is a step.
const STEP_S: f64 = 2.0;
/// The file that systemd's time service makes once it has synchronised.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// The folder of the time service; where it is not, nothing is known.
const TIME_SERVICE: &str = "/run/systemd/timesync";

/// The clock of one start.
#[derive(Debug, Clone, Copy)]
pub struct SiteClock {
    started: Instant,
    /// `elapsed_ms` at the start.
    base_ms: u64,
}

impl SiteClock {
    /// A clock that goes on after the last moment of an earlier start. The time in between counts
    /// as the wall clock says, if it went forward.
    pub fn starting_after(last: Option<Moment>) -> Self {
        let utc_us = wall_us();
        let base_ms = last.map_or(0, |last| {
            let pause_us = utc_us.saturating_sub(last.utc_us).max(0);
            last.elapsed_ms + 1 + pause_us.unsigned_abs() / 1_000
        });
        Self {
            started: Instant::now(),
            base_ms,
        }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.at(Instant::now(), wall_us())
    }

    /// The moment of a time of the wall clock, which was at most some minutes ago.
    pub fn moment_of(&self, utc_us: i64) -> Moment {
        let now = self.now();
        let ago_us = now.utc_us.saturating_sub(utc_us).max(0).unsigned_abs();
        Moment {
            elapsed_ms: now.elapsed_ms.saturating_sub(ago_us / 1_000),
            utc_us,
        }
    }

    fn at(&self, now: Instant, utc_us: i64) -> Moment {
        let since = now.saturating_duration_since(self.started).as_millis();
        Moment {
            elapsed_ms: self.base_ms + u64::try_from(since).unwrap_or(u64::MAX / 2),
            utc_us,
        }
    }
}

/// Looks at how far the two clocks agree.
#[derive(Debug)]
pub struct ClockWatch {
    /// Both clocks at the last look.
    last: (Instant, i64),
    unsynchronised_since: Option<Instant>,
}

impl ClockWatch {
    /// Looks for the first time.
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Self {
        Self {
            last: (Instant::now(), wall_us()),
            unsynchronised_since: None,
        }
    }

    /// How far the wall clock can be trusted since the last call.
    pub fn quality(&mut self) -> ClockQuality {
        let is_unsynchronised =
            Path::new(TIME_SERVICE).exists() && !Path::new(SYNCHRONISED).exists();
        self.quality_at(Instant::now(), wall_us(), is_unsynchronised)
    }

    fn quality_at(&mut self, now: Instant, utc_us: i64, is_unsynchronised: bool) -> ClockQuality {
        let (last, last_us) = self.last;
        let monotonic_s = now.saturating_duration_since(last).as_secs_f64();
        let wall_s = (utc_us - last_us) as f64 / 1e6;
        self.last = (now, utc_us);
        self.unsynchronised_since = match is_unsynchronised {
            true => self.unsynchronised_since.or(Some(now)),
            false => None,
        };
        let difference_s = wall_s - monotonic_s;
        ClockQuality {
            stepped_s: (difference_s.abs() > STEP_S).then_some(difference_s),
            unsynchronised_s: self
                .unsynchronised_since
                .map(|since| now.saturating_duration_since(since).as_secs()),
        }
    }
}

fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_go_on_over_a_restart_and_never_back() {
        let before = Moment {
            elapsed_ms: 5_000,
            utc_us: wall_us() - 60_000_000,
        };
        let after = SiteClock::starting_after(Some(before)).now();
        assert!((64_000..75_000).contains(&after.elapsed_ms), "{after:?}");
        let future = Moment {
            elapsed_ms: 5_000,
            utc_us: wall_us() + 60_000_000,
        };
        let after = SiteClock::starting_after(Some(future)).now();
        assert!((5_001..15_000).contains(&after.elapsed_ms), "{after:?}");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_seen_once_and_moves_no_timer() {
        let mut watch = ClockWatch::new();
        let (start, wall) = watch.last;
        let clock = SiteClock {
            started: start,
            base_ms: 0,
        };
        let later = start + Duration::from_secs(10);
        let quality = watch.quality_at(later, wall + 11_000_000, false);
        assert_eq!(quality.stepped_s, None, "a second is no step");
        let next = later + Duration::from_secs(5);
        let quality = watch.quality_at(next, wall + 3_616_000_000, true);
        assert!(
            quality
                .stepped_s
                .is_some_and(|step| (step - 3_600.0).abs() < 0.01)
        );
        assert_eq!(clock.at(next, 0).elapsed_ms, 15_000);
        let after = next + Duration::from_secs(700);
        let quality = watch.quality_at(after, wall + 4_316_000_000, true);
        assert_eq!(
            (quality.stepped_s, quality.unsynchronised_s),
            (None, Some(700))
        );
    }
}
