//! Watches the chain for the blocks of this pool and writes a row for each step in their lives.
//!
//! What was written is known from the stream itself, so a restart goes on where the last process
//! stopped: also with a block whose outcome row a crash cut off. One process watches for one pool
//! name; two would write each step twice.

use headframe_schemas::stream::blocks::{Block, PayoutTerms};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::open_blocks::{BlockKey, Entry, SharedOpenBlocks};
use super::operator::{Decision, DecisionError, Verdict};
use super::positions::BlockPositions;
use super::{BlockStage, ConfirmationRules, is_over, next_steps};
use crate::chain::{Chain, ChainPosition};
use crate::clock::unix_time_us;
use crate::facts::{FactError, Facts};
use crate::template_watcher::CurrentWork;

/// Between tries to read the stream.
const RETRY: Duration = Duration::from_secs(1);

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

/// The watcher, to be run.
pub(crate) struct BlockWatcher {
    pub(crate) pool: String,
    /// The address that found blocks pay.
    pub(crate) wallet: String,
    /// On which terms a block is paid whose own row is lost.
    pub(crate) terms: PayoutTerms,
    /// The same of one that was mined solo.
    pub(crate) solo_terms: PayoutTerms,
    pub(crate) blocks: SharedOpenBlocks,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) facts: Arc<dyn Facts>,
    /// Changes with every template, and so with every new block.
    pub(crate) work: watch::Receiver<CurrentWork>,
    pub(crate) rules: ConfirmationRules,
    pub(crate) every: Duration,
    /// Where the chain is searched next for blocks whose rows a crash cut off.
    pub(crate) search: RecoverySearch,
    /// What the chain said of the open blocks last.
    pub(crate) positions: BlockPositions,
    /// What the operator says of unproven blocks.
    pub(crate) decisions: mpsc::Receiver<Decision>,
}

impl BlockWatcher {
    /// Watches until told to stop. A row that is being written then may or may not become durable;
    /// the next start asks.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let watch = async {
            self.recall().await;
            loop {
                if let Err(error) = self.recover_blocks().await {
                    tracing::warn!(%error, "the chain is not searched yet for blocks of earlier \
                                            runs");
                }
                self.check_open_blocks().await;
                self.measure();
                tokio::select! {
                    // The sender ends only with the pool; then there is only the clock.
                    Ok(()) = self.work.changed() => {}
                    Some(decision) = self.decisions.recv() => self.decide(decision).await,
                    () = tokio::time::sleep(self.every) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch => {}
        }
    }

    fn measure(&self) {
        let (open, unproven) = {
            let blocks = self.blocks.lock();
            (blocks.len(), blocks.unproven().len())
        };
        metrics::gauge!("headframe_stratum_blocks_open").set(open as f64);
        metrics::gauge!("headframe_stratum_blocks_unproven").set(unproven as f64);
    }

    /// Writes what the operator says of an unproven block, and answers when that is durable.
    async fn decide(&self, decision: Decision) {
        let Decision {
            hash,
            verdict,
            answer,
        } = decision;
        let unproven = self.blocks.lock().unproven();
        let found = unproven.into_iter().find(|(key, _)| key.hash == hash);
        let decided = match found {
            None => Err(DecisionError::NoSuchBlock),
            Some((key, mut entry)) => {
                if verdict == Verdict::Confirm {
                    let terms = self.terms_of(entry.row.terms.solo == Some(true));
                    self.blocks.lock().confirm(&key, terms.clone());
                    entry.row.terms = terms;
                }
                let (stage, reason) = match verdict {
                    Verdict::Confirm => (BlockStage::Candidate, "confirmed by the operator"),
                    Verdict::Reject => (BlockStage::Rejected, "rejected by the operator"),
                };
                let written = self
                    .write(&key, &entry, stage, Some(reason.to_owned()))
                    .await;
                if written && verdict == Verdict::Reject {
                    self.blocks.lock().close(&key);
                }
                written.then_some(()).ok_or(DecisionError::NotDurable)
            }
        };
        // Whoever asked may have gone; the row says it as well.
        let _ = answer.send(decided);
    }

    /// The terms of a block whose own row is lost, by whether it was mined solo.
    pub(super) fn terms_of(&self, solo: bool) -> PayoutTerms {
        match solo {
            true => self.solo_terms.clone(),
            false => self.terms.clone(),
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

    /// Looks at every open block and writes what follows from it.
    async fn check_open_blocks(&mut self) {
        self.work.borrow_and_update();
        if !self.blocks.lock().uncertain().is_empty()
            && let Err(error) = self.restore().await
        {
            tracing::warn!(%error, "rows about found blocks are in doubt");
        }
        let mut unfinished = Vec::new();
        let watched = self.blocks.lock().watched();
        for (key, entry) in watched {
            match (entry.stage, &entry.pending_outcome, &entry.hold) {
                // The daemon's answer comes first, as it did; what the chain says now is asked the
                // next time.
                (BlockStage::Candidate, Some((stage, reason)), _) => {
                    self.write(&key, &entry, *stage, reason.clone()).await;
                }
                (BlockStage::Unwritten, _, Some(reason)) => {
                    let reason = Some(reason.clone());
                    self.write(&key, &entry, BlockStage::Unproven, reason).await;
                }
                _ => unfinished.push((key, entry)),
            }
        }
        let keys: Vec<BlockKey> = unfinished.iter().map(|(key, _)| *key).collect();
        let (positions, failed) = self.positions.ask(&*self.chain, &keys).await;
        if let Some(error) = failed {
            tracing::debug!(%error, "the chain cannot be asked about every found block now");
        }
        for (key, entry) in unfinished {
            if let Some(position) = positions.get(&key) {
                self.follow(&key, &entry, *position).await;
            }
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
        let terms = match stage {
            // Nobody is paid for it, so that no window is frozen. How it was mined is said all the
            // same: the operator's word may come after a restart.
            BlockStage::Unproven | BlockStage::Rejected => PayoutTerms {
                solo: entry.row.terms.solo,
                ..PayoutTerms::default()
            },
            _ => entry.row.terms.clone(),
        };
        let row = Block {
            event_time: unix_time_us(),
            status: status.to_owned(),
            reason: reason.clone(),
            terms,
            ..entry.row.clone()
        };
        if let Err(error) = self.facts.block(row).await {
            tracing::warn!(block = %entry.row.hash, status, %error, "a step of a block is in \
                                                                     doubt");
            self.blocks.lock().mark_uncertain(key);
            return false;
        }
        self.blocks.lock().advance(key, stage);
        metrics::counter!("headframe_stratum_block_steps_total", "status" => status).increment(1);
        tracing::info!(block = %entry.row.hash, height = key.height, worker = %entry.row.worker,
            status, reason, "block");
        true
    }
}
