//! A map that holds a bounded number of entries and forgets the one that was used longest ago.
//!
//! Everything the defence remembers about strangers lives in one of these: whoever can invent names
//! and addresses must not be able to fill memory with them.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The map. Use costs a logarithm of its size.
#[derive(Debug)]
pub struct LruMap<K, V> {
    most: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> LruMap<K, V> {
    /// An empty map of at most so many entries, at least one.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            clock: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The entries it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Looks without using.
    pub fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry, which counts as used now.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let (at, value) = self.entries.get_mut(key)?;
        self.clock += 1;
        self.order.remove(at);
        self.order.insert(self.clock, key.clone());
        *at = self.clock;
        Some(value)
    }

    /// The entry, made if it is not there; the oldest one makes space.
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            if self.entries.len() >= self.most
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.entries.remove(&oldest);
            }
            self.clock += 1;
            self.order.insert(self.clock, key.clone());
        }
        let clock = self.clock;
        let (at, value) = self
            .entries
            .entry(key.clone())
            .or_insert_with(|| (clock, make()));
        if *at != clock {
            self.clock += 1;
            self.order.remove(at);
            self.order.insert(self.clock, key.clone());
            *at = self.clock;
        }
        value
    }

    /// Forgets the entry.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, value) = self.entries.remove(key)?;
        self.order.remove(&at);
        Some(value)
    }
}
