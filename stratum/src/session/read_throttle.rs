//! How fast a connection is read: a burst is taken at once, what is more waits in its own socket.
//!
//! Reading and refusing a line costs little, but not nothing: a connection that sends without pause
//! must not get more of the processor than the others. A connection whose shares find the verifier
//! full is read less and less often until one of its shares is good, so that asking again at once
//! gains nothing.

use std::time::Duration;
use tokio::time::Instant;

use crate::defence::config::DefenceConfig;
use crate::token_bucket::{Bucket, Rate};

/// Pauses grow to eight seconds: XMRig leaves a pool that has not answered for twenty.
const MOST_DOUBLINGS: u8 = 3;

/// The pace of one connection.
pub(crate) struct ReadThrottle {
    rate: Rate,
    bucket: Bucket,
    /// Shares in a row that the pool was too busy for.
    busy: u8,
    /// When the next line may be read.
    pub(crate) next: Instant,
}

impl ReadThrottle {
    /// A connection that has sent nothing yet.
    pub(crate) fn new(settings: &DefenceConfig, now_ms: u64) -> Self {
        let rate = Rate {
            per_s: f64::from(settings.lines_per_s),
            burst: f64::from(settings.lines_burst),
        };
        Self {
            rate,
            bucket: Bucket::full(rate, now_ms),
            busy: 0,
            next: Instant::now(),
        }
    }

    /// A line was read.
    pub(crate) fn line(&mut self, now_ms: u64) {
        self.bucket.charge(self.rate, 1.0, now_ms);
        let owed = (1.0 - self.bucket.level(self.rate, now_ms)).max(0.0);
        if owed > 0.0 {
            self.next = self
                .next
                .max(Instant::now() + Duration::from_secs_f64(owed / self.rate.per_s));
        }
    }

    /// The pool was too busy for a share of it.
    pub(crate) fn busy(&mut self) {
        let pause = Duration::from_secs(1 << self.busy.min(MOST_DOUBLINGS));
        self.busy = self.busy.saturating_add(1);
        self.next = self.next.max(Instant::now() + pause);
    }

    /// A share of it was good.
    pub(crate) fn calm(&mut self) {
        self.busy = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_is_told_that_the_pool_is_busy_is_heard_less_and_less_until_a_share_is_good() {
        let mut throttle = ReadThrottle::new(&DefenceConfig::default(), 0);
        let start = Instant::now();
        let mut pause = |what: fn(&mut ReadThrottle)| {
            what(&mut throttle);
            throttle.next.saturating_duration_since(start).as_secs()
        };
        assert_eq!(
            [(); 6].map(|()| pause(ReadThrottle::busy)),
            [1, 2, 4, 8, 8, 8]
        );
        assert_eq!(pause(ReadThrottle::calm), 8, "what was said stands");
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(pause(ReadThrottle::busy), 9);
    }
}
