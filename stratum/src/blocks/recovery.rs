//! The search for blocks of this pool whose rows a crash cut off.
//!
//! A block with the pool's proof is the pool's. One with the pool's public name alone may be
//! anybody's, or the pool's own of an earlier version or with a lost key: it waits for the
//! operator.

use headframe_schemas::stream::blocks::Block;
use std::collections::BTreeSet;

use super::open_blocks::BlockKey;
use super::watcher::{BlockWatcher, RecoverySearch};
use crate::chain::ChainError;
use crate::chain::coinbase_tag::{TagProof, TaggedBlock};
use crate::clock::unix_time_us;
use crate::facts::FactError;

/// The worker in the row of a block that nothing but the chain told of.
pub(crate) const RECOVERED: &str = "_recovered";
/// Blocks below the newest share's that are searched, too: the chain may have been shorter when it
/// was found.
const SEARCH_BEFORE: u64 = 10;
/// Heights searched between two looks at how far the search has come.
const SEARCH_AT_ONCE: u64 = 100;

/// Why a block is held.
const UNPROVEN: &str =
    "its coinbase carries the pool's public tag, but no proof made with the pool's key";

/// Why the search cannot go on yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum SearchError {
    #[error(transparent)]
    Facts(#[from] FactError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl BlockWatcher {
    /// Searches the chain, once a run, for blocks that were submitted and left no row: from where
    /// the pool worked last to the end.
    pub(super) async fn recover_blocks(&mut self) -> Result<(), SearchError> {
        if self.search == RecoverySearch::Done {
            return Ok(());
        }
        let next = match self.search {
            RecoverySearch::At(next) => Some(next),
            _ => self
                .facts
                .newest_height(&self.pool)
                .await?
                .map(|height| height.saturating_sub(SEARCH_BEFORE)),
        };
        let tip = self.chain.tip().await?;
        let (Some(mut next), None) = (next, &tip.unready) else {
            // Without a share there was no block; without a daemon that is fit there is nothing to
            // search yet.
            self.search = if tip.unready.is_none() {
                RecoverySearch::Done
            } else {
                self.search
            };
            return Ok(());
        };
        let known: BTreeSet<String> = self
            .facts
            .block_rows(&self.pool)
            .await?
            .into_iter()
            .map(|row| row.hash)
            .collect();
        while next < tip.next_height {
            let last = (next + SEARCH_AT_ONCE - 1).min(tip.next_height - 1);
            for block in self.chain.tagged_blocks(next..=last).await? {
                if !known.contains(&hex::encode(block.hash)) {
                    self.adopt(&block);
                }
            }
            next = last + 1;
            self.search = RecoverySearch::At(next);
        }
        self.search = RecoverySearch::Done;
        Ok(())
    }

    /// Takes over a block that nothing but the chain tells of. Who found it is in the share that
    /// made it, if that is durable.
    fn adopt(&self, block: &TaggedBlock) {
        let id = hex::encode(block.hash);
        let hold = (block.proof == TagProof::Unproven).then(|| UNPROVEN.to_owned());
        let row = Block {
            event_time: unix_time_us(),
            pool: self.pool.clone(),
            hash: id.clone(),
            height: i64::try_from(block.height).unwrap_or(i64::MAX),
            miner: self.wallet.clone(),
            worker: RECOVERED.to_owned(),
            status: String::new(),
            network_difficulty: i128::try_from(block.network_difficulty).unwrap_or(i128::MAX),
            reward_atomic: i128::try_from(block.reward_atomic).ok(),
            reason: None,
            terms: self.terms_of(block.solo),
        };
        let key = BlockKey {
            height: block.height,
            hash: block.hash,
        };
        if !self.blocks.lock().adopt(key, row, hold.clone()) {
            return;
        }
        let height = block.height;
        if hold.is_none() {
            tracing::warn!(block = %id, height, "a block of this pool had no row; it is written \
                                                 now");
        } else {
            tracing::warn!(
                block = %id, height,
                "a block carries this pool's public tag and no proof; nobody is paid for it before \
                 `headframe blocks confirm {id}` (or reject)"
            );
        }
    }
}
