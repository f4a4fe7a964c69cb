//! Quotas of slots: whoever asks much leaves some of them to others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many slots each caller may hold at the same time.
pub(crate) struct SlotQuotas<K> {
    size: usize,
    held: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> SlotQuotas<K> {
    /// So many slots each.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            held: Mutex::default(),
        }
    }

    /// How many slots a caller may hold.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The quota of a caller. It is remembered while somebody holds or awaits a permit of it, so
    /// that there are no more of them than requests.
    pub(crate) fn quota_of(&self, caller: K) -> Arc<Semaphore> {
        // A map of handles is never half changed.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = held.get(&caller).and_then(Weak::upgrade) {
            return quota;
        }
        held.retain(|_, quota| quota.strong_count() > 0);
        let quota = Arc::new(Semaphore::new(self.size));
        held.insert(caller, Arc::downgrade(&quota));
        quota
    }
}

/// A slot, free again when it is dropped, and with it its part of each quota that it counts to.
pub struct HeldSlot {
    _quotas: Vec<OwnedSemaphorePermit>,
    _slot: OwnedSemaphorePermit,
}

impl HeldSlot {
    /// A slot; callers without a quota have no part of one.
    pub(crate) fn new(quotas: Vec<OwnedSemaphorePermit>, slot: OwnedSemaphorePermit) -> Self {
        Self {
            _quotas: quotas,
            _slot: slot,
        }
    }
}

/// Three quarters of so many slots, and one at least.
pub(crate) fn three_quarters(slots: usize) -> usize {
    slots - slots / 4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_caller_has_its_quota_and_is_forgotten_after_it() {
        let quotas = SlotQuotas::new(2);
        let take = |caller| quotas.quota_of(caller).try_acquire_owned();
        let (first, second) = (take("ann").unwrap(), take("ann").unwrap());
        assert!(take("ann").is_err());
        let other = take("bob").unwrap();
        drop(first);
        let third = take("ann").unwrap();
        assert!(take("ann").is_err());
        drop((second, third, other));
        let _last = take("eve").unwrap();
        assert_eq!(quotas.held.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_quota_leaves_something_where_there_is_something_to_leave() {
        let quotas = [1, 2, 4, 8, 16].map(three_quarters);
        assert_eq!(quotas, [1, 2, 3, 6, 12]);
    }
}
