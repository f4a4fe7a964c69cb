//! Times of the controller.

use serde::{Deserialize, Serialize};

/// A moment as the controller knows it.
///
/// Timers count `elapsed_ms`, which a step of the wall clock does not move; what is shown and
/// recorded is `utc_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the site's first start, from a monotonic clock; goes on over restarts.
    pub elapsed_ms: u64,
    /// Microseconds since 1970, from the wall clock.
    pub utc_us: i64,
}

impl Moment {
    /// The moment so many milliseconds later, on both clocks.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self {
            elapsed_ms: self.elapsed_ms.saturating_add(ms),
            utc_us: self
                .utc_us
                .saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)),
        }
    }

    /// Milliseconds from an earlier moment to this one; none is less than zero.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.elapsed_ms.saturating_sub(earlier.elapsed_ms)
    }
}
