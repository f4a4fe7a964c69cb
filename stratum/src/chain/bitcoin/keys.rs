//! The key schedule: which block's hash is the RandomX key of which height.
//!
//! The key of a height is the hash of a block one to two intervals back, so that only a reorg
//! deeper than an interval can change a key in use. The daemon's template does not always name the
//! key; the heights are therefore computed here and the hashes asked for, and what comes out is
//! compared by hash, never by height.

/// Blocks between two keys on OpenSY: about an hour.
pub const OPENSY_INTERVAL: u64 = 32;

/// When the key changes, and from where RandomX is the proof of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySchedule {
    /// Blocks between two keys; at least 1.
    pub interval: u64,
    /// The first height whose work is RandomX; the blocks before are SHA-256 twice.
    pub fork_height: u64,
}

impl KeySchedule {
    /// Whether the block of this height is worked on with RandomX.
    pub fn is_randomx(&self, height: u64) -> bool {
        height >= self.fork_height
    }

    /// The height whose block hash is the key of `height`: max(0, ⌊h / interval⌋ · interval −
    /// interval) (`GetRandomXKeyBlockHeight` in OpenSY's `consensus/params.h`).
    pub fn key_height(&self, height: u64) -> u64 {
        self.epoch(height).saturating_sub(self.interval)
    }

    /// The height whose block hash is the key of the epoch after that of `height`, once that block
    /// exists: it is the first block of the running epoch, so it exists from the epoch's second
    /// block on. `None` also when the key stays.
    pub fn next_key_height(&self, height: u64) -> Option<u64> {
        let epoch = self.epoch(height);
        (epoch < height && epoch != self.key_height(height)).then_some(epoch)
    }

    /// The first height of the epoch that `height` is in.
    pub fn epoch(&self, height: u64) -> u64 {
        height - height % self.interval.max(1)
    }
}
