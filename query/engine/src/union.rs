//! A table that is stored rows and newer rows in memory, read as one.
//!
//! A `UNION ALL` in SQL would do, but this keeps one scan: filters and projections reach the
//! Parquet files as if the tail were not there.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

/// Stored rows and rows in memory with the same schema.
#[derive(Debug)]
pub struct UnionTable {
    schema: SchemaRef,
    stored: Option<Arc<dyn TableProvider>>,
    tail: Vec<RecordBatch>,
}

impl UnionTable {
    /// `stored` and every batch of `tail` must have `schema`.
    pub fn new(
        schema: SchemaRef,
        stored: Option<Arc<dyn TableProvider>>,
        tail: Vec<RecordBatch>,
    ) -> Self {
        Self {
            schema,
            stored,
            tail,
        }
    }
}

/// The rows whose `seq` is greater than `after`, of batches in the order of `seq`. Nothing is
/// copied.
pub fn newer_than(batches: &[RecordBatch], after: i64) -> Result<Vec<RecordBatch>> {
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches {
        let first = seqs(batch)?.partition_point(|seq| *seq <= after);
        if first < batch.num_rows() {
            kept.push(batch.slice(first, batch.num_rows() - first));
        }
    }
    Ok(kept)
}

/// The sequences of the rows of a raw table's batch.
pub fn seqs(batch: &RecordBatch) -> Result<&[i64]> {
    let column = batch
        .column_by_name("seq")
        .ok_or_else(|| DataFusionError::Internal("a tail batch has no seq".to_owned()))?;
    let seqs = column.as_primitive_opt::<Int64Type>().ok_or_else(|| {
        DataFusionError::Internal(format!("a tail batch has {} as seq", column.data_type()))
    })?;
    Ok(seqs.values())
}

#[async_trait]
impl TableProvider for UnionTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What the stored side applies exactly, the rows in memory have not: every filter is applied
    /// once more above the union.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let Some(stored) = &self.stored else {
            return Ok(vec![
                TableProviderFilterPushDown::Unsupported;
                filters.len()
            ]);
        };
        let mut support = stored.supports_filters_pushdown(filters)?;
        if !self.tail.is_empty() {
            for one in &mut support {
                if *one == TableProviderFilterPushDown::Exact {
                    *one = TableProviderFilterPushDown::Inexact;
                }
            }
        }
        Ok(support)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut sides: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if let Some(stored) = &self.stored {
            sides.push(stored.scan(state, projection, filters, limit).await?);
        }
        if !self.tail.is_empty() || sides.is_empty() {
            sides.push(MemorySourceConfig::try_new_exec(
                std::slice::from_ref(&self.tail),
                self.schema.clone(),
                projection.cloned(),
            )?);
        }
        if sides.len() == 1 {
            Ok(sides.remove(0))
        } else {
            UnionExec::try_new(sides)
        }
    }
}
