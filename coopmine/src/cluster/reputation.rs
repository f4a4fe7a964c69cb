//! How far a worker is believed: results that were checked, and how long a liar is kept out.
//!
//! A worker whose results are wrong is either broken or dishonest; which of the two does not
//! matter to the pool that would ban the whole cluster. One wrong result among many right ones is
//! forgiven: memory fails, too.

/// Wrong results in a row of checks that are enough, whatever was before.
const ENOUGH: u32 = 3;
/// What a right result gives back, and what a wrong one costs.
const CREDIT: u32 = 1;
const COST: u32 = 40;
/// More than this is too much.
const LIMIT: u32 = 100;
/// How long the first quarantine is; each further one is twice as long.
const FIRST_QUARANTINE_MS: u64 = 10 * 60 * 1000;
const LONGEST_QUARANTINE_MS: u64 = 24 * 60 * 60 * 1000;

/// A worker's reputation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reputation {
    debt: u32,
    wrong_in_row: u32,
    /// Checked results.
    pub checked: u64,
    /// Wrong ones among them.
    pub wrong: u64,
    quarantines: u32,
    until_ms: Option<u64>,
}

impl Reputation {
    /// A result was recomputed and was right.
    pub fn good(&mut self) {
        self.checked += 1;
        self.wrong_in_row = 0;
        self.debt = self.debt.saturating_sub(CREDIT);
    }

    /// A result was wrong, or no honest worker would have sent it. True when that was too much.
    pub fn bad(&mut self, now_ms: u64) -> bool {
        self.checked += 1;
        self.wrong += 1;
        self.wrong_in_row += 1;
        self.debt = self.debt.saturating_add(COST);
        if self.debt <= LIMIT && self.wrong_in_row < ENOUGH || self.is_quarantined(now_ms) {
            return false;
        }
        let factor = 1_u64.checked_shl(self.quarantines).unwrap_or(u64::MAX);
        let length = FIRST_QUARANTINE_MS.saturating_mul(factor);
        self.until_ms = Some(now_ms.saturating_add(length.min(LONGEST_QUARANTINE_MS)));
        self.quarantines = self.quarantines.saturating_add(1);
        // Whoever comes back is believed as little as a new one that was wrong once.
        (self.debt, self.wrong_in_row) = (COST, 0);
        true
    }

    /// Whether it may mine now.
    pub fn is_quarantined(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| now_ms < until)
    }

    /// How long the quarantine lasts yet.
    pub fn quarantine_left_ms(&self, now_ms: u64) -> Option<u64> {
        let left = self.until_ms?.saturating_sub(now_ms);
        (left > 0).then_some(left)
    }

    /// How far it is believed, percent: 100 when nothing was wrong of late, 0 at the limit.
    pub fn trust_pct(&self) -> u32 {
        100 - self.debt.min(LIMIT) * 100 / LIMIT
    }

    /// Ends a quarantine whose time is over; true when one ended.
    pub fn release(&mut self, now_ms: u64) -> bool {
        let is_over = self.until_ms.is_some_and(|until| now_ms >= until);
        if is_over {
            self.until_ms = None;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_kept_out_longer_each_time_and_an_error_is_forgiven() {
        let mut liar = Reputation::default();
        assert!(!liar.bad(0) && !liar.bad(0) && liar.bad(0));
        assert!(liar.is_quarantined(FIRST_QUARANTINE_MS - 1));
        assert!(!liar.release(FIRST_QUARANTINE_MS - 1) && liar.release(FIRST_QUARANTINE_MS));
        let again = FIRST_QUARANTINE_MS;
        assert!(!liar.bad(again) && liar.bad(again));
        assert!(liar.is_quarantined(again + 2 * FIRST_QUARANTINE_MS - 1));

        assert_eq!(liar.trust_pct(), 100 - COST);
        assert_eq!(
            liar.quarantine_left_ms(again),
            Some(2 * FIRST_QUARANTINE_MS)
        );

        let mut unlucky = Reputation::default();
        for _ in 0..1_000 {
            assert!(!unlucky.bad(0), "one in fifty");
            (0..50).for_each(|_| unlucky.good());
        }
        let mut half = Reputation::default();
        let caught = (0..10).position(|_| {
            half.good();
            half.bad(0)
        });
        assert_eq!(caught, Some(2), "every second one");
    }
}
