//! Watches the chain for the blocks of this pool and writes a row for each step in their lives.
//!
//! What was written is known from the stream itself, so a restart goes on where the last process
//! stopped: also with a block whose outcome row a crash cut off. One process watches for one pool
//! name; two would write each step twice.

use headframe_schemas::stream::blocks::{Block, Terms};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::open_blocks::{BlockKey, Entry, OpenBlocks};
use super::{BlockStage, ConfirmationRules, is_over, next_steps};
use crate::chain::coinbase_tag::TaggedBlock;
use crate::chain::{Chain, ChainError, ChainPosition};
use crate::facts::{FactError, Facts};
use crate::pool::unix_time_us;
use crate::template_watcher::CurrentWork;

/// The worker in the row of a block that nothing but the chain told of.
pub(crate) const RECOVERED: &str = "_recovered";
/// Blocks below the newest share's that are searched, too: the chain may have been shorter when it
/// was found.
const SEARCH_BEFORE: u64 = 10;
/// Heights searched between two looks at how far the search has come.
const SEARCH_AT_ONCE: u64 = 100;

/// How far the search for blocks without rows has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RecoverySearch {
    /// Where to begin is not known yet.
    #[default]
    Begin,
    /// At this height next.
    At(u64),
    /// What comes now is watched as it is found.
    Done,
}

/// Why the search cannot go on yet.
#[derive(Debug, thiserror::Error)]
enum SearchError {
    #[error(transparent)]
    Facts(#[from] FactError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Between tries to read the stream.
const RETRY: Duration = Duration::from_secs(1);

/// The ledger as submissions and watcher share it.
#[derive(Clone, Default)]
pub(crate) struct SharedOpenBlocks(Arc<Mutex<OpenBlocks>>);

impl SharedOpenBlocks {
    /// The ledger, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenBlocks> {
        // Each method leaves the ledger whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watcher, to be run.
pub(crate) struct BlockWatcher {
    pub(crate) pool: String,
    /// The address that found blocks pay.
    pub(crate) wallet: String,
    /// On which terms a block is paid whose own row is lost.
    pub(crate) terms: Terms,
    pub(crate) blocks: SharedOpenBlocks,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) facts: Arc<dyn Facts>,
    /// Changes with every template, and so with every new block.
    pub(crate) work: watch::Receiver<CurrentWork>,
    pub(crate) rules: ConfirmationRules,
    pub(crate) every: Duration,
    /// Where the chain is searched next for blocks whose rows a crash cut off.
    pub(crate) search: RecoverySearch,
}

impl BlockWatcher {
    /// Watches until told to stop. A row that is being written then may or may not become durable;
    /// the next start asks.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let watch = async {
            self.recall().await;
            loop {
                if let Err(error) = self.recover_blocks().await {
                    tracing::warn!(%error, "the chain is not searched yet for blocks of earlier runs");
                }
                self.check_open_blocks().await;
                metrics::gauge!("headframe_stratum_blocks_open")
                    .set(self.blocks.lock().len() as f64);
                tokio::select! {
                    // The feed ends only with the pool; then there is only the clock.
                    Ok(()) = self.work.changed() => {}
                    () = tokio::time::sleep(self.every) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch => {}
        }
    }

    /// Reads what earlier processes wrote, for as long as it takes.
    async fn recall(&self) {
        while let Err(error) = self.restore().await {
            tracing::warn!(%error, "the blocks of earlier runs are not known yet; trying again");
            tokio::time::sleep(RETRY).await;
        }
        let open = self.blocks.lock().len();
        if open > 0 {
            tracing::info!(open, "watching blocks of earlier runs");
        }
    }

    async fn restore(&self) -> Result<(), FactError> {
        let uncertain = self.blocks.lock().uncertain();
        let rows = self.facts.block_rows(&self.pool).await?;
        self.blocks.lock().restore(&uncertain, rows);
        Ok(())
    }

    /// Searches the chain, once a run, for blocks that were submitted and left no row: from where
    /// the pool worked last to the end.
    async fn recover_blocks(&mut self) -> Result<(), SearchError> {
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
        let row = Block {
            event_time: unix_time_us(),
            pool: self.pool.clone(),
            hash: hex::encode(block.hash),
            height: i64::try_from(block.height).unwrap_or(i64::MAX),
            miner: self.wallet.clone(),
            worker: RECOVERED.to_owned(),
            status: String::new(),
            network_difficulty: i128::try_from(block.network_difficulty).unwrap_or(i128::MAX),
            reward_atomic: i128::try_from(block.reward_atomic).ok(),
            reason: None,
            terms: self.terms.clone(),
        };
        if self.blocks.lock().adopt(
            BlockKey {
                height: block.height,
                hash: block.hash,
            },
            row,
        ) {
            tracing::warn!(block = %hex::encode(block.hash), height = block.height, "a block of this pool had no row; it is written now");
        }
    }

    /// Asks the chain about every open block.
    async fn check_open_blocks(&mut self) {
        self.work.borrow_and_update();
        if !self.blocks.lock().uncertain().is_empty()
            && let Err(error) = self.restore().await
        {
            tracing::warn!(%error, "rows about found blocks are in doubt");
        }
        let watched = self.blocks.lock().watched();
        for (key, entry) in watched {
            // The daemon's answer comes first, as it did; what the chain says now is asked the next
            // time.
            if let Some(pending_outcome) = entry
                .pending_outcome
                .clone()
                .filter(|_| entry.stage == BlockStage::Candidate)
            {
                self.write(&key, &entry, pending_outcome.0, pending_outcome.1)
                    .await;
                continue;
            }
            let position = match self.chain.position(key.hash, key.height).await {
                Ok(position) => position,
                Err(error) => {
                    tracing::debug!(%error, "the chain cannot be asked about found blocks now");
                    return;
                }
            };
            self.follow(&key, &entry, position).await;
        }
    }

    async fn follow(&self, key: &BlockKey, entry: &Entry, position: ChainPosition) {
        let mut stage = entry.stage;
        for step in next_steps(stage, position, self.rules) {
            // A block that was never written owes the daemon's answer next.
            let pending_outcome =
                entry.stage == BlockStage::Unwritten && entry.pending_outcome.is_some();
            let reason = (step == BlockStage::Orphaned)
                .then(|| "another block of this height is on the best chain".to_owned());
            if !self.write(key, entry, step, reason).await || pending_outcome {
                return;
            }
            stage = step;
        }
        if is_over(stage, position, self.rules) {
            self.blocks.lock().close(key);
        }
    }

    /// Writes one step; `false` when its fate is open.
    async fn write(
        &self,
        key: &BlockKey,
        entry: &Entry,
        stage: BlockStage,
        reason: Option<String>,
    ) -> bool {
        let Some(status) = stage.as_str() else {
            return true;
        };
        let row = Block {
            event_time: unix_time_us(),
            status: status.to_owned(),
            reason: reason.clone(),
            ..entry.row.clone()
        };
        if let Err(error) = self.facts.block(row).await {
            tracing::warn!(block = %entry.row.hash, status, %error, "a step of a block is in doubt");
            self.blocks.lock().mark_uncertain(key);
            return false;
        }
        self.blocks.lock().advance(key, stage);
        metrics::counter!("headframe_stratum_block_steps_total", "status" => status).increment(1);
        tracing::info!(block = %entry.row.hash, height = key.height, worker = %entry.row.worker, status, reason, "block");
        true
    }
}
