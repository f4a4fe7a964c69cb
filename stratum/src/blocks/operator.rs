//! What the operator says of blocks that nothing proves to be this pool's.

use headframe_schemas::stream::blocks::Block;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::open_blocks::SharedOpenBlocks;
use crate::chain::Hash;

/// Decisions that wait for the watcher; an operator makes them one at a time.
const WAITING: usize = 16;

/// The operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The block is this pool's: it goes the way of every other.
    Confirm,
    /// It is not; nobody is ever paid for it.
    Reject,
}

/// The hash that 64 hex digits stand for.
pub fn block_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// Why a decision was not taken.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum DecisionError {
    /// It is not unproven.
    #[error("no unproven block has this hash")]
    NoSuchBlock,
    /// Its row is in doubt.
    #[error("the decision could not be made durable; look at the block again in a moment")]
    NotDurable,
    /// The pool is gone.
    #[error("the pool has stopped")]
    Stopped,
}

/// One decision, for the watcher.
pub(crate) struct Decision {
    pub(super) hash: Hash,
    pub(super) verdict: Verdict,
    pub(super) answer: oneshot::Sender<Result<(), DecisionError>>,
}

/// The operator's side: which blocks wait, and what becomes of them.
#[derive(Clone)]
pub struct BlocksHandle {
    blocks: SharedOpenBlocks,
    decisions: mpsc::Sender<Decision>,
}

impl BlocksHandle {
    pub(crate) fn new(blocks: SharedOpenBlocks) -> (Self, mpsc::Receiver<Decision>) {
        let (decisions, taken) = mpsc::channel(WAITING);
        (Self { blocks, decisions }, taken)
    }

    /// The rows of the blocks that wait, lowest first.
    pub fn unproven(&self) -> Vec<Block> {
        let unproven = self.blocks.lock().unproven();
        unproven.into_iter().map(|(_, entry)| entry.row).collect()
    }

    /// Takes a decision; it is durable when this returns.
    pub async fn decide(&self, hash: Hash, verdict: Verdict) -> Result<(), DecisionError> {
        let (answer, decided) = oneshot::channel();
        let decision = Decision {
            hash,
            verdict,
            answer,
        };
        let sent = self.decisions.send(decision).await;
        sent.map_err(|_| DecisionError::Stopped)?;
        decided.await.map_err(|_| DecisionError::Stopped)?
    }
}
