//! Ids that count no more: remembered until they would have ended anyway, and never more of them
//! than there is space for.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::now_us;

/// Ids, each with its end in microseconds since 1970.
pub(crate) struct SpentIds<T> {
    max: usize,
    ends: Mutex<HashMap<T, i64>>,
}

impl<T: Eq + Hash> SpentIds<T> {
    /// So many at once.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            ends: Mutex::default(),
        }
    }

    /// Spends an id; false when it was spent before, or when there is no space to remember it.
    pub(crate) fn spend(&self, id: T, ends_us: i64) -> bool {
        let mut ends = self.lock();
        if ends.len() >= self.max {
            let now = now_us();
            ends.retain(|_, end| *end > now);
        }
        if ends.contains_key(&id) || ends.len() >= self.max {
            return false;
        }
        ends.insert(id, ends_us);
        true
    }

    /// Whether it was spent.
    pub(crate) fn contains<Q: Eq + Hash + ?Sized>(&self, id: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.lock().contains_key(id)
    }

    /// Each change is one insertion or removal, whole or not there.
    fn lock(&self) -> MutexGuard<'_, HashMap<T, i64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_spent_once_and_memory_is_bounded() {
        let spent = SpentIds::new(2);
        let later = now_us() + 60_000_000;
        assert!(spent.spend(1, later));
        assert!(!spent.spend(1, later));
        assert!(spent.spend(2, now_us() - 1));
        assert!(spent.spend(3, later), "the one that has ended makes way");
        assert!(!spent.spend(4, later), "there is no space");
        assert!(spent.contains(&1) && spent.contains(&3) && !spent.contains(&4));
    }
}
