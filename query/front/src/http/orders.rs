//! Orders about the fee, one after the other: what was just ordered counts before the tables show
//! it.
//!
//! Orders that arrive together would otherwise each be weighed against a balance that none of them
//! has touched yet.

use tokio::sync::{Mutex, MutexGuard};

/// How long an order counts of which it is not known whether it was written, in microseconds:
/// longer than a message may be on its way.
const DOUBT_US: i64 = 300_000_000;

/// Gives the turn to one order at a time, in this process.
#[derive(Default)]
pub(crate) struct Orders(Mutex<Turn>);

impl Orders {
    /// Waits for the turn.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().await
    }
}

/// What the one whose turn it is must know of those before.
#[derive(Default)]
pub(crate) struct Turn {
    last_us: i64,
    unseen: Vec<Unseen>,
}

/// An order to take from the fee that the tables do not show yet.
struct Unseen {
    event_time: i64,
    amount: i128,
    /// Until when it counts; for ever once it is known to be written.
    until: Option<i64>,
}

impl Turn {
    /// The time of the next order, microseconds since 1970: now, and after the last one's, since
    /// orders are known by it.
    pub(crate) fn time(&mut self, now: i64) -> i64 {
        self.last_us = now.max(self.last_us.saturating_add(1));
        self.last_us
    }

    /// The time of the oldest order that the tables may not show yet.
    pub(crate) fn since(&self) -> Option<i64> {
        self.unseen.iter().map(|order| order.event_time).min()
    }

    /// What is taken from the fee and not in the tables, atomic units, where these show the orders
    /// `seen` by time and amount. They must have been asked before the balance was, so that an
    /// order may count twice for a moment and never not at all.
    pub(crate) fn taken(&mut self, seen: &[(i64, i128)], now: i64) -> i128 {
        self.unseen.retain(|order| {
            !seen.contains(&(order.event_time, order.amount))
                && order.until.is_none_or(|until| now < until)
        });
        self.unseen.iter().map(|order| -order.amount).sum()
    }

    /// An order that takes from the fee is about to be written.
    pub(crate) fn begin(&mut self, event_time: i64, amount: i128) {
        self.unseen.push(Unseen {
            event_time,
            amount,
            until: Some(event_time.saturating_add(DOUBT_US)),
        });
    }

    /// It is written.
    pub(crate) fn done(&mut self, event_time: i64) {
        for order in self
            .unseen
            .iter_mut()
            .filter(|order| order.event_time == event_time)
        {
            order.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_counts_until_the_tables_show_it() {
        let mut turn = Turn::default();
        let (first, second) = (turn.time(100), turn.time(100));
        assert_eq!((first, second, turn.time(50)), (100, 101, 102));
        turn.begin(first, -5);
        turn.done(first);
        turn.begin(second, -7);
        assert_eq!(turn.since(), Some(first));
        assert_eq!(turn.taken(&[(100, -6), (99, -5)], 200), 12);
        assert_eq!(turn.taken(&[(100, -5)], 200), 7);
        assert_eq!(turn.since(), Some(second));
    }

    #[test]
    fn an_order_in_doubt_is_forgotten_and_a_written_one_is_not() {
        let mut turn = Turn::default();
        turn.begin(1, -5);
        turn.begin(2, -7);
        turn.done(2);
        assert_eq!(turn.taken(&[], DOUBT_US), 12);
        assert_eq!(turn.taken(&[], 10 * DOUBT_US), 7);
    }
}
