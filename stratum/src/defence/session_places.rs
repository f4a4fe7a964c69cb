//! The pool's places: how many connections there may be, and who gives way when they run out.
//!
//! Pure. A session that has not sent a good share yet is unproven, and costs its owner nothing but
//! keepalives. While there is space, unproven sessions may hold any place. When the pool is nearly
//! full and they hold more than their part, or when it is full, the oldest of them gives way to the
//! newcomer, if it has had the time that an honest miner needs for a first share. A session with a
//! good share never gives way.

use std::collections::{BTreeMap, HashSet};

/// Sessions that gave way and have not ended yet, at most: they hold descriptors beyond the places.
pub const MOST_LEAVING: usize = 64;

/// How many places there are, and how they are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceRules {
    /// All places.
    pub capacity: usize,
    /// Places that unproven sessions may hold when the pool is nearly full.
    pub unproven: usize,
    /// Milliseconds that an unproven session keeps its place in any case.
    pub grace_ms: u64,
}

impl PlaceRules {
    /// The rules for so many places, of which unproven sessions get so many hundredths.
    pub fn new(capacity: usize, unproven_percent: u32, grace_s: u64) -> Self {
        let part = capacity.saturating_mul(unproven_percent as usize) / 100;
        Self {
            capacity,
            unproven: part.max(1),
            grace_ms: grace_s.saturating_mul(1000),
        }
    }

    /// How many held places make the pool nearly full: seven of eight.
    fn nearly_full(&self) -> usize {
        self.capacity - self.capacity / 8
    }
}

/// Who holds a place.
#[derive(Debug)]
pub struct SessionPlaces {
    rules: PlaceRules,
    /// Places held, by proven and unproven sessions.
    held: usize,
    /// When each unproven session came. Numbers rise, so the first is the oldest.
    unproven: BTreeMap<u64, u64>,
    /// Sessions whose place was given away and that have not ended yet.
    leaving: HashSet<u64>,
    next: u64,
}

impl SessionPlaces {
    /// All places are free.
    pub fn new(rules: PlaceRules) -> Self {
        Self {
            rules,
            held: 0,
            unproven: BTreeMap::new(),
            leaving: HashSet::new(),
            next: 0,
        }
    }

    /// A connection comes: its number, or `None` when there is no place. Its
    /// [`SessionPlaces::leave`] must follow.
    pub fn enter(&mut self, now_ms: u64) -> Option<u64> {
        let crowded =
            self.held >= self.rules.nearly_full() && self.unproven.len() >= self.rules.unproven;
        if self.held >= self.rules.capacity || crowded {
            self.take_from_oldest(now_ms)?;
        }
        let number = self.next;
        self.next += 1;
        self.held += 1;
        self.unproven.insert(number, now_ms);
        Some(number)
    }

    /// The session sent a good share, and keeps its place from now on.
    pub fn prove(&mut self, number: u64) {
        self.unproven.remove(&number);
    }

    /// Whether the session's place was given to another, so that it must end.
    pub fn must_leave(&self, number: u64) -> bool {
        self.leaving.contains(&number)
    }

    /// The connection ended.
    pub fn leave(&mut self, number: u64) {
        if self.leaving.remove(&number) {
            return;
        }
        self.unproven.remove(&number);
        self.held = self.held.saturating_sub(1);
    }

    /// Places held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Places held by sessions without a good share.
    pub fn unproven(&self) -> usize {
        self.unproven.len()
    }

    fn take_from_oldest(&mut self, now_ms: u64) -> Option<()> {
        let (&oldest, &since_ms) = self.unproven.first_key_value()?;
        let had_its_time = now_ms.saturating_sub(since_ms) >= self.rules.grace_ms;
        if !had_its_time || self.leaving.len() >= MOST_LEAVING {
            return None;
        }
        self.unproven.remove(&oldest);
        self.leaving.insert(oldest);
        self.held -= 1;
        Some(())
    }
}
