//! What each miner's shares come to while a window is searched: by number, for a name costs much more than its sum.

use std::collections::HashMap;

use arrow::array::StringArray;

use crate::payout::Window;

/// Work and shares by miner.
#[derive(Default)]
pub struct Sums {
    names: Names,
    /// Weight and shares by the number of the name; shorter than the names while nothing came for the last ones.
    sums: Vec<(u128, u64)>,
}

/// The numbers of the miners of many dictionaries, which every row group has its own of.
#[derive(Default)]
pub struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

/// The numbers of the last dictionary. All batches of a row group have one, each in an array of its own over the same bytes.
#[derive(Default)]
pub struct Seen(Option<(StringArray, Vec<u32>)>);

impl Seen {
    /// The number of each value of a dictionary.
    pub fn numbers(&mut self, names: &mut Names, values: &StringArray) -> &[u32] {
        let bytes = |of: &StringArray| (of.value_data().as_ptr(), of.offsets().as_ptr(), of.offsets().len());
        // The known one is kept, so that its memory cannot have become another's.
        if self.0.as_ref().is_none_or(|(known, _)| bytes(known) != bytes(values)) {
            let numbers = names.numbers(values.iter().map(Option::unwrap_or_default));
            self.0 = Some((values.clone(), numbers));
        }
        self.0.as_ref().map_or(&[], |(_, numbers)| numbers)
    }
}

impl Sums {
    /// The names, to get their numbers.
    pub fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Adds shares of the miner with this number.
    pub fn add(&mut self, number: u32, weight: u128, shares: u64) {
        let place = number as usize;
        if place >= self.sums.len() {
            self.sums.resize(self.names.names.len().max(place + 1), (0, 0));
        }
        let sum = &mut self.sums[place];
        *sum = (sum.0.saturating_add(weight), sum.1 + shares);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        let numbers = self.names.numbers(other.names.iter());
        for (number, (weight, shares)) in numbers.into_iter().zip(&other.sums) {
            self.add(number, *weight, *shares);
        }
    }

    /// All of it as a window. A miner of whom nothing came is not in it.
    pub fn window(&self) -> Window {
        let mut window = Window::default();
        for (name, (weight, shares)) in self.names.names.iter().zip(&self.sums).filter(|(_, (_, shares))| *shares > 0) {
            window.add(name, *weight, *shares);
        }
        window
    }
}

impl Names {
    /// The number of each value of a dictionary.
    pub fn numbers<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> Vec<u32> {
        values
            .map(|name| match self.numbers.get(name) {
                Some(number) => *number,
                None => {
                    let number = self.names.len() as u32;
                    self.numbers.insert(name.to_owned(), number);
                    self.names.push(name.to_owned());
                    number
                }
            })
            .collect()
    }

    /// All names, by number.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The name of this number.
    pub fn get(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }
}
