//! The open blocks: what is known of each, and who may write its next row.
//!
//! Two tasks write rows of a block: first the submission, later the watcher. They are kept apart
//! here. While it is not known whether a row became durable, the stream itself is asked before
//! anything is written again, so that no step is written twice.

use headframe_schemas::stream::blocks::{Block, PayoutTerms};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BlockStage;
use crate::chain::Hash;

/// Open blocks remembered; beyond it the lowest is given up, which only a chain without work can
/// bring about.
pub const MAX_OPEN: usize = 10_000;

/// A block's place in the ledger. The height is there for the order; the identity is the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Height of the block.
    pub height: u64,
    /// Id of the block.
    pub hash: Hash,
}

/// One open block.
#[derive(Debug, Clone)]
pub struct Entry {
    /// A row of it; each step changes status, time and reason.
    pub row: Block,
    /// Its newest durable step.
    pub stage: BlockStage,
    /// What the daemon answered when that could not be written.
    pub pending_outcome: Option<(BlockStage, Option<String>)>,
    /// Why the operator must confirm it before anything else is written, if so.
    pub hold: Option<String>,
    writer: Writer,
}

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The submission, which is under way.
    Submission,
    /// The watcher.
    Watcher,
    /// Nobody, before the stream has been asked what it holds.
    Unknown,
}

/// The open blocks of one pool.
#[derive(Debug, Default)]
pub struct OpenBlocks {
    open: BTreeMap<BlockKey, Entry>,
}

impl OpenBlocks {
    /// A block is about to be submitted; `row` is its candidate row. `false` when the block is
    /// known already.
    pub fn begin(&mut self, key: BlockKey, row: Block) -> bool {
        if self.open.contains_key(&key) {
            return false;
        }
        self.insert(
            key,
            Entry {
                row,
                stage: BlockStage::Unwritten,
                pending_outcome: None,
                hold: None,
                writer: Writer::Submission,
            },
        );
        true
    }

    /// A block that the chain has and no row tells of; with `hold` nothing proves it this pool's.
    /// `false` when it is known after all.
    pub fn adopt(&mut self, key: BlockKey, row: Block, hold: Option<String>) -> bool {
        if self.open.contains_key(&key) {
            return false;
        }
        self.insert(
            key,
            Entry {
                row,
                stage: BlockStage::Unwritten,
                pending_outcome: None,
                hold,
                writer: Writer::Watcher,
            },
        );
        true
    }

    /// The operator confirms a block that nothing proves: it is this pool's, on these terms.
    pub fn confirm(&mut self, key: &BlockKey, terms: PayoutTerms) {
        if let Some(entry) = self.open.get_mut(key) {
            (entry.row.terms, entry.hold) = (terms, None);
        }
    }

    /// The blocks that wait for the operator, lowest first.
    pub fn unproven(&self) -> Vec<(BlockKey, Entry)> {
        self.open
            .iter()
            .filter(|(_, entry)| entry.stage == BlockStage::Unproven)
            .map(|(key, entry)| (*key, entry.clone()))
            .collect()
    }

    /// The submission wrote its outcome.
    pub fn record_outcome(&mut self, key: &BlockKey, stage: BlockStage) {
        if let Some(entry) = self.open.get_mut(key) {
            (entry.stage, entry.writer) = (stage, Writer::Watcher);
        }
    }

    /// Rows of the submission may be missing; `pending_outcome` is the daemon's answer.
    pub fn record_uncertain_outcome(
        &mut self,
        key: &BlockKey,
        pending_outcome: (BlockStage, Option<String>),
    ) {
        if let Some(entry) = self.open.get_mut(key) {
            (entry.pending_outcome, entry.writer) = (Some(pending_outcome), Writer::Unknown);
        }
    }

    /// The watcher wrote a step.
    pub fn advance(&mut self, key: &BlockKey, stage: BlockStage) {
        if let Some(entry) = self.open.get_mut(key) {
            entry.stage = stage;
            // The daemon's answer is history once something later is known.
            entry.pending_outcome = entry
                .pending_outcome
                .take()
                .filter(|_| stage == BlockStage::Candidate);
        }
    }

    /// A row of the watcher may or may not be durable.
    pub fn mark_uncertain(&mut self, key: &BlockKey) {
        if let Some(entry) = self.open.get_mut(key) {
            entry.writer = Writer::Unknown;
        }
    }

    /// The blocks in doubt. Ask for them before the stream is read: what is in doubt only
    /// afterwards is not answered by it.
    pub fn uncertain(&self) -> BTreeSet<BlockKey> {
        self.open
            .iter()
            .filter(|(_, entry)| entry.writer == Writer::Unknown)
            .map(|(key, _)| *key)
            .collect()
    }

    /// Takes over what the stream holds: of blocks that are not known here, and of those that were
    /// in doubt before it was read. `rows` are all rows of the pool, oldest first.
    pub fn restore(&mut self, uncertain: &BTreeSet<BlockKey>, rows: Vec<Block>) {
        let mut held: BTreeMap<BlockKey, (Block, BlockStage)> = BTreeMap::new();
        for row in rows {
            let (Some(key), Some(stage)) = (key_of(&row), BlockStage::parse(&row.status)) else {
                continue;
            };
            // A candidate row is the first, or the first after the operator's word; one that comes
            // late says nothing new.
            let is_first = held
                .get(&key)
                .is_none_or(|(_, stage)| *stage == BlockStage::Unproven);
            if stage != BlockStage::Candidate || is_first {
                held.insert(key, (row, stage));
            }
        }
        for key in uncertain.iter().filter(|key| !held.contains_key(key)) {
            if let Some(entry) = self.open.get_mut(key) {
                (entry.stage, entry.writer) = (BlockStage::Unwritten, Writer::Watcher);
            }
        }
        for (key, (row, stage)) in held {
            match self.open.get_mut(&key) {
                Some(entry) if uncertain.contains(&key) => {
                    entry.pending_outcome = entry
                        .pending_outcome
                        .take()
                        .filter(|_| stage == BlockStage::Candidate);
                    (entry.stage, entry.writer) = (stage, Writer::Watcher);
                }
                Some(_) => {}
                None if matches!(stage, BlockStage::Matured | BlockStage::Rejected) => {}
                None => self.insert(
                    key,
                    Entry {
                        row,
                        stage,
                        pending_outcome: None,
                        hold: None,
                        writer: Writer::Watcher,
                    },
                ),
            }
        }
    }

    /// The blocks the watcher may write about, newest first: those that a reorganisation can reach.
    pub fn watched(&self) -> Vec<(BlockKey, Entry)> {
        self.open
            .iter()
            .rev()
            .filter(|(_, entry)| entry.writer == Writer::Watcher)
            .map(|(key, entry)| (*key, entry.clone()))
            .collect()
    }

    /// Nothing can follow for this block.
    pub fn close(&mut self, key: &BlockKey) {
        self.open.remove(key);
    }

    /// How many blocks are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no block is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn insert(&mut self, key: BlockKey, entry: Entry) {
        self.open.insert(key, entry);
        if self.open.len() > MAX_OPEN
            && let Some((lowest, _)) = self.open.pop_first()
        {
            metrics::counter!("headframe_stratum_blocks_given_up_total").increment(1);
            tracing::error!(block = %hex::encode(lowest.hash), height = lowest.height, "too many \
                                                                                        open \
                                                                                        blocks; \
                                                                                        this one \
                                                                                        is no \
                                                                                        longer \
                                                                                        watched");
        }
    }
}

/// The open blocks as submissions and watcher share them.
#[derive(Clone, Default)]
pub(crate) struct SharedOpenBlocks(Arc<Mutex<OpenBlocks>>);

impl SharedOpenBlocks {
    /// The open blocks, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenBlocks> {
        // Each method leaves them whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The block a row is about; `None` when its hash or height is no such thing.
pub fn key_of(row: &Block) -> Option<BlockKey> {
    let mut hash = [0; 32];
    hex::decode_to_slice(&row.hash, &mut hash).ok()?;
    Some(BlockKey {
        height: u64::try_from(row.height).ok()?,
        hash,
    })
}
