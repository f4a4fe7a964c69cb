//! Where the chain is, as the pool of this process sees it.

use headframe_query_front::{ChainMonitor, ChainTip};
use headframe_stratum::{Stats, StatsHandle};

/// Reads it from the pool's counters.
pub struct PoolChain(pub StatsHandle);

impl ChainMonitor for PoolChain {
    fn tip(&self) -> Option<ChainTip> {
        tip(self.0.snapshot())
    }
}

fn tip(stats: Stats) -> Option<ChainTip> {
    let seen = stats.tip?;
    Some(ChainTip {
        height: stats.height.saturating_sub(1),
        hash: seen.hash,
        seen_s: seen.seen_s,
        difficulty: stats.network_difficulty,
        reward_atomic: stats.reward_atomic,
    })
}
