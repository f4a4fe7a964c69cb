//! The work that pools did for their blocks, beside what a block costs on average.

use crate::answers::described::answer_type;

answer_type! {
    /// The efforts of each pool.
    EffortsAnswer {
        /// The pools, by name.
        pools: Vec<PoolEfforts>,
    }
}

answer_type! {
    /// The efforts of a pool, 1 being what a block costs on average.
    PoolEfforts {
        /// Its name.
        pool: String,
        /// The round since its last block.
        round: Round,
        /// The mean of its last ten blocks; null before the second.
        mean_10: Option<f64>,
        /// The mean of its last hundred blocks; null before the second.
        mean_100: Option<f64>,
        /// Its last hundred blocks, the newest first.
        blocks: Vec<BlockEffort>,
        /// The same of all who mine solo together; null where nobody has.
        solo: Option<SoloEfforts>,
    }
}

answer_type! {
    /// The efforts of all who mine solo at a pool together.
    SoloEfforts {
        /// The round since their last block.
        round: Round,
        /// The mean of their last ten blocks; null before the second.
        mean_10: Option<f64>,
        /// The mean of their last hundred blocks; null before the second.
        mean_100: Option<f64>,
        /// Their last hundred blocks, the newest first.
        blocks: Vec<BlockEffort>,
    }
}

answer_type! {
    /// The work since the last block.
    Round {
        /// When that block was found; null where there is none.
        since: Option<String>,
        /// Hashes since then.
        work_hashes: f64,
        /// Beside what a block costs now; null where that is not known.
        effort: Option<f64>,
    }
}

answer_type! {
    /// The effort of a block.
    BlockEffort {
        /// Its hash.
        hash: String,
        /// Its height.
        height: i64,
        /// Beside what it cost on average; null where that is not known.
        effort: Option<f64>,
    }
}
