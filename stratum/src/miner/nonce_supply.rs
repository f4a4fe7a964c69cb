//! The nonces of a job that are still to be searched, taken one by one by many threads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All nonces of a job.
pub const WHOLE: u64 = 1 << 32;
/// The nonces of a job whose last byte is the pool's.
pub const NICEHASH: u64 = 1 << 24;

/// A part of a job's nonces, under a number of its giver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRange {
    /// Whoever gave it knows it by this.
    pub number: u64,
    /// The first nonce.
    pub start: u64,
    /// The nonce behind the last.
    pub end: u64,
}

/// The ranges in the order they came. A nonce is handed out once.
#[derive(Debug)]
pub struct NonceSupply {
    /// The byte of the pool's, in place.
    fixed: u32,
    ranges: Mutex<Ranges>,
}

#[derive(Debug, Default)]
struct Ranges {
    waiting: VecDeque<NonceRange>,
    /// Range and nonces taken from it, the newest last.
    taken: VecDeque<(NonceRange, u64)>,
}

/// Ranges whose progress is remembered.
const REMEMBERED: usize = 16;

impl NonceSupply {
    /// Nonces of a job whose pool keeps this last byte for itself; zero when it keeps none.
    pub fn new(fixed: u8, ranges: impl IntoIterator<Item = NonceRange>) -> Self {
        let supply = Self {
            fixed: u32::from(fixed) << 24,
            ranges: Mutex::default(),
        };
        ranges.into_iter().for_each(|range| supply.push(range));
        supply
    }

    /// Everything there is to search for one miner alone.
    pub fn whole(fixed: u8, is_nicehash: bool) -> Self {
        let end = if is_nicehash { NICEHASH } else { WHOLE };
        let range = NonceRange {
            number: 0,
            start: 0,
            end,
        };
        Self::new(fixed, [range])
    }

    /// Adds a range unless its number is known already.
    pub fn push(&self, range: NonceRange) {
        let mut ranges = self.lock();
        let is_known = ranges.waiting.iter().any(|one| one.number == range.number)
            || ranges
                .taken
                .iter()
                .any(|(one, _)| one.number == range.number);
        if !is_known && range.start < range.end {
            ranges.waiting.push_back(range);
        }
    }

    /// The next nonce as a number; `None` when all are taken.
    pub fn take(&self) -> Option<u32> {
        let mut ranges = self.lock();
        loop {
            let first = *ranges.waiting.front()?;
            if ranges.taken.back().is_none_or(|(one, _)| *one != first) {
                ranges.taken.push_back((first, 0));
                if ranges.taken.len() > REMEMBERED {
                    ranges.taken.pop_front();
                }
            }
            let (_, taken) = ranges.taken.back_mut()?;
            let nonce = first.start + *taken;
            if nonce < first.end {
                *taken += 1;
                // Ranges end within 2³².
                return u32::try_from(nonce).ok().map(|nonce| nonce | self.fixed);
            }
            ranges.waiting.pop_front();
        }
    }

    /// Nonces that nobody has taken yet.
    pub fn left(&self) -> u64 {
        let ranges = self.lock();
        let taken = |range: &NonceRange| {
            let known = ranges.taken.iter().rfind(|(one, _)| one == range);
            known.map_or(0, |(_, taken)| *taken)
        };
        ranges
            .waiting
            .iter()
            .map(|range| range.end - range.start - taken(range))
            .sum()
    }

    /// Whether nothing is left.
    pub fn is_exhausted(&self) -> bool {
        self.left() == 0
    }

    /// How many nonces of each range were taken, the newest last.
    pub fn progress(&self) -> Vec<(u64, u64)> {
        let ranges = self.lock();
        let taken = ranges.taken.iter();
        taken.map(|(range, taken)| (range.number, *taken)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ranges> {
        // Each change is one step, so a panic elsewhere does not spoil it.
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(number: u64, start: u64, end: u64) -> NonceRange {
        NonceRange { number, start, end }
    }

    #[test]
    fn every_nonce_is_handed_out_once_and_counted() {
        let supply = NonceSupply::new(0, [range(1, 5, 8), range(2, 100, 102)]);
        assert_eq!(supply.left(), 5);
        let taken: Vec<u32> = std::iter::from_fn(|| supply.take()).collect();
        assert_eq!(taken, [5, 6, 7, 100, 101]);
        assert!(supply.is_exhausted());
        // A range that comes again is not searched again.
        supply.push(range(1, 5, 8));
        assert_eq!(supply.take(), None);
        supply.push(range(3, u64::from(u32::MAX), WHOLE));
        assert_eq!((supply.take(), supply.take()), (Some(u32::MAX), None));
        assert_eq!(supply.progress(), [(1, 3), (2, 2), (3, 1)]);
    }

    #[test]
    fn the_pools_byte_stays_in_place() {
        let supply = NonceSupply::whole(0xab, true);
        assert_eq!(supply.left(), NICEHASH);
        assert_eq!(
            (supply.take(), supply.take()),
            (Some(0xab00_0000), Some(0xab00_0001))
        );
    }
}
