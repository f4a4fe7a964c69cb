//! How long it takes from the moment a new block is noticed until a miner has the job on top of it.
//!
//! Hashes made on the old block in between are lost work, so both the usual and the last miner's
//! time are measured.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The broadcast to tell everybody of the newest block.
#[derive(Default)]
pub(crate) struct BroadcastLatency(Mutex<Option<Broadcast>>);

/// Its figures are looked up once: thousands of miners are served at the same moment.
struct Broadcast {
    noticed: Instant,
    delivered: u64,
    seconds: metrics::Histogram,
    last_seconds: metrics::Gauge,
    miners: metrics::Gauge,
}

impl BroadcastLatency {
    /// A new block was noticed then.
    pub(crate) fn start(&self, noticed: Instant) {
        let broadcast = Broadcast {
            noticed,
            delivered: 0,
            seconds: metrics::histogram!("headframe_stratum_block_told_seconds"),
            last_seconds: metrics::gauge!("headframe_stratum_block_told_last_seconds"),
            miners: metrics::gauge!("headframe_stratum_block_told_miners"),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(broadcast);
    }

    /// The next jobs are on the same block, only with other transactions: nobody loses anything by
    /// waiting for them.
    pub(crate) fn cancel(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One more miner's socket has a job of the newest template.
    pub(crate) fn delivered(&self) {
        let mut broadcast = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(broadcast) = broadcast.as_mut() else {
            return;
        };
        broadcast.delivered += 1;
        let seconds = broadcast.noticed.elapsed().as_secs_f64();
        broadcast.seconds.record(seconds);
        // The last delivery leaves the gauge at the time of the whole broadcast.
        broadcast.last_seconds.set(seconds);
        broadcast.miners.set(broadcast.delivered as f64);
    }
}
