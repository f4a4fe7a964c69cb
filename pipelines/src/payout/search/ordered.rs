//! The accepted shares of a pool in a stretch of row groups, in the order of their places.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use headframe_sinks::{RowGroup, SinkError};

use super::sums::{Names, Seen};
use super::tally::{texts, those};
use super::{hashes, missing, wide};
use crate::payout::ShareWork;
use crate::payout::course::Place;

/// What a share must satisfy to be kept.
pub struct Candidate<'a> {
    /// Where it stands.
    pub place: Place,
    /// When JetStream stored it, microseconds since 1970.
    pub ingest_time: i64,
    /// The block it made.
    pub block_hash: Option<&'a str>,
}

struct Row {
    place: Place,
    miner: u32,
    difficulty: i64,
    network: i128,
    is_block: bool,
}

/// Shares in the order of their places.
#[derive(Default)]
pub struct Ordered {
    names: Names,
    rows: Vec<Row>,
}

/// Reads the accepted shares of a pool that the caller wants to keep.
pub async fn read(
    groups: &[RowGroup],
    pool: &str,
    keep: impl Fn(&Candidate<'_>) -> bool,
) -> Result<Ordered, SinkError> {
    read_rows(groups, None, pool, keep).await
}

/// The same of some rows of each row group.
pub async fn read_rows(
    groups: &[RowGroup],
    rows: Option<Range<usize>>,
    pool: &str,
    keep: impl Fn(&Candidate<'_>) -> bool,
) -> Result<Ordered, SinkError> {
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
    ];
    let mut ordered = Ordered::default();
    for group in groups {
        let (mut seen, mut batches) = (
            Seen::default(),
            group.read_rows(&columns, rows.clone().unwrap_or(0..group.rows()))?,
        );
        while let Some(batch) = batches.try_next().await? {
            ordered.add(&batch, pool, &mut seen, &keep)?;
        }
    }
    if !ordered.rows.is_sorted_by_key(|row| row.place) {
        ordered.rows.sort_unstable_by_key(|row| row.place);
    }
    Ok(ordered)
}

impl Ordered {
    fn add(
        &mut self,
        batch: &RecordBatch,
        pool: &str,
        seen: &mut Seen,
        keep: &impl Fn(&Candidate<'_>) -> bool,
    ) -> Result<(), SinkError> {
        let ints = |name: &str| {
            let column = batch
                .column_by_name(name)
                .and_then(|column| column.as_primitive_opt::<Int64Type>());
            column.ok_or_else(|| missing(batch, name))
        };
        let (seqs, difficulties) = (ints("seq")?, ints("difficulty")?);
        let rows = batch
            .column_by_name("row")
            .and_then(|column| column.as_primitive_opt::<Int32Type>());
        let rows = rows.ok_or_else(|| missing(batch, "row"))?;
        let times = batch
            .column_by_name("ingest_time")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| missing(batch, "ingest_time"))?;
        let networks = batch
            .column_by_name("network_difficulty")
            .and_then(|column| column.as_primitive_opt::<Decimal128Type>());
        let networks = networks.ok_or_else(|| missing(batch, "network_difficulty"))?;
        let (pools, miners, outcomes) = (
            texts(batch, "pool")?,
            texts(batch, "miner")?,
            texts(batch, "outcome")?,
        );
        // Files of before that column existed lack it.
        let blocks = batch
            .column_by_name("block_hash")
            .map(|_| texts(batch, "block_hash"))
            .transpose()?;
        let (of_pool, accepted) = (those(pools, pool), those(outcomes, "accepted"));
        let numbers = seen.numbers(&mut self.names, miners.values().as_string());
        for row in 0..batch.num_rows() {
            let is = |kept: &[bool], key: Option<usize>| {
                key.and_then(|key| kept.get(key).copied()).unwrap_or(false)
            };
            if !is(&accepted, outcomes.key(row)) || !is(&of_pool, pools.key(row)) {
                continue;
            }
            let block = blocks.and_then(|blocks| {
                Some(blocks.values().as_string::<i32>().value(blocks.key(row)?))
            });
            let place = Place {
                seq: seqs.value(row),
                row: i64::from(rows.value(row)),
            };
            if !keep(&Candidate {
                place,
                ingest_time: times.value(row),
                block_hash: block,
            }) {
                continue;
            }
            let miner = miners
                .key(row)
                .and_then(|key| numbers.get(key))
                .copied()
                .ok_or_else(|| missing(batch, "miner"))?;
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
    pub fn last(&self) -> Option<Place> {
        self.rows.last().map(|row| row.place)
    }

    /// The oldest share's place.
    pub fn first(&self) -> Option<Place> {
        self.rows.first().map(|row| row.place)
    }

    /// The miners, by the numbers that the shares come with.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }

    /// The shares, newest first, each with its place and the number of its miner.
    pub fn newest_first(&self) -> impl Iterator<Item = (Place, usize, ShareWork<'_>)> {
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
