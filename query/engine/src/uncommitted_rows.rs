//! Rows that no table holds yet, wherever they are held.
//!
//! A statement that names few columns, or only counts, needs few of their bytes: what is known of
//! the rows can be asked without them, and each scan takes the columns that it reads.

use std::fmt;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use headframe_query_front::QueryError;
use serde::{Deserialize, Serialize};

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// All of them.
    pub rows: usize,
    /// Those that were not refused.
    pub good: usize,
}

/// The rows of one look at a stream. They do not change, whatever is committed meanwhile.
#[async_trait]
pub trait UncommittedRows: fmt::Debug + Send + Sync {
    /// How many rows there are with `after < seq`.
    async fn count(&self, after: i64) -> Result<RowCounts, QueryError>;

    /// The newest `ingest_time` of the rows with `after < seq`, in microseconds since 1970.
    async fn newest_us(&self, after: i64) -> Result<Option<i64>, QueryError>;

    /// The rows with `after < seq`, in order of `(seq, row)`, with the raw table's columns of these
    /// indexes, in this order.
    async fn columns(&self, after: i64, columns: &[usize]) -> Result<Vec<RecordBatch>, QueryError>;
}

/// No rows.
#[derive(Debug)]
pub struct NoRows;

#[async_trait]
impl UncommittedRows for NoRows {
    async fn count(&self, _: i64) -> Result<RowCounts, QueryError> {
        Ok(RowCounts::default())
    }

    async fn newest_us(&self, _: i64) -> Result<Option<i64>, QueryError> {
        Ok(None)
    }

    async fn columns(&self, _: i64, _: &[usize]) -> Result<Vec<RecordBatch>, QueryError> {
        Ok(Vec::new())
    }
}
