//! What the newest windows give to whom, so that later steps of a block need not read its window
//! again.
//!
//! A block matures sixty blocks after it was found. A window that is no longer known by then costs
//! a wait for two commits, so what bounds the memory is the rows, not the windows: where blocks
//! come every second, as on a private chain, waits would otherwise add up faster than blocks come.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Rows that are remembered, each an address and an amount; some tens of megabytes.
const MOST_ROWS: usize = 200_000;

/// Each miner's part of a block, in atomic units, in the order of the window.
pub(super) type Amounts = Arc<Vec<(String, i128)>>;

/// Pool and hash of a block.
type BlockName = (String, String);

/// The amounts of the newest windows, the oldest of which are forgotten first.
#[derive(Default)]
pub(super) struct RememberedAmounts {
    of: HashMap<BlockName, Amounts>,
    /// Oldest first.
    order: VecDeque<BlockName>,
    /// Of all windows, each with one more for its name.
    rows: usize,
}

impl RememberedAmounts {
    /// What the window of a block gives each miner, if that is still known.
    pub(super) fn get(&self, pool: &str, hash: &str) -> Option<Amounts> {
        self.of.get(&(pool.to_owned(), hash.to_owned())).cloned()
    }

    /// Remembers a window, however large, and forgets the oldest ones for it.
    pub(super) fn insert(&mut self, pool: &str, hash: &str, amounts: Amounts) {
        let name = (pool.to_owned(), hash.to_owned());
        self.rows += rows_of(&amounts);
        match self.of.insert(name.clone(), amounts) {
            Some(before) => self.rows -= rows_of(&before),
            None => self.order.push_back(name),
        }
        while self.rows > MOST_ROWS && self.order.len() > 1 {
            let oldest = self
                .order
                .pop_front()
                .and_then(|name| self.of.remove(&name));
            self.rows -= oldest.as_ref().map_or(0, rows_of);
        }
    }
}

fn rows_of(amounts: &Amounts) -> usize {
    amounts.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(rows: usize) -> Amounts {
        Arc::new(vec![("4Ann".to_owned(), 1); rows])
    }

    #[test]
    fn small_windows_are_known_for_much_longer_than_a_block_takes_to_mature() {
        let mut amounts = RememberedAmounts::default();
        for number in 0..1_000 {
            amounts.insert("main", &number.to_string(), window(2));
        }
        assert!((0..1_000).all(|number| amounts.get("main", &number.to_string()).is_some()));
        assert!(amounts.get("other", "1").is_none());
    }

    #[test]
    fn the_oldest_windows_are_forgotten_first_and_the_rows_are_bounded() {
        let mut amounts = RememberedAmounts::default();
        for hash in ["a", "b", "c", "c"] {
            amounts.insert("main", hash, window(MOST_ROWS / 2 - 1));
        }
        let known = |amounts: &RememberedAmounts| {
            ["a", "b", "c", "d"].map(|hash| amounts.get("main", hash).is_some())
        };
        assert_eq!(known(&amounts), [false, true, true, false]);
        assert_eq!(amounts.rows, MOST_ROWS);
        // A window that is larger than the bound is known as long as it is the newest.
        amounts.insert("main", "d", window(MOST_ROWS * 2));
        assert_eq!(known(&amounts), [false, false, false, true]);
        amounts.insert("main", "a", window(1));
        assert_eq!(known(&amounts), [true, false, false, false]);
        assert_eq!(amounts.rows, 2);
    }
}
