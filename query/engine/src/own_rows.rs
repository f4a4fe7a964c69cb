//! The rows of one miner in a table of everybody's.
//!
//! The scan is a leaf of the plan: what reads everybody's rows stands inside it, where no rule of
//! the optimizer and no EXPLAIN reaches. A filter of the statement runs above it, so that an error
//! it raises is about the miner's own rows, and neither the number of all rows nor the least and
//! greatest of their values leaves it. Comparisons of a time or a place with a value are passed
//! inside as well, since they can only spare files from being opened. Those of other columns are
//! not: which files they spare would tell by the time it takes which values others have.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{BinaryExpr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use datafusion::prelude::{Expr, col, lit};
use futures::StreamExt;
use headframe_query_front::access::OwnRows;
use headframe_schemas::table::{ROW, SEQ};

pub mod condition;

/// The rows of one miner in a table.
#[derive(Debug)]
pub struct OwnRowsTable {
    rows: Arc<dyn TableProvider>,
    own: OwnRows,
}

impl OwnRowsTable {
    /// Those of `rows`, which must have the miner's column.
    pub fn new(rows: Arc<dyn TableProvider>, own: OwnRows) -> Self {
        Self { rows, own }
    }
}

#[async_trait]
impl TableProvider for OwnRowsTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Whatever is passed inside is applied once more above.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.schema();
        let support = filters
            .iter()
            .map(|filter| match is_comparison(filter, &schema) {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            });
        Ok(support.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let wanted = projection.cloned();
        let wanted = wanted.unwrap_or_else(|| (0..schema.fields().len()).collect());
        let mut read = wanted.clone();
        let miner = schema.index_of(self.own.column)?;
        if !read.contains(&miner) {
            read.push(miner);
        }
        let address = ScalarValue::Utf8View(Some(self.own.address.clone()));
        let own = col(self.own.column).eq(lit(address));
        let spared = filters
            .iter()
            .filter(|filter| is_comparison(filter, &schema));
        let filters: Vec<Expr> = spared.cloned().chain([own]).collect();
        // A limit would count the rows of others.
        let rows = self.rows.scan(state, Some(&read), &filters, None).await?;
        Ok(Arc::new(OwnRowsScan::new(
            rows,
            self.own.clone(),
            wanted.len(),
        )?))
    }
}

/// Whether a filter compares times and places with values of their types and does nothing else, so
/// that it cannot fail on anybody's row, and tells of them only when they came.
fn is_comparison(filter: &Expr, schema: &Schema) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
        return false;
    };
    match op {
        Operator::And | Operator::Or => is_comparison(left, schema) && is_comparison(right, schema),
        Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
            let (Expr::Column(column), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref())
            else {
                return false;
            };
            let field = schema.field_with_name(&column.name);
            field.is_ok_and(|field| is_time_or_place(field) && is_of_type(value, field.data_type()))
        }
        _ => false,
    }
}

/// A place is seen by subscriptions alone.
fn is_time_or_place(field: &Field) -> bool {
    let is_time = matches!(
        field.data_type(),
        DataType::Timestamp(..) | DataType::Date32
    );
    is_time || [SEQ.name, ROW.name].contains(&field.name().as_str())
}

fn is_of_type(value: &ScalarValue, of: &DataType) -> bool {
    !value.is_null() && value.data_type() == *of
}

/// Reads the rows of one miner. What it reads them from is nobody's to see.
struct OwnRowsScan {
    rows: Arc<dyn ExecutionPlan>,
    own: OwnRows,
    /// How many of the columns read go out: the first ones.
    columns: usize,
    properties: Arc<PlanProperties>,
}

impl OwnRowsScan {
    fn new(rows: Arc<dyn ExecutionPlan>, own: OwnRows, columns: usize) -> Result<Self> {
        let first: Vec<usize> = (0..columns).collect();
        let schema: SchemaRef = Arc::new(rows.schema().project(&first)?);
        let partitions = rows.properties().output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            rows,
            own,
            columns,
            properties: Arc::new(properties),
        })
    }
}

/// The miner's rows of a batch, and its first columns; nothing where the batch has none.
///
/// The rows are copied, bytes of texts as well. What is shared with rows of others would count as
/// memory of the statement, whose limit would then tell how many there are.
fn kept(own: &OwnRows, columns: usize, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
    let indices = UInt64Array::from_iter_values(
        own.mask(batch)?
            .values()
            .set_indices()
            .map(|index| index as u64),
    );
    if indices.is_empty() {
        return Ok(None);
    }
    let first: Vec<usize> = (0..columns).collect();
    let shown = batch.project(&first)?;
    let copied: Result<Vec<ArrayRef>> = shown
        .columns()
        .iter()
        .map(|column| {
            let rows = take(column, &indices, None)?;
            Ok(match rows.data_type() {
                DataType::Utf8View => Arc::new(rows.as_string_view().gc()) as ArrayRef,
                DataType::BinaryView => Arc::new(rows.as_binary_view().gc()),
                _ => rows,
            })
        })
        .collect();
    // The row count is given because a batch without columns has no other way to know it.
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    let rows = RecordBatch::try_new_with_options(shown.schema(), copied?, &options)?;
    Ok(Some(rows))
}

impl fmt::Debug for OwnRowsScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRowsScan")
    }
}

impl DisplayAs for OwnRowsScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRowsScan")
    }
}

impl ExecutionPlan for OwnRowsScan {
    fn name(&self) -> &str {
        "OwnRowsScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (own, columns) = (self.own.clone(), self.columns);
        let rows = self.rows.execute(partition, context)?;
        let rows = rows.filter_map(move |batch| {
            let kept = batch.and_then(|batch| kept(&own, columns, &batch));
            std::future::ready(kept.transpose())
        });
        let schema = self.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use datafusion::prelude::cast;

    use super::*;

    #[test]
    fn only_comparisons_of_times_and_places_that_cannot_fail_are_passed_inside() {
        let of_time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("event_time", of_time, true),
            Field::new("seq", DataType::Int64, true),
            Field::new("row", DataType::Int32, true),
            Field::new("worker", DataType::Utf8View, true),
            Field::new("difficulty", DataType::Int64, true),
        ]);
        let inside = |filter: Expr| is_comparison(&filter, &schema);
        let time = |us| lit(ScalarValue::TimestampMicrosecond(us, Some("UTC".into())));
        let since = || col("event_time").gt_eq(time(Some(5)));
        let after = col("seq").eq(lit(5_i64)).and(col("row").gt(lit(7_i32)));
        assert!(inside(since()));
        assert!(inside(since().and(col("event_time").lt(time(Some(9))))));
        assert!(inside(col("seq").gt(lit(5_i64)).or(after)));
        // By the time that these take it would be found out which values others have.
        assert!(!inside(col("worker").eq(lit("w"))));
        assert!(!inside(col("difficulty").gt(lit(5_i64))));
        assert!(!inside(since().and(col("difficulty").gt(lit(5_i64)))));
        // These may fail, on the row of another as well.
        assert!(!inside((lit(1_i64) / col("seq")).gt(lit(0_i64))));
        assert!(!inside(
            cast(col("event_time"), DataType::Int64).eq(lit(5_i64))
        ));
        assert!(!inside(col("seq").eq(lit("5"))));
        assert!(!inside(col("event_time").eq(time(None))));
        assert!(!inside(col("worker").like(lit("%a%"))));
    }
}
