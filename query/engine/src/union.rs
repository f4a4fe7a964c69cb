//! A table that is stored rows and newer rows in memory, read as one.
//!
//! A `UNION ALL` in SQL would do, but this keeps one scan: filters and projections reach the
//! Parquet files as if the tail were not there.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use crate::uncommitted_rows::UncommittedRows;

/// Stored rows and rows in memory with the same schema.
#[derive(Debug)]
pub struct UnionTable {
    schema: SchemaRef,
    stored: Option<Arc<dyn TableProvider>>,
    newer: Option<NewerRows>,
}

/// The rows in memory with `after < seq`, of which there are `count`.
#[derive(Debug, Clone)]
pub struct NewerRows {
    pub rows: Arc<dyn UncommittedRows>,
    pub after: i64,
    pub count: usize,
}

impl UnionTable {
    /// `stored` must have `schema`, and `newer` its columns in the same order.
    pub fn new(
        schema: SchemaRef,
        stored: Option<Arc<dyn TableProvider>>,
        newer: Option<NewerRows>,
    ) -> Self {
        let newer = newer.filter(|newer| newer.count > 0);
        Self {
            schema,
            stored,
            newer,
        }
    }

    /// The columns of the rows in memory that a scan reads, which are taken from where they are
    /// held now.
    async fn scan_newer(
        &self,
        batch_rows: usize,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.schema.project(&columns)?);
        let batches = match &self.newer {
            None => Vec::new(),
            Some(newer) if columns.is_empty() => without_columns(newer.count, batch_rows)?,
            Some(newer) => {
                let read = newer.rows.columns(newer.after, &columns).await;
                read.map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        };
        let source = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
        Ok(source)
    }
}

/// So many rows without columns, in batches of at most `batch_rows`.
pub fn without_columns(count: usize, batch_rows: usize) -> Result<Vec<RecordBatch>> {
    let schema = Arc::new(Schema::empty());
    let batch = |rows: usize| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)
    };
    let step = batch_rows.max(1);
    let firsts = (0..count).step_by(step);
    let batches = firsts.map(|first| batch(step.min(count - first)));
    Ok(batches.collect::<std::result::Result<_, _>>()?)
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
        if self.newer.is_some() {
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
        if self.newer.is_some() || sides.is_empty() {
            let batch_rows = state.config().batch_size();
            sides.push(self.scan_newer(batch_rows, projection).await?);
        }
        if sides.len() == 1 {
            Ok(sides.remove(0))
        } else {
            UnionExec::try_new(sides)
        }
    }
}
