//! How long a miner waits before it calls a pool, or a worker its coordinator, again.

use std::time::Duration;

/// Seconds between two tries at most.
const LONGEST_WAIT_S: u64 = 30;

/// The wait after so many failures in a row, spread by `jitter` (0 to 1) to between three quarters
/// and five quarters, so that a farm does not come back all at once.
pub fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let seconds = 1_u64
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(LONGEST_WAIT_S)
        .clamp(1, LONGEST_WAIT_S);
    Duration::from_secs(seconds).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_away_is_called_less_and_less() {
        let waits = [0, 1, 2, 3, 4, 5, 6, 7, 70, u32::MAX]
            .map(|failures| retry_delay(failures, 0.5).as_secs());
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
        assert_eq!(retry_delay(3, 0.0), Duration::from_secs(3));
        assert_eq!(retry_delay(3, 1.0), Duration::from_secs(5));
    }
}
