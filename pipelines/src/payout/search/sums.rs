//! What each miner's shares come to while a window is searched: by number, for a name costs much
//! more than its sum.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};

use super::tally::Tally;
use crate::payout::Window;

/// Weight and shares by the number of a miner's name.
#[derive(Default)]
pub struct Sums(Vec<(u128, u64)>);

/// The numbers of the miners of many dictionaries, which every row group has its own of.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

/// The numbers of the last dictionary. All batches of a row group have one, each in an array of its
/// own over the same bytes.
#[derive(Default)]
pub struct Seen(Option<(StringArray, Vec<u32>)>);

impl Seen {
    /// The number of each value of a dictionary.
    pub fn numbers(&mut self, names: &mut Names, values: &StringArray) -> &[u32] {
        // The known one is kept, so that its memory cannot have become another's.
        if self
            .0
            .as_ref()
            .is_none_or(|(known, _)| !same(known, values))
        {
            let numbers = values
                .iter()
                .map(|name| names.number(name.unwrap_or_default()))
                .collect();
            self.0 = Some((values.clone(), numbers));
        }
        self.0.as_ref().map_or(&[], |(_, numbers)| numbers)
    }
}

/// Whether two arrays lie over the same bytes.
pub fn same(one: &StringArray, other: &StringArray) -> bool {
    let bytes = |of: &StringArray| (of.value_data().as_ptr(), of.offsets().as_ptr(), of.len());
    bytes(one) == bytes(other)
}

impl Sums {
    /// Adds shares of the miner with this number.
    pub fn add(&mut self, number: u32, weight: u128, shares: u64) {
        let place = number as usize;
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), (0, 0));
        }
        let sum = &mut self.0[place];
        *sum = (sum.0.saturating_add(weight), sum.1 + shares);
    }

    /// Adds all of a tally.
    pub fn add_all(&mut self, tally: &Tally) {
        for (number, weight, shares) in &tally.sums {
            self.add(*number, *weight, *shares);
        }
    }

    /// All of it as a window. A miner of whom nothing came is not in it.
    pub fn window(&self, names: &Names) -> Window {
        let mut window = Window::default();
        for (name, (weight, shares)) in names
            .names
            .iter()
            .zip(&self.0)
            .filter(|(_, (_, shares))| *shares > 0)
        {
            window.add(name, *weight, *shares);
        }
        window
    }
}

impl Names {
    /// The number of a name, a new one if it is new.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    /// All names, by number.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of this number.
    pub fn get(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }
}
