//! Sums since the start, of the cluster and of each worker.

use serde::Serialize;

/// Sums over all workers since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Shares that were right.
    pub valid: u64,
    /// Shares that were not.
    pub invalid: u64,
    /// Shares the upstream took.
    pub accepted: u64,
    /// Shares the upstream refused.
    pub refused_upstream: u64,
    /// Right shares whose job ended before they could be sent.
    pub dead: u64,
    /// Right shares that the upstream was sent and never answered.
    pub unanswered: u64,
    /// Shares the upstream took that were blocks, where the pool tells the network's difficulty.
    pub blocks: u64,
}

/// Sums of one worker since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WorkerTotals {
    /// Shares that were right.
    pub valid: u64,
    /// Hashes those are worth.
    pub hashes: u128,
    /// Shares that the coordinator refused before it recomputed them.
    pub refused_here: u64,
    /// Shares whose hash was wrong.
    pub wrong: u64,
    /// Shares the upstream took.
    pub accepted: u64,
    /// Shares the upstream refused.
    pub refused_upstream: u64,
}
