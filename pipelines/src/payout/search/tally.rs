//! The sums of a row group: what each miner's accepted shares weigh, without their order.

use arrow::array::{Array, AsArray, DictionaryArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use futures::TryStreamExt;
use headframe_sinks::{RowGroup, SinkError};

use super::sums::{Seen, Sums};
use super::{Weights, missing};

/// What shares add up to.
#[derive(Default)]
pub struct Tally {
    /// The sum of all weights, at most `u128::MAX`.
    pub total: u128,
    /// Accepted shares of the pool.
    pub shares: u64,
    /// What each miner's come to.
    pub sums: Sums,
}

impl Tally {
    /// Adds the accepted shares that a pool has in a row group.
    pub async fn read(&mut self, group: &RowGroup, pool: &str) -> Result<(), SinkError> {
        let columns = ["pool", "miner", "outcome", "difficulty", "network_difficulty"];
        let (mut weights, mut seen) = (Weights::new(), Seen::default());
        let mut batches = group.read(&columns)?;
        while let Some(batch) = batches.try_next().await? {
            self.add(&batch, pool, &mut weights, &mut seen)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch, pool: &str, weights: &mut Weights, seen: &mut Seen) -> Result<(), SinkError> {
        let (pools, miners, outcomes) = (texts(batch, "pool")?, texts(batch, "miner")?, texts(batch, "outcome")?);
        let difficulties = batch.column_by_name("difficulty").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let difficulties = difficulties.ok_or_else(|| missing(batch, "difficulty"))?;
        let networks = batch.column_by_name("network_difficulty").and_then(|column| column.as_primitive_opt::<Decimal128Type>());
        let networks = networks.ok_or_else(|| missing(batch, "network_difficulty"))?;
        let (of_pool, accepted) = (those(pools, pool), those(outcomes, "accepted"));
        let numbers = seen.numbers(self.sums.names(), miners.values().as_string());
        let is = |kept: &[bool], key: i32| kept.get(key as usize).copied().unwrap_or(false);
        let (pool_keys, miner_keys, outcome_keys) = (pools.keys().values(), miners.keys().values(), outcomes.keys().values());
        // A rejected row has no verdict, and none of the others matters then.
        let good = |row: usize| outcomes.keys().nulls().is_none_or(|nulls| nulls.is_valid(row));
        for row in 0..batch.num_rows() {
            if !is(&accepted, outcome_keys[row]) || !is(&of_pool, pool_keys[row]) || !good(row) {
                continue;
            }
            let weight = weights.of(difficulties.value(row), networks.value(row));
            self.total = self.total.saturating_add(weight);
            self.shares += 1;
            let number = numbers.get(miner_keys[row] as usize).copied().unwrap_or(0);
            self.sums.add(number, weight, 1);
        }
        Ok(())
    }
}

/// A text column as the dictionary it is stored as.
pub fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a DictionaryArray<Int32Type>, SinkError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_dictionary_opt::<Int32Type>());
    column.filter(|column| column.values().as_string_opt::<i32>().is_some()).ok_or_else(|| missing(batch, name))
}

/// Which values of a dictionary are this text.
pub fn those(column: &DictionaryArray<Int32Type>, text: &str) -> Vec<bool> {
    column.values().as_string::<i32>().iter().map(|value| value == Some(text)).collect()
}
