//! Grace for late shares: for how long work on the block before the newest still counts.
//!
//! A miner learns of a new block some time after the pool does, and what it found in between is
//! honest work that only the network's delay made late. So a share for the previous block is
//! credited in full, as accepted, while the grace lasts; it cannot become a block any more, and
//! nobody offers it as one. It begins when the pool announces the new template, it is the same for
//! all, and it is short: whoever kept to old work on purpose would gain nothing over a miner that
//! does not. Work on any older block is stale at once.

use super::template::Hash;

/// The chain's newest blocks, as jobs were made on them.
#[derive(Debug, Clone, Copy)]
pub struct ChainTips {
    grace_ms: u64,
    newest: Option<Hash>,
    /// The one before, and when it was replaced.
    previous: Option<(Hash, u64)>,
}

/// What work on a block counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareAge {
    /// It builds on the newest block.
    Current,
    /// It builds on the one before, and the grace lasts.
    Late,
    /// Nobody needs it.
    Stale,
}

impl ChainTips {
    /// No block yet.
    pub fn new(grace_ms: u64) -> Self {
        Self {
            grace_ms,
            newest: None,
            previous: None,
        }
    }

    /// Jobs are made on `tip` now. Times are milliseconds since any fixed moment.
    pub fn announce(&mut self, tip: Hash, now_ms: u64) {
        if self.newest == Some(tip) {
            return;
        }
        self.previous = self.newest.map(|old| (old, now_ms));
        self.newest = Some(tip);
    }

    /// What a share counts that arrives now and builds on `prev`.
    pub fn share_age(&self, prev: &Hash, now_ms: u64) -> ShareAge {
        if self.newest.as_ref() == Some(prev) {
            return ShareAge::Current;
        }
        match self.previous {
            Some((previous, since))
                if previous == *prev && now_ms.saturating_sub(since) < self.grace_ms =>
            {
                ShareAge::Late
            }
            _ => ShareAge::Stale,
        }
    }
}
