//! How long it takes from the moment a new block is noticed until a miner has the job on top of it.
//!
//! Hashes made on the old block in between are lost work, so both the usual and the last miner's
//! time are measured.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The race to tell everybody of the newest block.
#[derive(Default)]
pub(crate) struct Fanout(Mutex<Option<Race>>);

/// Its figures are looked up once: thousands of miners are told at the same moment.
struct Race {
    noticed: Instant,
    told: u64,
    seconds: metrics::Histogram,
    last_seconds: metrics::Gauge,
    miners: metrics::Gauge,
}

impl Fanout {
    /// A new block was noticed then.
    pub(crate) fn begin(&self, noticed: Instant) {
        let race = Race {
            noticed,
            told: 0,
            seconds: metrics::histogram!("headframe_stratum_block_told_seconds"),
            last_seconds: metrics::gauge!("headframe_stratum_block_told_last_seconds"),
            miners: metrics::gauge!("headframe_stratum_block_told_miners"),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(race);
    }

    /// The next jobs are on the same block, only with other transactions: nobody loses anything by
    /// waiting for them.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One more miner's socket has a job of the newest template.
    pub(crate) fn told(&self) {
        let mut race = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(race) = race.as_mut() else { return };
        race.told += 1;
        let seconds = race.noticed.elapsed().as_secs_f64();
        race.seconds.record(seconds);
        // Whoever is told last leaves the gauge at the time of the whole race.
        race.last_seconds.set(seconds);
        race.miners.set(race.told as f64);
    }
}
