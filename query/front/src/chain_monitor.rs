//! The chain's newest block, as the pool of this process sees it.

/// Tells where the chain is.
pub trait ChainMonitor: Send + Sync {
    /// The newest block; `None` before the daemon has said so.
    fn tip(&self) -> Option<ChainTip>;
}

/// The newest block of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainTip {
    /// Its height.
    pub height: u64,
    /// Its id, 64 hex digits; empty where nobody here knows it.
    pub hash: String,
    /// When it was seen first, seconds since 1970.
    pub seen_s: i64,
    /// Hashes that the next block costs.
    pub difficulty: u128,
    /// What the next block pays, atomic units; 0 where nobody here knows it.
    pub reward_atomic: u128,
}
