//! What was searched, to see that nothing is searched twice.

use std::collections::{BTreeMap, HashMap};

/// Ranges of nonces by blob: the first nonce of each, and the one behind its last.
#[derive(Default)]
pub struct Searched(HashMap<u64, BTreeMap<u64, u64>>);

impl Searched {
    /// Notes a range, in which nothing may have been searched before.
    pub fn add(&mut self, space: u64, start: u64, end: u64) {
        if start == end {
            return;
        }
        let ranges = self.0.entry(space).or_default();
        let before = ranges.range(..end).next_back();
        let before = before.map(|(start, end)| (*start, *end));
        match before {
            Some((_, ended)) if ended > start => panic!("{start} to {end} was searched before"),
            Some((first, ended)) if ended == start => ranges.insert(first, end),
            Some(_) | None => ranges.insert(start, end),
        };
    }
}

#[test]
fn a_range_is_searched_once() {
    let mut searched = Searched::default();
    for (start, end) in [(10, 20), (20, 30), (5, 10), (40, 50), (30, 30)] {
        searched.add(1, start, end);
    }
    searched.add(2, 10, 20);
    for (start, end) in [(29, 30), (0, 6), (39, 41), (0, 100), (49, 60)] {
        let again = std::panic::catch_unwind(|| {
            let mut searched = Searched(searched.0.clone());
            searched.add(1, start, end);
        });
        assert!(again.is_err(), "{start} to {end}");
    }
}
