//! Which rows of which producers were taken already: an exact set of numbers per producer, kept as
//! intervals.
//!
//! A high-water mark would lose a row that arrives after a younger one, which a retry makes normal.
//! The set is bounded: beyond [`MAX_INTERVALS`] the lowest interval of a producer is forgotten,
//! beyond [`MAX_PRODUCERS`] the producers that were silent longest by stream time. Forgetting may
//! let an old duplicate through and never drops a row that is new. Everything depends on the calls
//! alone, not on clocks or hashing, so that a replay forgets the same.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Intervals kept for one producer.
pub const MAX_INTERVALS: usize = 1_024;
/// Producers kept.
pub const MAX_PRODUCERS: usize = 8_192;
/// How many producers are left when there were too many: forgetting in bulk keeps the cost per row
/// constant.
const KEPT_PRODUCERS: usize = MAX_PRODUCERS / 4 * 3;

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuplicateFilter {
    producers: BTreeMap<String, Producer>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Producer {
    /// Stream time of its last row, nanoseconds since 1970.
    last_ns: i64,
    /// Inclusive, rising, never touching.
    intervals: Vec<(i64, i64)>,
}

impl DuplicateFilter {
    /// Adds one row; `false` when it was there already.
    pub fn insert(&mut self, producer: &str, number: i64, time_ns: i64) -> bool {
        let entry = self.entry(producer, time_ns);
        let fresh = entry.insert(number);
        if entry.intervals.len() > MAX_INTERVALS {
            entry.intervals.remove(0);
        }
        fresh
    }

    /// Adds `count` rows from `first` on and tells whether all of them were new. When not, nothing
    /// is added.
    pub fn insert_run(&mut self, producer: &str, first: i64, count: usize, time_ns: i64) -> bool {
        let Some(last) = i64::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .and_then(|count| first.checked_add(count - 1))
        else {
            return false;
        };
        let entry = self.entry(producer, time_ns);
        let fresh = entry.insert_run(first, last);
        if entry.intervals.len() > MAX_INTERVALS {
            entry.intervals.remove(0);
        }
        fresh
    }

    /// How many producers are remembered.
    pub fn producers(&self) -> usize {
        self.producers.len()
    }

    /// How many intervals are remembered.
    pub fn intervals(&self) -> usize {
        self.producers
            .values()
            .map(|producer| producer.intervals.len())
            .sum()
    }

    fn entry(&mut self, name: &str, time_ns: i64) -> &mut Producer {
        if !self.producers.contains_key(name) && self.producers.len() >= MAX_PRODUCERS {
            self.forget_oldest();
        }
        if !self.producers.contains_key(name) {
            self.producers.insert(
                name.to_owned(),
                Producer {
                    last_ns: time_ns,
                    intervals: Vec::new(),
                },
            );
        }
        let entry = self.producers.entry(name.to_owned()).or_default();
        entry.last_ns = entry.last_ns.max(time_ns);
        entry
    }

    fn forget_oldest(&mut self) {
        let mut ages: Vec<(i64, &String)> = self
            .producers
            .iter()
            .map(|(name, producer)| (producer.last_ns, name))
            .collect();
        ages.sort_unstable();
        let surplus = ages.len().saturating_sub(KEPT_PRODUCERS);
        let old: Vec<String> = ages[..surplus]
            .iter()
            .map(|(_, name)| (*name).clone())
            .collect();
        for name in &old {
            self.producers.remove(name);
        }
        metrics::counter!("headframe_producers_forgotten_total").increment(surplus as u64);
    }
}

impl Producer {
    /// Index of the first interval that ends at `number` or later.
    fn position(&self, number: i64) -> usize {
        match self.intervals.last() {
            // Nearly every row comes right after the last one.
            Some(&(low, _)) if number >= low => {
                self.intervals.len()
                    - usize::from(
                        self.intervals
                            .last()
                            .is_some_and(|&(_, high)| high >= number),
                    )
            }
            _ => self.intervals.partition_point(|&(_, high)| high < number),
        }
    }

    fn insert(&mut self, number: i64) -> bool {
        self.insert_run(number, number)
    }

    fn insert_run(&mut self, first: i64, last: i64) -> bool {
        let at = self.position(first);
        if self.intervals.get(at).is_some_and(|&(low, _)| low <= last) {
            return false;
        }
        let joins_left = at > 0 && self.intervals[at - 1].1.checked_add(1) == Some(first);
        let joins_right = self
            .intervals
            .get(at)
            .is_some_and(|&(low, _)| last.checked_add(1) == Some(low));
        match (joins_left, joins_right) {
            (true, true) => {
                self.intervals[at - 1].1 = self.intervals[at].1;
                self.intervals.remove(at);
            }
            (true, false) => self.intervals[at - 1].1 = last,
            (false, true) => self.intervals[at].0 = first,
            (false, false) => self.intervals.insert(at, (first, last)),
        }
        true
    }
}

/// A producer as it is written: its name, the stream time of its last row, its intervals.
type Row = (String, i64, Vec<(i64, i64)>);

impl Serialize for DuplicateFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.producers
                .iter()
                .map(|(name, producer)| (name, producer.last_ns, &producer.intervals)),
        )
    }
}

impl<'de> Deserialize<'de> for DuplicateFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows: Vec<Row> = Deserialize::deserialize(deserializer)?;
        let mut producers = BTreeMap::new();
        for (name, last_ns, intervals) in rows {
            let rising = intervals.windows(2).all(|pair| pair[0].1 < pair[1].0)
                && intervals.iter().all(|(low, high)| low <= high);
            if !rising {
                return Err(D::Error::custom(format!(
                    "the intervals of producer {name:?} are not rising"
                )));
            }
            producers.insert(name, Producer { last_ns, intervals });
        }
        Ok(Self { producers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((0..3_u8, 0..60_i64, 1..8_usize),
            0..200)) {
            let mut seen = DuplicateFilter::default();
            let mut plain = BTreeSet::new();
            for (producer, first, count) in steps {
                let name = format!("p{producer}");
                let run: Vec<i64> = (first..first + i64::try_from(count).unwrap()).collect();
                let all_new = run.iter().all(|n| !plain.contains(&(producer, *n)));
                if count % 2 == 0 {
                    prop_assert_eq!(seen.insert_run(&name, first, count, 0), all_new);
                    if all_new { plain.extend(run.iter().map(|n| (producer, *n))); }
                } else {
                    for n in run {
                        prop_assert_eq!(seen.insert(&name, n, 0), plain.insert((producer, n)));
                    }
                }
                let bytes = serde_json::to_vec(&seen).unwrap();
                prop_assert_eq!(&serde_json::from_slice::<DuplicateFilter>(&bytes).unwrap(), &seen);
            }
            // Intervals that touch must have been joined, or the set would grow without bound.
            for producer in seen.producers.values() {
                prop_assert!(producer.intervals.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line_are_safe() {
        let mut seen = DuplicateFilter::default();
        assert!(seen.insert("a", i64::MAX, 0));
        assert!(!seen.insert("a", i64::MAX, 0));
        assert!(seen.insert("a", i64::MIN, 0));
        assert!(
            !seen.insert_run("a", i64::MAX, 2, 0),
            "a run past the end is not new"
        );
        assert!(!seen.insert_run("a", 5, 0, 0));
    }

    #[test]
    fn a_producer_with_gaps_forgets_its_lowest_numbers_only() {
        let mut seen = DuplicateFilter::default();
        let limit = i64::try_from(MAX_INTERVALS).unwrap();
        for n in 0..=limit {
            assert!(seen.insert("a", n * 2, n));
        }
        assert_eq!(seen.intervals(), MAX_INTERVALS);
        assert!(!seen.insert("a", limit * 2, 0), "the newest is remembered");
        assert!(!seen.insert("a", 2, 0), "the second oldest is remembered");
        assert!(seen.insert("a", -1, 0), "a row that was never seen is new");
    }

    #[test]
    fn the_longest_silent_producers_are_forgotten() {
        let mut seen = DuplicateFilter::default();
        for n in 0..MAX_PRODUCERS {
            seen.insert(&format!("p{n:05}"), 1, i64::try_from(n).unwrap());
        }
        seen.insert("p00000", 2, 1_000_000);
        seen.insert("new", 1, 1_000_001);
        assert_eq!(seen.producers(), KEPT_PRODUCERS + 1);
        assert!(!seen.insert("p00000", 1, 0), "it spoke lately");
        assert!(seen.insert("p00001", 1, 0), "it was silent longest");
    }
}
