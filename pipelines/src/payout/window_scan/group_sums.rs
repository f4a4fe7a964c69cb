//! The sums of a row group: what each miner's accepted shares weigh, without their order.

use std::ops::Range;
use std::sync::Mutex;

use arrow::array::{Array, AsArray, BooleanArray, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use futures::TryStreamExt;
use headframe_sinks::BATCH_ROWS;
use headframe_sinks::{RowGroup, SinkError};

use super::miner_ids::{MinerIds, same};
use super::work::WorkCounter;
use super::{Weights, column_error, locked};
use crate::payout::ShareSet;

/// What shares add up to.
#[derive(Debug, Default)]
pub struct GroupSums {
    /// What each miner's come to: the number of its name, weight, shares. A miner may be there more
    /// than once.
    pub sums: Vec<(u32, u128, u64)>,
    /// What every `BATCH_ROWS` rows come to, in their order; nothing when the reader cut them
    /// otherwise.
    pub chunks: Vec<Total>,
    /// What all come to.
    pub total: Total,
}

/// A sum over miners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// The sum of the weights, at most `u128::MAX`.
    pub weight: u128,
    /// Accepted shares of the set.
    pub shares: u64,
    /// Whether any of them made a block.
    pub has_blocks: bool,
}

impl Total {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.shares += other.shares;
        self.has_blocks |= other.has_blocks;
    }
}

/// Adds up the accepted shares of a set in some rows of a row group.
pub async fn sum_rows(
    group: &RowGroup,
    rows: Range<usize>,
    set: &ShareSet,
    names: &Mutex<MinerIds>,
    work: &WorkCounter,
) -> Result<GroupSums, SinkError> {
    // What the footer says of all rows need not be read in each.
    let (pools, network) = (
        group.only_text("pool"),
        group.only_decimal("network_difficulty"),
    );
    let has_solo = !group.is_void("solo");
    if pools.is_some_and(|only| only != set.pool) || (set.solo && !has_solo) {
        return Ok(GroupSums::default());
    }
    work.sum(rows.len());
    let mut columns = vec!["miner", "outcome", "difficulty"];
    columns.extend(pools.is_none().then_some("pool"));
    columns.extend(network.is_none().then_some("network_difficulty"));
    columns.extend((!group.is_void("block_hash")).then_some("block_hash"));
    columns.extend(has_solo.then_some("solo"));
    let mut adding = SumBuilder {
        names,
        network,
        weights: Weights::new(),
        miners: None,
        before: 0,
        sums: GroupSums::default(),
    };
    let mut batches = group.read_rows(&columns, rows)?;
    let mut aligned = true;
    while let Some(batch) = batches.try_next().await? {
        let total = adding.add(&batch, set)?;
        adding.sums.chunks.push(total);
        adding.sums.total.add(total);
        // Only the last one may be shorter.
        aligned &= adding.sums.chunks.len() == 1 || adding.before == BATCH_ROWS;
        adding.before = batch.num_rows();
    }
    adding.flush();
    let mut sums = adding.sums;
    if !aligned {
        sums.chunks.clear();
    }
    Ok(sums)
}

struct SumBuilder<'a> {
    names: &'a Mutex<MinerIds>,
    network: Option<i128>,
    weights: Weights,
    /// The dictionary of the batches so far, and what each of its values has come to. A row group
    /// has one, unless it became too long for its writer.
    miners: Option<(StringArray, Vec<(u128, u64)>)>,
    /// Rows of the batch before.
    before: usize,
    sums: GroupSums,
}

impl SumBuilder<'_> {
    fn add(&mut self, batch: &RecordBatch, set: &ShareSet) -> Result<Total, SinkError> {
        let (miners, outcomes) = (
            dictionary_column(batch, "miner")?,
            dictionary_column(batch, "outcome")?,
        );
        let pools = batch
            .column_by_name("pool")
            .map(|_| dictionary_column(batch, "pool"))
            .transpose()?;
        let difficulties = batch
            .column_by_name("difficulty")
            .and_then(|column| column.as_primitive_opt::<Int64Type>());
        let difficulties = difficulties
            .ok_or_else(|| column_error(batch, "difficulty"))?
            .values();
        let networks = batch
            .column_by_name("network_difficulty")
            .and_then(|column| column.as_primitive_opt::<Decimal128Type>());
        let networks = networks.map(|networks| networks.values());
        if networks.is_none() && self.network.is_none() {
            return Err(column_error(batch, "network_difficulty"));
        }
        let blocks = batch.column_by_name("block_hash");
        let values = miners.values().as_string::<i32>();
        if self
            .miners
            .as_ref()
            .is_none_or(|(known, _)| !same(known, values))
        {
            self.flush();
        }
        let (_, sums) = self
            .miners
            .get_or_insert_with(|| (values.clone(), vec![(0, 0); values.len()]));
        let (accepted, of_pool) = (
            matches_text(outcomes, "accepted"),
            pools.map(|pools| (pools.keys().values(), matches_text(pools, &set.pool))),
        );
        let solos = solo_column(batch)?;
        let is = |kept: &[bool], key: i32| kept.get(key as usize).copied().unwrap_or(false);
        let (miner_keys, outcome_keys) = (miners.keys().values(), outcomes.keys().values());
        // A rejected row has no verdict, and none of the others matters then.
        let nulls = outcomes
            .keys()
            .nulls()
            .filter(|nulls| nulls.null_count() > 0);
        let mut total = Total::default();
        for row in 0..batch.num_rows() {
            let counts = is(&accepted, outcome_keys[row])
                && of_pool
                    .as_ref()
                    .is_none_or(|(keys, of_pool)| is(of_pool, keys[row]))
                && nulls.is_none_or(|nulls| nulls.is_valid(row))
                && is_solo(solos, row) == set.solo;
            if !counts {
                continue;
            }
            let network = networks.map_or(self.network.unwrap_or(0), |networks| networks[row]);
            let weight = self.weights.weight(difficulties[row], network);
            total.add(Total {
                weight,
                shares: 1,
                has_blocks: blocks.is_some_and(|blocks| blocks.is_valid(row)),
            });
            if let Some(sum) = sums.get_mut(miner_keys[row] as usize) {
                *sum = (sum.0.saturating_add(weight), sum.1 + 1);
            }
        }
        Ok(total)
    }

    /// Puts what the values of the dictionary have come to where the numbers of their names say.
    fn flush(&mut self) {
        let Some((values, sums)) = self.miners.take() else {
            return;
        };
        let mut names = locked(self.names);
        for (name, (weight, shares)) in values
            .iter()
            .zip(sums)
            .filter(|(_, (_, shares))| *shares > 0)
        {
            self.sums
                .sums
                .push((names.id_of(name.unwrap_or_default()), weight, shares));
        }
    }
}

/// A text column as the dictionary it is stored as.
pub fn dictionary_column<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a DictionaryArray<Int32Type>, SinkError> {
    let column = batch
        .column_by_name(name)
        .and_then(|column| column.as_dictionary_opt::<Int32Type>());
    column
        .filter(|column| column.values().as_string_opt::<i32>().is_some())
        .ok_or_else(|| column_error(batch, name))
}

/// Which shares were mined solo; `None` where no row says so. Files of before that column existed
/// lack it.
pub fn solo_column(batch: &RecordBatch) -> Result<Option<&BooleanArray>, SinkError> {
    let Some(column) = batch.column_by_name("solo") else {
        return Ok(None);
    };
    let solos = column.as_boolean_opt();
    solos.map(Some).ok_or_else(|| column_error(batch, "solo"))
}

/// Whether the share of a row was mined solo; null is no.
pub fn is_solo(solos: Option<&BooleanArray>, row: usize) -> bool {
    solos.is_some_and(|solos| solos.is_valid(row) && solos.value(row))
}

/// Which values of a dictionary are this text.
pub fn matches_text(column: &DictionaryArray<Int32Type>, text: &str) -> Vec<bool> {
    column
        .values()
        .as_string::<i32>()
        .iter()
        .map(|value| value == Some(text))
        .collect()
}
