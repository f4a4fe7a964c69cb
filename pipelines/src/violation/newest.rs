//! The newest row of each violation or order, up to a number of them.
//!
//! What is over leaves first, the longest over before the others; what somebody has to do something
//! about stays however many there are. What left is still the newest message of its subject and a
//! row of its table, so that it can be taken in again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Those that were taken in again and may not leave at once.
const RECALLED: usize = 256;

/// How soon a row leaves: what is least does first. `None` for one that stays.
pub type Leave = Option<(u8, i64)>;

/// Rows by id, with the sequence of their message.
#[derive(Debug)]
pub struct NewestRows<R> {
    by_id: BTreeMap<String, (u64, R)>,
    leave: BTreeSet<(u8, i64, String)>,
    recalled: VecDeque<String>,
    most: usize,
    has_left: bool,
}

impl<R> NewestRows<R> {
    /// None yet, and at most so many while something of them is over.
    pub fn new(most: usize) -> Self {
        Self {
            by_id: BTreeMap::new(),
            leave: BTreeSet::new(),
            recalled: VecDeque::new(),
            most: most.max(1),
            has_left: false,
        }
    }

    /// Whether a row of this sequence is news.
    pub fn is_new(&self, id: &str, seq: u64) -> bool {
        self.by_id.get(id).is_none_or(|(known, _)| *known < seq)
    }

    /// The row of an id, unless it is unknown or has left.
    pub fn find(&self, id: &str) -> Option<&R> {
        self.by_id.get(id).map(|(_, row)| row)
    }

    /// Every row that is there, by id.
    pub fn rows(&self) -> impl Iterator<Item = &R> {
        self.by_id.values().map(|(_, row)| row)
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there were more than there are.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// Lets a row stay although it is over: somebody asked for it.
    pub fn keep(&mut self, id: &str) {
        if self.recalled.len() >= RECALLED {
            self.recalled.pop_front();
        }
        self.recalled.push_back(id.to_owned());
    }

    /// Puts the newest row of an id in the place of the one before. `leave` says of a row how soon
    /// it leaves.
    pub fn insert(&mut self, id: &str, seq: u64, row: R, leave: impl Fn(&R) -> Leave) {
        let place = |row: &R| leave(row).map(|(rank, at)| (rank, at, id.to_owned()));
        let next = place(&row);
        let before = self.by_id.insert(id.to_owned(), (seq, row));
        if let Some(before) = before.and_then(|(_, before)| place(&before)) {
            self.leave.remove(&before);
        }
        self.leave.extend(next);
        while self.by_id.len() > self.most {
            let over = self
                .leave
                .iter()
                .find(|(_, _, id)| !self.recalled.contains(id));
            let Some(over) = over.cloned() else {
                return;
            };
            self.leave.remove(&over);
            self.by_id.remove(&over.2);
            self.has_left = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leave(row: &(bool, i64)) -> Leave {
        row.0.then_some((0, row.1))
    }

    #[test]
    fn what_was_asked_for_stays_a_while_although_it_is_the_oldest() {
        let mut rows = NewestRows::new(2);
        rows.keep("a");
        for (seq, id) in ["a", "b", "c"].iter().enumerate() {
            rows.insert(id, seq as u64, (true, seq as i64), leave);
        }
        assert!(rows.find("a").is_some() && rows.find("b").is_none() && rows.has_left());
    }

    proptest! {
        #[test]
        fn the_oldest_that_are_over_leave_and_nothing_else_does(
            steps in proptest::collection::vec((0..40_usize, any::<bool>(), 0..1_000_i64), 1..200),
            most in 1..20_usize,
        ) {
            let mut rows = NewestRows::new(most);
            let mut all: BTreeMap<String, (bool, i64)> = BTreeMap::new();
            for (seq, (id, is_over, at)) in steps.into_iter().enumerate() {
                let id = format!("v{id}");
                rows.insert(&id, seq as u64, (is_over, at), leave);
                // By hand: one row more, and of all that are there the oldest is taken away.
                all.insert(id, (is_over, at));
                while all.len() > most {
                    let over = all.iter().filter(|(_, (is_over, _))| *is_over);
                    let oldest = over.min_by_key(|(id, (_, at))| (*at, (*id).clone()));
                    let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
                    all.remove(&oldest);
                }
                let found: Vec<(bool, i64)> = rows.rows().copied().collect();
                let expected: Vec<(bool, i64)> = all.values().copied().collect();
                prop_assert_eq!(found, expected);
                prop_assert!(rows.count() <= most || all.values().all(|(is_over, _)| !is_over));
            }
        }
    }
}
