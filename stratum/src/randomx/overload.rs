//! OverloadFactor: by how much jobs should be harder because verification cannot keep up.
//!
//! Twice the difficulty is half the shares for the same pay, so this is the one lever against too
//! much honest work that takes nothing from anybody.

/// Doublings at most.
const MAX_DOUBLINGS: u32 = 6;
/// Between two doublings, so that the first one's effect is seen.
const STEP_MS: u64 = 15_000;
/// Calm that undoes a doubling, in overloads.
const CALM_FACTOR: u64 = 8;
/// The shortest calm.
const MIN_CALM_MS: u64 = 60_000;

/// The level, and when it last had a reason to change.
#[derive(Debug)]
pub(super) struct OverloadFactor {
    overload_ms: u64,
    level: u32,
    changed_ms: Option<u64>,
    slow_ms: u64,
}

impl OverloadFactor {
    /// None, until a share waited longer than so many milliseconds.
    pub(super) fn new(overload_ms: u64) -> Self {
        Self {
            overload_ms,
            level: 0,
            changed_ms: None,
            slow_ms: 0,
        }
    }

    /// A proven miner's share waited so long.
    pub(super) fn record_wait(&mut self, waited_ms: u64, now_ms: u64) {
        if waited_ms <= self.overload_ms {
            return;
        }
        self.slow_ms = now_ms;
        let due = self
            .changed_ms
            .is_none_or(|changed| now_ms >= changed.saturating_add(STEP_MS));
        if due && self.level < MAX_DOUBLINGS {
            self.level += 1;
            self.changed_ms = Some(now_ms);
        }
    }

    /// The factor now.
    pub(super) fn factor(&mut self, now_ms: u64) -> u64 {
        let calm_ms = self
            .overload_ms
            .saturating_mul(CALM_FACTOR)
            .max(MIN_CALM_MS);
        let calm_since = self.slow_ms.max(self.changed_ms.unwrap_or(0));
        if self.level > 0 && now_ms >= calm_since.saturating_add(calm_ms) {
            self.level -= 1;
            self.changed_ms = Some(now_ms);
        }
        1 << self.level
    }
}
