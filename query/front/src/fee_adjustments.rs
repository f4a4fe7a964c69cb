//! Adjustments of the fee account, made one at a time, each weighed with those that the tables do
//! not show yet.
//!
//! Adjustments that arrive together would otherwise each be weighed against a balance that none of
//! them has touched yet.

use tokio::sync::{Mutex, MutexGuard};

/// How long an adjustment counts whose write was not confirmed, in microseconds: longer than a
/// message may be on its way.
const UNCONFIRMED_FOR_US: i64 = 300_000_000;

/// Lets one fee adjustment at a time through, in this process.
#[derive(Default)]
pub(crate) struct FeeAdjustments(Mutex<PendingAdjustments>);

impl FeeAdjustments {
    /// Waits until no other adjustment of the fee is being weighed or written.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, PendingAdjustments> {
        self.0.lock().await
    }
}

/// The adjustments made before this one that the tables may not show yet.
#[derive(Default)]
pub(crate) struct PendingAdjustments {
    last_us: i64,
    debits: Vec<PendingDebit>,
}

/// An amount taken from the fee account that the tables do not show yet.
struct PendingDebit {
    event_time: i64,
    amount: i128,
    /// Until when it counts; for ever once its write is confirmed.
    until: Option<i64>,
}

impl PendingAdjustments {
    /// The time of the next adjustment, microseconds since 1970: now, and always after the last
    /// one's, because adjustments are told apart by it.
    pub(crate) fn next_time(&mut self, now: i64) -> i64 {
        self.last_us = now.max(self.last_us.saturating_add(1));
        self.last_us
    }

    /// The time of the oldest adjustment that the tables may not show yet.
    pub(crate) fn oldest_time(&self) -> Option<i64> {
        self.debits.iter().map(|debit| debit.event_time).min()
    }

    /// What was taken from the fee and is not in the tables, atomic units. `stored` are the
    /// adjustments that the tables show, by time and amount. They must be read before the balance
    /// is, so that an adjustment may count twice for a moment but is never left out.
    pub(crate) fn pending_amount(&mut self, stored: &[(i64, i128)], now: i64) -> i128 {
        self.debits.retain(|debit| {
            !stored.contains(&(debit.event_time, debit.amount))
                && debit.until.is_none_or(|until| now < until)
        });
        self.debits.iter().map(|debit| -debit.amount).sum()
    }

    /// Counts an adjustment that is about to be written.
    pub(crate) fn begin(&mut self, event_time: i64, amount: i128) {
        self.debits.push(PendingDebit {
            event_time,
            amount,
            until: Some(event_time.saturating_add(UNCONFIRMED_FOR_US)),
        });
    }

    /// Notes that the adjustment of this time was written.
    pub(crate) fn confirm(&mut self, event_time: i64) {
        for debit in self
            .debits
            .iter_mut()
            .filter(|debit| debit.event_time == event_time)
        {
            debit.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustment_counts_until_the_tables_show_it() {
        let mut pending = PendingAdjustments::default();
        let (first, second) = (pending.next_time(100), pending.next_time(100));
        assert_eq!((first, second, pending.next_time(50)), (100, 101, 102));
        pending.begin(first, -5);
        pending.confirm(first);
        pending.begin(second, -7);
        assert_eq!(pending.oldest_time(), Some(first));
        assert_eq!(pending.pending_amount(&[(100, -6), (99, -5)], 200), 12);
        assert_eq!(pending.pending_amount(&[(100, -5)], 200), 7);
        assert_eq!(pending.oldest_time(), Some(second));
    }

    #[test]
    fn an_unconfirmed_adjustment_is_forgotten_and_a_written_one_is_not() {
        let mut pending = PendingAdjustments::default();
        pending.begin(1, -5);
        pending.begin(2, -7);
        pending.confirm(2);
        assert_eq!(pending.pending_amount(&[], UNCONFIRMED_FOR_US), 12);
        assert_eq!(pending.pending_amount(&[], 10 * UNCONFIRMED_FOR_US), 7);
    }
}
