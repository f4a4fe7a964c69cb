//! A block that a pool found and its daemon took.

use serde_json::Value;

/// One block as it stands.
pub(crate) struct PoolBlock {
    /// 64 hex digits.
    pub(crate) hash: String,
    pub(crate) height: i64,
    /// When it was found, microseconds since 1970.
    pub(crate) found_us: i64,
    /// Hashes that it cost on average, as a text where that is exact.
    pub(crate) difficulty: Value,
    /// Hashes that the pool did for it; 0 where that is too long ago.
    pub(crate) work: u64,
    /// The last step of its life.
    pub(crate) status: String,
    /// Atomic units, as a text where that is exact.
    pub(crate) reward: Value,
    /// Who found it.
    pub(crate) miner: String,
    /// Whether it was mined solo, and pays the finder alone.
    pub(crate) solo: bool,
}

impl PoolBlock {
    /// Whether the chain went on without it.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.status == "orphaned"
    }

    /// Whether its reward can be spent.
    pub(crate) fn is_matured(&self) -> bool {
        self.status == "matured"
    }
}
