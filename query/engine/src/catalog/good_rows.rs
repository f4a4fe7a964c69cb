//! The rows of a raw table that were not refused.
//!
//! How many there are is known without opening a file: the log of the table says of each file how
//! many of its rows have no reason to be refused. `count(*)` over thousands of small files reads
//! none of them, also when a few rows among millions were refused.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::prelude::{Expr, col};
use headframe_schemas::table::REJECT_REASON;

use crate::union::without_columns;

/// The good rows of a table with the physical columns of a raw one.
#[derive(Debug)]
pub struct GoodRows {
    rows: Arc<dyn TableProvider>,
    /// How many there are, where that is known.
    count: Option<usize>,
}

impl GoodRows {
    /// Those of `rows`; `count` must be exact.
    pub fn new(rows: Arc<dyn TableProvider>, count: Option<usize>) -> Self {
        Self { rows, count }
    }
}

#[async_trait]
impl TableProvider for GoodRows {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.rows.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let wanted = projection.cloned();
        let wanted = wanted.unwrap_or_else(|| (0..schema.fields().len()).collect());
        if let Some(count) = self.count
            && wanted.is_empty()
            && filters.is_empty()
            && limit.is_none()
        {
            let batches = without_columns(count, state.config().batch_size())?;
            let schema = Arc::new(Schema::empty());
            return Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?);
        }
        let mut read = wanted.clone();
        let reason = schema.index_of(REJECT_REASON.name)?;
        if !read.contains(&reason) {
            read.push(reason);
        }
        let good = col(REJECT_REASON.name).is_null();
        let filters: Vec<Expr> = filters.iter().cloned().chain([good.clone()]).collect();
        // A limit counts good rows, so that it holds above the filter only.
        let rows = self.rows.scan(state, Some(&read), &filters, None).await?;
        let good = state.create_physical_expr(good, &DFSchema::try_from(rows.schema())?)?;
        let rows: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(good, rows)?);
        if read.len() == wanted.len() {
            return Ok(rows);
        }
        let fields = rows.schema();
        let columns = (0..wanted.len()).map(|index| {
            let name = fields.field(index).name().clone();
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&name, index));
            (column, name)
        });
        let columns: Vec<_> = columns.collect();
        Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
    }
}
