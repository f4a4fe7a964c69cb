//! What is answered about pools.

use crate::answers::blocks::{BlockCounts, LastBlock};
use crate::answers::described::answer_type;

answer_type! {
    /// Every pool.
    PoolsAnswer {
        /// When it was made.
        at: String,
        /// Seconds of shares that tell what is done now.
        now_s: i64,
        /// The pools, by name.
        pools: Vec<PoolNow>,
    }
}

answer_type! {
    /// A pool: what it does now, its means, and its blocks.
    PoolNow {
        /// Its name.
        pool: String,
        /// Its hashrate now, hashes a second.
        hashrate_hs: f64,
        /// Its mean of an hour, hashes a second.
        hashrate_1h_hs: f64,
        /// Its mean of a day, hashes a second.
        hashrate_24h_hs: f64,
        /// Miners with an accepted share now.
        miners: i64,
        /// Workers with an accepted share now.
        workers: i64,
        /// What of the hashrate is mined solo, hashes a second.
        solo_hashrate_hs: f64,
        /// Miners who mine solo now.
        solo_miners: i64,
        /// Workers that mine solo now.
        solo_workers: i64,
        /// Accepted shares a second now.
        shares_per_s: f64,
        /// Shares of now.
        shares: Verdicts,
        /// Shares of a day.
        shares_24h: Verdicts,
        /// Hashes of a day, an exact number as text; null where there are none.
        work_24h_hashes: Option<String>,
        /// When its newest accepted share of now came; null where there is none.
        last_share_at: Option<String>,
        /// The height that its newest shares are for; null where there are none.
        height: Option<i64>,
        /// Hashes that a block costs on average, an exact number as text; null where it is not
        /// known.
        network_difficulty: Option<String>,
        /// How many blocks it has.
        blocks: BlockCounts,
        /// Its newest block; null where there is none.
        last_block: Option<LastBlock>,
    }
}

answer_type! {
    /// Shares by their verdict.
    Verdicts {
        /// Accepted ones.
        accepted: i64,
        /// Those that came too late.
        stale: i64,
        /// Those that were refused for another reason.
        rejected: i64,
    }
}

answer_type! {
    /// The miners with the most work of a day.
    TopMinersAnswer {
        /// The miners, the hardest working first.
        miners: Vec<TopMiner>,
    }
}

answer_type! {
    /// A miner among those with the most work.
    TopMiner {
        /// Its pool.
        pool: String,
        /// Its shortened address.
        miner: String,
        /// Accepted shares that are kept.
        accepted: Option<i64>,
        /// Refused shares that are kept.
        refused: Option<i64>,
        /// Its hashrate now, hashes a second; null when it is gone.
        hashrate_hs: Option<f64>,
    }
}
