//! A share between its check and the upstream's answer.

use std::sync::Arc;

use super::Hash;
use super::fact::ShareFact;
use super::verdict::Verdict;

/// A result as a worker sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareClaim {
    /// The coordinator's number of the job.
    pub job: u64,
    /// As a number: the four bytes, little-endian.
    pub nonce: u32,
    /// What the worker says it hashes to.
    pub hash: Hash,
}

/// A share on its way.
#[derive(Debug, Clone)]
pub(super) struct PendingShare {
    /// Whose it is.
    pub(super) worker: Arc<str>,
    pub(super) claim: ShareClaim,
    /// The block to be found.
    pub(super) height: Option<u64>,
    /// Whether its hash is recomputed here.
    pub(super) is_checked: bool,
    pub(super) space: u64,
    pub(super) local_difficulty: u64,
    pub(super) upstream_difficulty: u64,
    /// The network's, where the pool tells it.
    pub(super) network_difficulty: Option<u64>,
    pub(super) is_for_upstream: bool,
    pub(super) stage: Stage,
}

/// How far a share has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its hash is recomputed.
    Checking,
    /// It is right, and waits for the upstream.
    Queued { was_sent: bool },
    /// The upstream was sent it.
    Sent { before: bool },
}

impl PendingShare {
    /// Hashes it is worth.
    pub(super) fn difficulty(&self) -> u64 {
        if self.is_for_upstream {
            self.upstream_difficulty
        } else {
            self.local_difficulty
        }
    }

    /// What became of it.
    pub(super) fn fact(&self, verdict: &Verdict, is_block: bool) -> ShareFact {
        ShareFact {
            worker: self.worker.clone(),
            job: self.claim.job,
            nonce: self.claim.nonce,
            height: self.height,
            difficulty: self.difficulty(),
            local_verdict: verdict.local(self.is_checked),
            upstream_verdict: verdict.upstream(),
            reason: verdict.reason().map(str::to_owned),
            is_block,
        }
    }

    /// Whether the upstream has it and has not answered.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. })
    }

    /// Its end when no answer of the upstream's comes any more.
    pub(super) fn lost(&self) -> Verdict {
        match self.stage {
            Stage::Checking => Verdict::Unchecked("the coordinator was stopped".to_owned()),
            Stage::Queued { was_sent: false } => Verdict::Dead,
            Stage::Queued { was_sent: true } | Stage::Sent { .. } => Verdict::Unanswered,
        }
    }

    /// Its answer was lost with the connection.
    pub(super) fn requeue(&mut self) {
        if let Stage::Sent { .. } = self.stage {
            self.stage = Stage::Queued { was_sent: true };
        }
    }
}
