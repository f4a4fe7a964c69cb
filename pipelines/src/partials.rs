//! Partial rows of a rollup for a range of raw rows, every tier from the one below it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use datafusion::common::Result;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, SessionContext, col};
use headframe_schemas::rollup::TIERS;
use headframe_schemas::{Rollup, Table, codec};

/// New rows this far apart in time are looked around separately.
const CLUSTER_US: i64 = 3_600_000_000;
/// More clusters than this are joined into one wider look.
const MAX_CLUSTERS: usize = 64;

/// The partial rows of `rows`, given the raw rows `before` that are counted already. Both may hold
/// rejected rows, which count nothing.
///
/// The answer has the rollup table's columns.
pub async fn compute(
    session: &SessionContext,
    rollup: &dyn Rollup,
    rows: Arc<dyn TableProvider>,
    before: Arc<dyn TableProvider>,
) -> Result<Vec<RecordBatch>> {
    let good = || col("reject_reason").is_null();
    let rows = session.read_table(rows)?.filter(good())?;
    let context = match rollup.reach_us() {
        None => session.read_table(empty(rollup)?)?,
        Some(reach) => {
            around(
                rows.clone(),
                session.read_table(before)?.filter(good())?,
                reach,
            )
            .await?
        }
    };
    let scratch =
        SessionContext::new_with_config_rt(session.copied_config(), session.runtime_env());
    scratch.register_table("rows", rows.into_view())?;
    scratch.register_table("context", context.into_view())?;
    let mut finer = scratch.sql(&rollup.finest_sql()).await?.collect().await?;
    let mut answer = Vec::new();
    for (index, tier) in TIERS.iter().enumerate() {
        if index > 0 {
            let schema = finer
                .first()
                .map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
            scratch.deregister_table("finer")?;
            scratch.register_table("finer", Arc::new(MemTable::try_new(schema, vec![finer])?))?;
            finer = scratch
                .sql(&rollup.coarser_sql(*tier))
                .await?
                .collect()
                .await?;
        }
        finer.retain(|batch| batch.num_rows() > 0);
        for batch in &finer {
            answer.push(stored(rollup, batch, tier.name)?);
        }
        if finer.is_empty() {
            break;
        }
    }
    Ok(answer)
}

/// A raw table without rows.
pub fn empty(rollup: &dyn Rollup) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(
        Table::raw(rollup.stream()).schema(),
        vec![vec![]],
    )?))
}

/// The rows of `before` that lie within reach of a new row.
async fn around(rows: DataFrame, before: DataFrame, reach: i64) -> Result<DataFrame> {
    let times = rows
        .select_columns(&["event_time"])?
        .distinct()?
        .sort(vec![col("event_time").sort(true, true)])?
        .collect()
        .await?;
    let mut clusters: Vec<(i64, i64)> = Vec::new();
    for batch in &times {
        for time in batch
            .column(0)
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .flatten()
        {
            match clusters.last_mut() {
                Some((_, last)) if time - *last <= CLUSTER_US => *last = time,
                _ => clusters.push((time, time)),
            }
        }
    }
    if clusters.len() > MAX_CLUSTERS
        && let (Some(first), Some(last)) = (clusters.first(), clusters.last())
    {
        clusters = vec![(first.0, last.1)];
    }
    let time = |us: i64| {
        lit(datafusion::common::ScalarValue::TimestampMicrosecond(
            Some(us),
            Some("UTC".into()),
        ))
    };
    let near = |&(first, last): &(i64, i64)| {
        col("event_time").between(time(first - reach), time(last + reach))
    };
    let filter = clusters
        .iter()
        .map(near)
        .reduce(Expr::or)
        .unwrap_or_else(|| lit(false));
    before.filter(filter)
}

/// The batch with the table's own types, its tier and its month.
fn stored(rollup: &dyn Rollup, batch: &RecordBatch, tier: &str) -> Result<RecordBatch> {
    let bins = cast(
        batch.column(0),
        &DataType::Timestamp(TimeUnit::Microsecond, None),
    )?;
    let bins = cast(&bins, &DataType::Int64)?;
    let month = |bin: Option<i64>| {
        timestamp_us_to_datetime(bin?).map(|time| time.format("%Y-%m").to_string())
    };
    let months: StringViewArray = bins.as_primitive::<Int64Type>().iter().map(month).collect();
    let tiers: StringViewArray = (0..bins.len()).map(|_| Some(tier)).collect();
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    fields.extend([
        Field::new("tier", DataType::Utf8View, true),
        Field::new("month", DataType::Utf8View, true),
    ]);
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns.extend([Arc::new(tiers) as ArrayRef, Arc::new(months) as ArrayRef]);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    codec::conform(&Table::rollup(rollup).schema(), &batch)
        .map_err(datafusion::common::DataFusionError::Execution)
}
