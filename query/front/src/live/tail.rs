//! The newest rows of a stream, as the process that reads JetStream has them.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use headframe_schemas::Stream;
use tokio::sync::watch;

/// One stream's rows that are newer than its table, for all who subscribe to it in this process.
#[async_trait]
pub trait LiveTail: Send + Sync {
    /// The stream.
    fn stream(&self) -> &'static dyn Stream;

    /// Notes each change of what is held.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The rows held whose sequence is greater than `after`.
    fn newer_than(&self, after: i64) -> Result<TailRows, String>;

    /// The last message's sequence that JetStream has acknowledged.
    async fn last_seq(&self) -> Result<i64, String>;

    /// The oldest row that the table holds; `None` when it holds none.
    async fn oldest(&self) -> Result<Option<OldestRow>, String>;
}

/// Rows of a stream that are held in memory.
#[derive(Debug, Clone)]
pub struct TailRows {
    /// Rows with the raw table's physical columns, in order of `(seq, row)`.
    pub batches: Vec<RecordBatch>,
    /// Every row with `after < seq <= through` that was asked for is here.
    pub after: i64,
    /// See `after`; equal to it when nothing is held.
    pub through: i64,
    /// Sequences of different generations count in different streams.
    pub generation: u64,
}

/// Where a table begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldestRow {
    /// The sequence.
    pub seq: i64,
    /// When JetStream stored it, in microseconds since 1970.
    pub ingest_us: i64,
}
