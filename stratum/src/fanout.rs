//! How long it takes from the moment a new block is noticed until a miner has the job on top of it.
//!
//! Hashes made on the old block in between are lost work, so both the usual and the last miner's time are measured.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The race to tell everybody of the newest block.
#[derive(Default)]
pub(crate) struct Fanout(Mutex<Option<Race>>);

struct Race {
    noticed: Instant,
    told: u64,
}

impl Fanout {
    /// A new block was noticed then.
    pub(crate) fn begin(&self, noticed: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Race { noticed, told: 0 });
    }

    /// The next jobs are on the same block, only with other transactions: nobody loses anything by waiting for them.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One more miner's socket has a job of the newest template.
    pub(crate) fn told(&self) {
        let mut race = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(race) = race.as_mut() else { return };
        race.told += 1;
        let seconds = race.noticed.elapsed().as_secs_f64();
        metrics::histogram!("headframe_stratum_block_told_seconds").record(seconds);
        // Whoever is told last leaves the gauge at the time of the whole race.
        metrics::gauge!("headframe_stratum_block_told_last_seconds").set(seconds);
        metrics::gauge!("headframe_stratum_block_told_miners").set(race.told as f64);
    }
}
