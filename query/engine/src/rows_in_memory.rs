//! Rows that no table holds yet, held in this process.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::max;
use arrow::datatypes::TimestampMicrosecondType;
use async_trait::async_trait;
use headframe_query_front::QueryError;
use headframe_schemas::table::{INGEST_TIME, REJECT_REASON};

use crate::error::from_datafusion;
use crate::uncommitted_rows::{RowCounts, UncommittedRows};
use crate::union::newer_than;

/// Rows held in this process, with the raw table's physical columns, in order of `(seq, row)`.
#[derive(Debug, Clone, Default)]
pub struct RowsInMemory(Vec<RecordBatch>);

impl RowsInMemory {
    /// These rows.
    pub fn new(batches: Vec<RecordBatch>) -> Self {
        Self(batches)
    }

    fn newer(&self, after: i64) -> Result<Vec<RecordBatch>, QueryError> {
        newer_than(&self.0, after).map_err(from_datafusion)
    }
}

#[async_trait]
impl UncommittedRows for RowsInMemory {
    async fn count(&self, after: i64) -> Result<RowCounts, QueryError> {
        let newer = self.newer(after)?;
        let good = |batch: &RecordBatch| {
            let reasons = batch.column_by_name(REJECT_REASON.name);
            reasons.map_or(0, |reasons| reasons.null_count())
        };
        Ok(RowCounts {
            rows: newer.iter().map(RecordBatch::num_rows).sum(),
            good: newer.iter().map(good).sum(),
        })
    }

    async fn newest_us(&self, after: i64) -> Result<Option<i64>, QueryError> {
        let newer = self.newer(after)?;
        let times = newer
            .iter()
            .filter_map(|batch| batch.column_by_name(INGEST_TIME.name));
        let newest =
            times.filter_map(|column| max(column.as_primitive_opt::<TimestampMicrosecondType>()?));
        Ok(newest.max())
    }

    async fn columns(&self, after: i64, columns: &[usize]) -> Result<Vec<RecordBatch>, QueryError> {
        let newer = self.newer(after)?.into_iter();
        let projected = newer.map(|batch| {
            batch
                .project(columns)
                .map_err(|error| QueryError::internal(error.to_string()))
        });
        projected.collect()
    }
}
