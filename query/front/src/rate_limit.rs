//! How often somebody may ask: a bucket of tokens for each key, over a bounded number of keys.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys that are remembered; when all of them have asked of late, further ones must wait.
const MAX_KEYS: usize = 4_096;

/// Buckets by key.
pub(crate) struct RateLimit<K> {
    burst: u32,
    refill: Duration,
    /// For each key, when its bucket is full again.
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> RateLimit<K> {
    /// `burst` requests at once, then one each `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst,
            refill,
            full_at: Mutex::default(),
        }
    }

    /// Takes a token of this key; false when it has none.
    pub(crate) fn allow(&self, key: K, now: Instant) -> bool {
        // A map of times is never half changed.
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= MAX_KEYS && !full_at.contains_key(&key) {
            full_at.retain(|_, time| *time > now);
            if full_at.len() >= MAX_KEYS {
                return false;
            }
        }
        let time = full_at.entry(key).or_insert(now);
        let next = (*time).max(now) + self.refill;
        if next > now + self.refill * self.burst {
            return false;
        }
        *time = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_burst_and_refills() {
        let limit = RateLimit::new(3, Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert!(limit.allow("a", at(0)));
        }
        assert!(!limit.allow("a", at(0)));
        assert!(limit.allow("b", at(0)), "each key has its own");
        assert!(!limit.allow("a", at(9)));
        assert!(limit.allow("a", at(10)));
        assert!(!limit.allow("a", at(10)));
        for _ in 0..3 {
            assert!(limit.allow("a", at(1_000)));
        }
        assert!(!limit.allow("a", at(1_000)));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let limit = RateLimit::new(1, Duration::from_secs(10));
        let start = Instant::now();
        for key in 0..MAX_KEYS {
            assert!(limit.allow(key, start));
        }
        assert!(!limit.allow(MAX_KEYS, start));
        let later = start + Duration::from_secs(11);
        assert!(limit.allow(MAX_KEYS, later));
    }
}
