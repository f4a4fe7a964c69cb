//! How fast a connection is read: a burst is taken at once, what is more waits in its own socket.
//!
//! Reading and refusing a line costs little, but not nothing, and whoever sends without pause must not get more of the
//! processor than the others.

use std::time::Duration;
use tokio::time::Instant;

use crate::defence::bucket::{Bucket, Rate};
use crate::defence::settings::Settings;

/// The pace of one connection.
pub(super) struct Tempo {
    rate: Rate,
    bucket: Bucket,
    /// When the next line may be read.
    pub(super) next: Instant,
}

impl Tempo {
    /// A connection that has sent nothing yet.
    pub(super) fn new(settings: &Settings, now_ms: u64) -> Self {
        let rate = Rate { per_s: f64::from(settings.lines_per_s), burst: f64::from(settings.lines_burst) };
        Self { rate, bucket: Bucket::full(rate, now_ms), next: Instant::now() }
    }

    /// A line was read.
    pub(super) fn line(&mut self, now_ms: u64) {
        self.bucket.charge(self.rate, 1.0, now_ms);
        let owed = (1.0 - self.bucket.level(self.rate, now_ms)).max(0.0);
        if owed > 0.0 {
            self.next = Instant::now() + Duration::from_secs_f64(owed / self.rate.per_s);
        }
    }
}
