//! Whose shares a connection sends, and the rows that say so.

use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::shares::Share;
use std::sync::Arc;

use crate::clock::unix_time_us;
use crate::defence::worker_id::WorkerId;
use crate::share::{JobTerms, Outcome};

/// Who is paid, and the machine. The names are kept once a connection, however many shares are in
/// flight.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pool: Arc<str>,
    worker_id: Arc<WorkerId>,
    /// Whether it mines solo.
    solo: bool,
}

impl Account {
    /// The account of a worker in a pool.
    pub(crate) fn new(pool: Arc<str>, worker_id: Arc<WorkerId>, solo: bool) -> Self {
        Self {
            pool,
            worker_id,
            solo,
        }
    }

    /// Whether it mines solo.
    pub(crate) fn is_solo(&self) -> bool {
        self.solo
    }

    /// The pool's name.
    pub(crate) fn pool(&self) -> String {
        self.pool.as_ref().to_owned()
    }

    /// Who is paid.
    pub(crate) fn miner(&self) -> &str {
        &self.worker_id.wallet
    }

    /// The machine.
    pub(crate) fn worker(&self) -> &str {
        &self.worker_id.worker
    }

    /// The row of a share that was received at `event_time`.
    pub(crate) fn share(&self, event_time: i64, outcome: Outcome, terms: JobTerms) -> Share {
        Share {
            event_time,
            pool: self.pool(),
            miner: self.miner().to_owned(),
            worker: self.worker().to_owned(),
            outcome: outcome.as_str().to_owned(),
            difficulty: i64::try_from(terms.difficulty).unwrap_or(i64::MAX),
            network_difficulty: i128::try_from(terms.network_difficulty).unwrap_or(i128::MAX),
            height: i64::try_from(terms.height).unwrap_or(i64::MAX),
            block_hash: None,
            solo: self.solo.then_some(true),
        }
    }

    /// The row of the hashrate that made `work` hashes in `elapsed_s`, ending now.
    pub(crate) fn hashrate(&self, work: u128, elapsed_s: f64) -> Hashrate {
        Hashrate {
            event_time: unix_time_us(),
            pool: self.pool(),
            miner: self.miner().to_owned(),
            worker: self.worker().to_owned(),
            hashrate_hs: work as f64 / elapsed_s.max(0.001),
            source: "pool".to_owned(),
        }
    }
}
