//! What the upstream credits: the difficulties of the shares that it took over ten minutes.

use std::collections::VecDeque;

/// Shares are summed in steps, so that there are never more than a few.
const STEP_MS: u64 = 10_000;
const STEPS: u64 = 60;

/// Sums of accepted difficulty, and since when there could be some.
#[derive(Debug, Clone, Default)]
pub(super) struct UpstreamCredit {
    begun_ms: Option<u64>,
    /// The number of a step, and hashes that its shares were worth.
    steps: VecDeque<(u64, u64)>,
    is_any: bool,
}

impl UpstreamCredit {
    /// There is something to mine.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.begun_ms.get_or_insert(now_ms);
    }

    /// A share was accepted.
    pub(super) fn add(&mut self, difficulty: u64, now_ms: u64) {
        let step = now_ms / STEP_MS;
        self.is_any = true;
        match self.steps.back_mut() {
            Some((newest, sum)) if *newest == step => *sum = sum.saturating_add(difficulty),
            _ => self.steps.push_back((step, difficulty)),
        }
        while self.steps.front().is_some_and(|(at, _)| at + STEPS < step) {
            self.steps.pop_front();
        }
    }

    /// Hashes a second; `None` before the first share.
    pub(super) fn rate_hs(&self, now_ms: u64) -> Option<f64> {
        let first = (now_ms / STEP_MS).saturating_sub(STEPS - 1);
        let begun = self.begun_ms.filter(|_| self.is_any)?;
        let length_ms = now_ms.saturating_sub(begun.max(first * STEP_MS)).max(1_000);
        let recent = self.steps.iter().filter(|(step, _)| *step >= first);
        let sum: f64 = recent.map(|(_, sum)| *sum as f64).sum();
        Some(sum * 1_000.0 / length_ms as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_ten_minutes_or_since_the_beginning() {
        let mut credit = UpstreamCredit::default();
        credit.begin(1_000);
        credit.begin(900_000);
        assert_eq!(credit.rate_hs(50_000), None);
        credit.add(5_000, 51_000);
        credit.add(5_000, 101_000);
        assert_eq!(credit.rate_hs(101_000), Some(100.0));
        // Ten minutes later they do not count any more, and nothing was accepted since.
        assert_eq!(credit.rate_hs(801_000), Some(0.0));
        for second in 801..5_000 {
            credit.add(100, second * 1_000);
        }
        let rate = credit.rate_hs(4_999_999);
        assert!(
            rate.is_some_and(|rate| (rate - 100.0).abs() < 1.0),
            "{rate:?}"
        );
        assert!(credit.steps.len() <= 61);
    }
}
