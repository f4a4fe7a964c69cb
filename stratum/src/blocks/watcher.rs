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

use super::ledger::{Entry, Key, Ledger};
use super::{Rules, Stage, is_over, steps};
use crate::chain::mark::Marked;
use crate::chain::{Chain, ChainError, Standing};
use crate::facts::{FactError, Facts};
use crate::feed::Work;
use crate::pool::wall_us;

/// The worker in the row of a block that nothing but the chain told of.
pub(crate) const RECOVERED: &str = "_recovered";
/// Blocks below the newest share's that are searched, too: the chain may have been shorter when it
/// was found.
const SEARCH_BEFORE: u64 = 10;
/// Heights searched between two looks at how far the search has come.
const SEARCH_AT_ONCE: u64 = 100;

/// How far the search for blocks without rows has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Search {
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
pub(crate) struct Blocks(Arc<Mutex<Ledger>>);

impl Blocks {
    /// The ledger, for a moment.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Each method leaves the ledger whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watcher, to be run.
pub(crate) struct Watcher {
    pub(crate) pool: String,
    /// The address that found blocks pay.
    pub(crate) wallet: String,
    /// On which terms a block is paid whose own row is lost.
    pub(crate) terms: Terms,
    pub(crate) blocks: Blocks,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) facts: Arc<dyn Facts>,
    /// Changes with every template, and so with every new block.
    pub(crate) work: watch::Receiver<Work>,
    pub(crate) rules: Rules,
    pub(crate) every: Duration,
    /// Where the chain is searched next for blocks whose rows a crash cut off.
    pub(crate) search: Search,
}

impl Watcher {
    /// Watches until told to stop. A row that is being written then may or may not become durable;
    /// the next start asks.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let watch = async {
            self.recall().await;
            loop {
                if let Err(error) = self.search().await {
                    tracing::warn!(%error, "the chain is not searched yet for blocks of earlier runs");
                }
                self.look().await;
                metrics::gauge!("headframe_stratum_blocks_open")
                    .set(self.blocks.ledger().len() as f64);
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
        let open = self.blocks.ledger().len();
        if open > 0 {
            tracing::info!(open, "watching blocks of earlier runs");
        }
    }

    async fn restore(&self) -> Result<(), FactError> {
        let doubtful = self.blocks.ledger().doubtful();
        let rows = self.facts.block_rows(&self.pool).await?;
        self.blocks.ledger().restore(&doubtful, rows);
        Ok(())
    }

    /// Searches the chain, once a run, for blocks that were submitted and left no row: from where
    /// the pool worked last to the end.
    async fn search(&mut self) -> Result<(), SearchError> {
        if self.search == Search::Done {
            return Ok(());
        }
        let next = match self.search {
            Search::At(next) => Some(next),
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
                Search::Done
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
            for block in self.chain.marked(next..=last).await? {
                if !known.contains(&hex::encode(block.hash)) {
                    self.adopt(&block);
                }
            }
            next = last + 1;
            self.search = Search::At(next);
        }
        self.search = Search::Done;
        Ok(())
    }

    /// Takes over a block that nothing but the chain tells of. Who found it is in the share that
    /// made it, if that is durable.
    fn adopt(&self, block: &Marked) {
        let row = Block {
            event_time: wall_us(),
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
        if self.blocks.ledger().adopt(
            Key {
                height: block.height,
                hash: block.hash,
            },
            row,
        ) {
            tracing::warn!(block = %hex::encode(block.hash), height = block.height, "a block of this pool had no row; it is written now");
        }
    }

    /// Asks the chain about every open block.
    async fn look(&mut self) {
        self.work.borrow_and_update();
        if !self.blocks.ledger().doubtful().is_empty()
            && let Err(error) = self.restore().await
        {
            tracing::warn!(%error, "rows about found blocks are in doubt");
        }
        let watched = self.blocks.ledger().watched();
        for (key, entry) in watched {
            // The daemon's answer comes first, as it did; what the chain says now is asked the next
            // time.
            if let Some(owed) = entry
                .owed
                .clone()
                .filter(|_| entry.stage == Stage::Candidate)
            {
                self.write(&key, &entry, owed.0, owed.1).await;
                continue;
            }
            let standing = match self.chain.standing(key.hash, key.height).await {
                Ok(standing) => standing,
                Err(error) => {
                    tracing::debug!(%error, "the chain cannot be asked about found blocks now");
                    return;
                }
            };
            self.follow(&key, &entry, standing).await;
        }
    }

    async fn follow(&self, key: &Key, entry: &Entry, standing: Standing) {
        let mut stage = entry.stage;
        for step in steps(stage, standing, self.rules) {
            // A block that was never written owes the daemon's answer next.
            let owed = entry.stage == Stage::Unwritten && entry.owed.is_some();
            let reason = (step == Stage::Orphaned)
                .then(|| "another block of this height is on the best chain".to_owned());
            if !self.write(key, entry, step, reason).await || owed {
                return;
            }
            stage = step;
        }
        if is_over(stage, standing, self.rules) {
            self.blocks.ledger().close(key);
        }
    }

    /// Writes one step; `false` when its fate is open.
    async fn write(&self, key: &Key, entry: &Entry, stage: Stage, reason: Option<String>) -> bool {
        let Some(status) = stage.word() else {
            return true;
        };
        let row = Block {
            event_time: wall_us(),
            status: status.to_owned(),
            reason: reason.clone(),
            ..entry.row.clone()
        };
        if let Err(error) = self.facts.block(row).await {
            tracing::warn!(block = %entry.row.hash, status, %error, "a step of a block is in doubt");
            self.blocks.ledger().doubt(key);
            return false;
        }
        self.blocks.ledger().advance(key, stage);
        metrics::counter!("headframe_stratum_block_steps_total", "status" => status).increment(1);
        tracing::info!(block = %entry.row.hash, height = key.height, worker = %entry.row.worker, status, reason, "block");
        true
    }
}
