//! The accepted shares of a set in a segment of row groups, in the order of their places.

use std::ops::Range;

use arrow::array::{
    ArrowPrimitiveType, AsArray, Decimal128Array, Int32Array, Int64Array, PrimitiveArray,
    RecordBatch, TimestampMicrosecondArray,
};
use futures::TryStreamExt;
use headframe_sinks::{RowGroup, SinkError};

use super::group_sums::{dictionary_column, is_solo, matches_text, solo_column};
use super::miner_ids::{DictionaryIds, MinerIds};
use super::work::WorkCounter;
use super::{column_error, hashes, wide};
use crate::payout::lifecycle::RowPosition;
use crate::payout::{ShareSet, ShareWork};

/// What a share must satisfy to be kept.
pub struct Candidate {
    /// Where it stands.
    pub place: RowPosition,
    /// When JetStream stored it, microseconds since 1970.
    pub ingest_time: i64,
}

struct Row {
    place: RowPosition,
    miner: u32,
    difficulty: i64,
    network: i128,
    is_block: bool,
}

/// Shares in the order of their places.
#[derive(Default)]
pub struct OrderedShares {
    names: MinerIds,
    rows: Vec<Row>,
}

/// Reads the accepted shares of a set that the caller wants to keep.
pub async fn read_shares(
    groups: &[RowGroup],
    set: &ShareSet,
    work: &WorkCounter,
    keep: impl Fn(&Candidate) -> bool,
) -> Result<OrderedShares, SinkError> {
    read_share_rows(groups, None, set, work, keep).await
}

/// The same of some rows of each row group.
pub async fn read_share_rows(
    groups: &[RowGroup],
    rows: Option<Range<usize>>,
    set: &ShareSet,
    work: &WorkCounter,
    keep: impl Fn(&Candidate) -> bool,
) -> Result<OrderedShares, SinkError> {
    let columns = [
        "seq",
        "row",
        "ingest_time",
        "pool",
        "miner",
        "outcome",
        "difficulty",
        "network_difficulty",
        "block_hash",
        "solo",
    ];
    let mut ordered = OrderedShares::default();
    for group in groups {
        let rows = rows.clone().unwrap_or(0..group.rows());
        work.walk(rows.len());
        let mut seen = DictionaryIds::default();
        let mut batches = group.read_rows(&columns, rows)?;
        while let Some(batch) = batches.try_next().await? {
            ordered.add(&batch, set, &mut seen, &keep)?;
        }
    }
    if !ordered.rows.is_sorted_by_key(|row| row.place) {
        ordered.rows.sort_unstable_by_key(|row| row.place);
    }
    Ok(ordered)
}

/// The rows of a row group that have this text in a column, which alone is read.
pub async fn rows_with_text(
    group: &RowGroup,
    column: &str,
    text: &str,
    work: &WorkCounter,
) -> Result<Vec<usize>, SinkError> {
    work.search(group.rows());
    let (mut found, mut first) = (Vec::new(), 0);
    let mut batches = group.read(&[column])?;
    while let Some(batch) = batches.try_next().await? {
        let texts = dictionary_column(&batch, column)?;
        let wanted = matches_text(texts, text);
        if wanted.contains(&true) {
            let is_wanted = |row: &usize| texts.key(*row).is_some_and(|key| wanted[key]);
            found.extend(
                (0..batch.num_rows())
                    .filter(is_wanted)
                    .map(|row| first + row),
            );
        }
        first += batch.num_rows();
    }
    Ok(found)
}

/// How many of the first rows of a row group in order do not come after a place; `None` when its
/// rows turn out not to be in order.
pub async fn rows_through(
    group: &RowGroup,
    end: RowPosition,
    work: &WorkCounter,
) -> Result<Option<usize>, SinkError> {
    work.search(group.rows());
    let (mut through, mut newest) = (0, None);
    let mut batches = group.read(&["seq", "row"])?;
    while let Some(batch) = batches.try_next().await? {
        let seqs: &Int64Array = number_column(&batch, "seq")?;
        let rows: &Int32Array = number_column(&batch, "row")?;
        for (seq, row) in seqs.values().iter().zip(rows.values()) {
            let place = RowPosition {
                seq: *seq,
                row: i64::from(*row),
            };
            if newest.replace(place).is_some_and(|newer| newer >= place) {
                return Ok(None);
            }
            through += usize::from(place <= end);
        }
    }
    Ok(Some(through))
}

/// The number columns of a batch.
struct Numbers<'a> {
    seqs: &'a Int64Array,
    rows: &'a Int32Array,
    times: &'a TimestampMicrosecondArray,
    difficulties: &'a Int64Array,
    networks: &'a Decimal128Array,
}

impl<'a> Numbers<'a> {
    fn of_batch(batch: &'a RecordBatch) -> Result<Self, SinkError> {
        Ok(Self {
            seqs: number_column(batch, "seq")?,
            rows: number_column(batch, "row")?,
            times: number_column(batch, "ingest_time")?,
            difficulties: number_column(batch, "difficulty")?,
            networks: number_column(batch, "network_difficulty")?,
        })
    }
}

fn number_column<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, SinkError> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<T>())
        .ok_or_else(|| column_error(batch, name))
}

impl OrderedShares {
    fn add(
        &mut self,
        batch: &RecordBatch,
        set: &ShareSet,
        seen: &mut DictionaryIds,
        keep: &impl Fn(&Candidate) -> bool,
    ) -> Result<(), SinkError> {
        let Numbers {
            seqs,
            rows,
            times,
            difficulties,
            networks,
        } = Numbers::of_batch(batch)?;
        let (pools, miners, outcomes) = (
            dictionary_column(batch, "pool")?,
            dictionary_column(batch, "miner")?,
            dictionary_column(batch, "outcome")?,
        );
        // Files of before that column existed lack it.
        let blocks = batch
            .column_by_name("block_hash")
            .map(|_| dictionary_column(batch, "block_hash"))
            .transpose()?;
        let solos = solo_column(batch)?;
        let (of_pool, accepted) = (
            matches_text(pools, &set.pool),
            matches_text(outcomes, "accepted"),
        );
        let numbers = seen.numbers(&mut self.names, miners.values().as_string());
        for row in 0..batch.num_rows() {
            let is = |kept: &[bool], key: Option<usize>| {
                key.and_then(|key| kept.get(key).copied()).unwrap_or(false)
            };
            if !is(&accepted, outcomes.key(row)) || !is(&of_pool, pools.key(row)) {
                continue;
            }
            if is_solo(solos, row) != set.solo {
                continue;
            }
            let block = blocks.and_then(|blocks| {
                Some(blocks.values().as_string::<i32>().value(blocks.key(row)?))
            });
            let place = RowPosition {
                seq: seqs.value(row),
                row: i64::from(rows.value(row)),
            };
            if !keep(&Candidate {
                place,
                ingest_time: times.value(row),
            }) {
                continue;
            }
            let miner = miners
                .key(row)
                .and_then(|key| numbers.get(key))
                .copied()
                .ok_or_else(|| column_error(batch, "miner"))?;
            let (difficulty, network) = (difficulties.value(row), networks.value(row));
            self.rows.push(Row {
                place,
                miner,
                difficulty,
                network,
                is_block: block.is_some(),
            });
        }
        Ok(())
    }

    /// The newest share's place.
    pub fn last(&self) -> Option<RowPosition> {
        self.rows.last().map(|row| row.place)
    }

    /// The oldest share's place.
    pub fn first(&self) -> Option<RowPosition> {
        self.rows.first().map(|row| row.place)
    }

    /// The miners, by the numbers that the shares come with.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }

    /// The shares, newest first, each with its place and the number of its miner.
    pub fn newest_first(&self) -> impl Iterator<Item = (RowPosition, usize, ShareWork<'_>)> {
        self.rows.iter().rev().map(|row| {
            let miner = self.names.get(row.miner).unwrap_or_default();
            let (difficulty, network_difficulty) = (hashes(row.difficulty), wide(row.network));
            (
                row.place,
                row.miner as usize,
                ShareWork {
                    miner,
                    difficulty,
                    network_difficulty,
                    is_block: row.is_block,
                },
            )
        })
    }
}
