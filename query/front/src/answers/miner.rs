//! What is answered about a miner and its workers.

use crate::answers::blocks::{BlockCounts, LastBlock};
use crate::answers::described::answer_type;
use crate::answers::pool::Verdicts;

answer_type! {
    /// A miner over all pools.
    MinerAnswer {
        /// When it was made.
        at: String,
        /// The miner's name.
        miner: String,
        /// Whether an accepted share of it came within ten minutes.
        online: bool,
        /// When its newest accepted share of ten minutes came; null where there is none.
        last_share_at: Option<String>,
        /// Workers with a share of ten minutes.
        workers: i64,
        /// Its hashrate of ten minutes, hashes a second.
        hashrate_hs: f64,
        /// Its mean of an hour, hashes a second.
        hashrate_1h_hs: f64,
        /// Its mean of a day, hashes a second.
        hashrate_24h_hs: f64,
        /// What of the hashrate is mined solo, hashes a second.
        solo_hashrate_hs: f64,
        /// What of the mean of an hour was mined solo, hashes a second.
        solo_hashrate_1h_hs: f64,
        /// What of the mean of a day was mined solo, hashes a second.
        solo_hashrate_24h_hs: f64,
        /// All its shares that are kept.
        shares: Verdicts,
        /// Its shares of a day.
        shares_24h: Verdicts,
        /// Hashes of all its shares, an exact number as text.
        work_hashes: Option<String>,
        /// Hashes of a day, an exact number as text; null where there are none.
        work_24h_hashes: Option<String>,
        /// The first day with a share that is kept.
        first_day: Option<String>,
        /// The last day with a share.
        last_day: Option<String>,
        /// How many blocks it has found.
        blocks: BlockCounts,
        /// Its newest block; null where there is none.
        last_block: Option<LastBlock>,
    }
}

answer_type! {
    /// A page of the workers of a miner that sent shares within a day, by name.
    WorkersAnswer {
        /// When it was made.
        at: String,
        /// The miner's name.
        miner: String,
        /// The workers.
        workers: Vec<WorkerNow>,
        /// The `after` of the next page; null on the last.
        next: Option<String>,
    }
}

answer_type! {
    /// A worker: what it does now, and its day.
    WorkerNow {
        /// Its name.
        worker: String,
        /// Whether an accepted share of it came within ten minutes.
        online: bool,
        /// When its newest accepted share of ten minutes came; null where there is none.
        last_share_at: Option<String>,
        /// When the newest hour with a share of it began.
        last_hour: Option<String>,
        /// Its hashrate of ten minutes, hashes a second.
        hashrate_hs: f64,
        /// Its mean of a day, hashes a second.
        hashrate_24h_hs: f64,
        /// What of the mean of a day was mined solo, hashes a second.
        solo_hashrate_24h_hs: f64,
        /// Its shares of a day.
        shares_24h: Verdicts,
        /// Hashes of a day, an exact number as text.
        work_24h_hashes: Option<String>,
    }
}
