//! Numbers for miners' names: every row group has a dictionary of its own, and one number stands
//! for a name in all of them.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};

/// The numbers of the miners of many dictionaries, which every row group has its own of.
#[derive(Debug, Default)]
pub struct MinerIds {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

/// The numbers of the last dictionary. All batches of a row group have one, each in an array of its
/// own over the same bytes.
#[derive(Default)]
pub struct DictionaryIds(Option<(StringArray, Vec<u32>)>);

impl DictionaryIds {
    /// The number of each value of a dictionary.
    pub fn numbers(&mut self, names: &mut MinerIds, values: &StringArray) -> &[u32] {
        // The known one is kept, so that its memory cannot have become another's.
        if self
            .0
            .as_ref()
            .is_none_or(|(known, _)| !same(known, values))
        {
            let numbers = values
                .iter()
                .map(|name| names.id_of(name.unwrap_or_default()))
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

impl MinerIds {
    /// The number of a name, a new one if it is new.
    pub fn id_of(&mut self, name: &str) -> u32 {
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
