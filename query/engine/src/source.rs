//! Where a query's rows come from: for each stream its stored tables and the rows newer than them.
//!
//! A query knows nothing of Delta logs or JetStream consumers; it knows sequences. That is enough
//! to join a stored table that is complete through `S` with newer rows, without a gap and without
//! an overlap.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use headframe_query_front::{At, OldestRow};
use headframe_schemas::{Rollup, Stream};

use crate::uncommitted_rows::{NoRows, UncommittedRows};

/// One version of a stored table.
#[derive(Clone)]
pub struct Stored {
    /// The version; 0 for a table nobody has made yet.
    pub version: u64,
    /// When it was committed, in microseconds since 1970.
    pub committed_us: i64,
    /// The sequence it is complete through; `None` when nothing was ever stored.
    pub offset: Option<i64>,
    /// The newest `ingest_time` in a raw table, in microseconds since 1970, where it is known.
    pub newest_us: Option<i64>,
    /// Whether it is known that a raw table holds no refused row, so that nothing need be filtered.
    pub all_good: bool,
    /// How many of a raw table's rows were not refused, where that is known.
    pub good_rows: Option<usize>,
    /// The oldest row of a raw table, where that is known.
    pub oldest: Option<OldestRow>,
    /// Its rows.
    pub rows: Arc<dyn StoredRows>,
}

/// Rows of one version of a stored table.
pub trait StoredRows: Send + Sync {
    /// The rows as a table with the physical columns. Of a raw table only those with `after < seq`
    /// and `seq <= through`, so that files outside need not be opened; a bound that is `None` does
    /// not bind. A rollup's table has no `seq` and is asked without bounds.
    fn between(&self, after: Option<i64>, through: Option<i64>) -> Arc<dyn TableProvider>;

    /// How many rows of a raw table came since a time, in microseconds since 1970, and were not
    /// refused, by statistics alone: rows are taken to be spread evenly over the times of their
    /// file. `None` where there are none.
    fn count_since(&self, _since_us: i64) -> Option<f64> {
        None
    }
}

/// Rows of a stream that are newer than some stored version, held in memory.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The rows.
    pub rows: Arc<dyn UncommittedRows>,
    /// Every row with `after < seq <= through` is here.
    pub after: i64,
    /// See `after`; equal to it when nothing is held.
    pub through: i64,
    /// Whether newer rows were left out because the memory for them is used up.
    pub truncated: bool,
    /// Sequences of different generations count in different streams.
    pub generation: u64,
}

impl Tail {
    /// No rows, behind every table.
    pub fn empty() -> Self {
        Self {
            rows: Arc::new(NoRows),
            after: 0,
            through: 0,
            truncated: false,
            generation: 0,
        }
    }
}

/// The newest that is known of a stream.
#[derive(Debug, Clone)]
pub struct Live {
    /// The sequence of the last message that JetStream had acknowledged to anyone.
    pub acknowledged: Result<i64, SourceError>,
    /// The rows held in memory.
    pub tail: Tail,
}

/// Why rows cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// No such version or time.
    #[error("{table} has no {what}: its history does not reach there")]
    NoSuchVersion {
        /// The table.
        table: String,
        /// What was asked for.
        what: String,
    },
    /// Storage or JetStream does not answer.
    #[error("{action} of {stream}: {why}")]
    Unavailable {
        /// What was attempted, e.g. `reading the last sequence`.
        action: &'static str,
        /// The stream or table.
        stream: String,
        /// What is wrong.
        why: String,
    },
}

/// One stream's tables and tail. All sequences are those of the raw table.
#[async_trait]
pub trait Source: Send + Sync {
    /// The stream.
    fn stream(&self) -> &'static dyn Stream;

    /// What the stream is known to hold now, and the rows held in memory: when they reach that, or
    /// when `wait` has passed.
    async fn live(&self, wait: Duration) -> Live;

    /// The raw table.
    async fn raw(&self, at: At) -> Result<Stored, SourceError>;

    /// The table of a rollup of this stream.
    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError>;
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("version", &self.version)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
