//! The rollup views: stored partial rows, complete through `R`, and partial rows computed now from
//! raw rows after `R`.
//!
//! Partial rows add up, so it does not matter where `R` lies: the answer is the same as computing
//! everything from raw rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{Expr, cast, col, lit};
use headframe_schemas::rollup::{TIERS, View};
use headframe_schemas::{Rollup, Table, Tier};

use crate::catalog::plan;
use crate::catalog::raw::good;
use crate::error::EngineError;
use crate::stream_snapshot::StreamSnapshot;

/// More separate segments of time than this are joined where the gaps between them are shortest.
const MAX_SEGMENTS: usize = 32;

/// The views of these names, which must belong to the rollups in `taken`.
pub async fn views(
    base: &SessionState,
    taken: &StreamSnapshot,
    names: &BTreeSet<String>,
    now_us: i64,
) -> std::result::Result<Vec<(String, Arc<dyn TableProvider>)>, EngineError> {
    let complete_to = format!(
        "arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')",
        taken.complete_to_us(now_us).await?
    );
    let mut views: Vec<(String, Arc<dyn TableProvider>)> = Vec::new();
    for (rollup, stored) in &taken.rollups {
        let wanted: Vec<_> = rollup
            .views()
            .into_iter()
            .filter(|view| names.contains(&view.name))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let through = stored.as_ref().and_then(|stored| stored.offset);
        let live = if taken.nothing_after(through) {
            None
        } else {
            Some(LiveRows::after(base, taken, *rollup, through).await?)
        };
        let stored = stored
            .as_ref()
            .filter(|stored| stored.offset.is_some())
            .and_then(|stored| taken.partial_rows(*rollup, stored));
        for view in wanted {
            let live = match &live {
                Some(live) => live.partials(base, *rollup, &view).await?,
                None => Vec::new(),
            };
            let partials = partials(base, *rollup, stored.clone(), live)?;
            let sql = view.sql.replace("{complete_to}", &complete_to);
            let plan = plan(base, vec![("partials", partials)], &sql).await?;
            views.push((view.name, Arc::new(ViewTable::new(plan, None))));
        }
    }
    Ok(views)
}

/// The tiers that this view reads. A view is named after its tier; one that is not reads all of
/// them, to be safe.
fn tiers_of(view: &View) -> Vec<Tier> {
    let named = |tier: &&Tier| view.name.ends_with(&format!("_{}", tier.name));
    match TIERS.iter().find(named) {
        Some(tier) => vec![*tier],
        None => TIERS.to_vec(),
    }
}

/// Every partial row that a view reads, with the columns of the rollup's table.
fn partials(
    base: &SessionState,
    rollup: &dyn Rollup,
    stored: Option<Arc<dyn TableProvider>>,
    live: Vec<(Tier, LogicalPlan)>,
) -> Result<Arc<dyn TableProvider>> {
    let table = Table::rollup(rollup);
    let mut all: Option<LogicalPlanBuilder> = None;
    if let Some(stored) = stored {
        let columns: Vec<Expr> = table
            .columns
            .iter()
            .map(|column| col(column.name))
            .collect();
        all = Some(
            LogicalPlanBuilder::scan(table.name.as_str(), provider_as_source(stored), None)?
                .project(columns)?,
        );
    }
    for (tier, rows) in live {
        let part = LogicalPlanBuilder::from(rows).project(table_columns(base, &table, tier)?)?;
        all = Some(match all {
            None => part,
            Some(before) => before.union(part.build()?)?,
        });
    }
    let plan = all
        .unwrap_or_else(|| LogicalPlanBuilder::empty(false))
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A live partial row's columns as the table has them: same names, types and order, with the tier
/// and the month.
fn table_columns(base: &SessionState, table: &Table, tier: Tier) -> Result<Vec<Expr>> {
    let text = |value: &str| lit(ScalarValue::Utf8View(Some(value.to_owned())));
    let column = |column: &headframe_schemas::Column| match column.name {
        "tier" => Ok(text(tier.name).alias("tier")),
        "month" => {
            let month = base.scalar_functions().get("to_char").cloned();
            let month = month.ok_or_else(|| {
                datafusion::error::DataFusionError::Internal("to_char is missing".to_owned())
            })?;
            Ok(cast(
                month.call(vec![col("bin"), lit("%Y-%m")]),
                column.kind.arrow(),
            )
            .alias("month"))
        }
        name => Ok(cast(col(name), column.kind.arrow()).alias(name)),
    };
    table.columns.iter().map(column).collect()
}

/// The raw rows that no stored partial row counts yet.
enum LiveRows {
    /// Each row stands alone: these aggregates over the rows themselves give partial rows.
    Alone(Arc<dyn TableProvider>, &'static str),
    /// The finest partial rows, made with their neighbours.
    Finest(Arc<dyn TableProvider>),
}

impl LiveRows {
    /// The rows after `through`.
    async fn after(
        base: &SessionState,
        taken: &StreamSnapshot,
        rollup: &dyn Rollup,
        through: Option<i64>,
    ) -> std::result::Result<Self, EngineError> {
        let mut rows = good("raw", taken.rows_after(through), taken.all_good())?;
        if let Some(through) = through {
            rows = rows.filter(col("seq").gt(lit(through)))?;
        }
        let rows: Arc<dyn TableProvider> = Arc::new(ViewTable::new(rows.build()?, None));
        if let Some(sums) = rollup.sums_sql() {
            return Ok(Self::Alone(rows, sums));
        }
        let mut relations = vec![("rows", rows.clone())];
        if let Some(reach) = rollup.reach_us() {
            relations.push(("context", context(base, taken, rows, reach, through).await?));
        }
        let finest = plan(base, relations, &rollup.finest_sql()).await?;
        Ok(Self::Finest(Arc::new(ViewTable::new(finest, None))))
    }

    /// Partial rows of the tiers that a view reads. Those straight from the rows are grouped as the
    /// view groups them: a pool's hashrate of a day is one group, however many workers it has.
    async fn partials(
        &self,
        base: &SessionState,
        rollup: &dyn Rollup,
        view: &View,
    ) -> Result<Vec<(Tier, LogicalPlan)>> {
        let mut plans = Vec::new();
        for tier in tiers_of(view) {
            let (relation, sql) = match self {
                Self::Alone(rows, sums) => {
                    (("rows", rows), rollup.grouped_sql(tier, view.keys, sums))
                }
                Self::Finest(finest) if tier == TIERS[0] => {
                    (("finer", finest), "SELECT * FROM finer".to_owned())
                }
                Self::Finest(finest) => (("finer", finest), rollup.coarser_sql(tier)),
            };
            let relation = (relation.0, relation.1.clone());
            plans.push((tier, plan(base, vec![relation], &sql).await?));
        }
        Ok(plans)
    }
}

/// The rows through `through` that lie near a new one in time.
async fn context(
    base: &SessionState,
    taken: &StreamSnapshot,
    rows: Arc<dyn TableProvider>,
    reach: i64,
    through: Option<i64>,
) -> std::result::Result<Arc<dyn TableProvider>, EngineError> {
    let segments = match through {
        None => Vec::new(),
        Some(_) => segments(base, rows.clone(), reach).await?,
    };
    let near = segments
        .iter()
        .map(|(from, to)| col("event_time").between(time(*from), time(*to)))
        .reduce(Expr::or);
    let plan = match (through, near) {
        (Some(through), Some(near)) => good("raw", taken.rows_through(through), taken.all_good())?
            .filter(col("seq").lt_eq(lit(through)))?
            .filter(near)?,
        _ => LogicalPlanBuilder::scan("context", provider_as_source(rows), None)?
            .filter(lit(false))?,
    };
    Ok(Arc::new(ViewTable::new(plan.build()?, None)))
}

fn time(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(
        Some(micros),
        Some("UTC".into()),
    ))
}

/// The segments of time, in microseconds, within `reach` of a row. They may be wider than needed,
/// never narrower.
async fn segments(
    base: &SessionState,
    rows: Arc<dyn TableProvider>,
    reach: i64,
) -> Result<Vec<(i64, i64)>> {
    let sql = format!("SELECT DISTINCT CAST(event_time AS BIGINT) / {reach} AS slot FROM rows");
    let plan = plan(base, vec![("rows", rows)], &sql).await?;
    let mut slots: Vec<i64> = Vec::new();
    for batch in DataFrame::new(base.clone(), plan).collect().await? {
        slots.extend(batch.column(0).as_primitive::<Int64Type>().iter().flatten());
    }
    slots.sort_unstable();
    Ok(joined(&slots, reach))
}

/// Turns sorted slots of `reach` microseconds into segments that reach one slot further on both
/// sides.
fn joined(slots: &[i64], reach: i64) -> Vec<(i64, i64)> {
    let mut segments: Vec<(i64, i64)> = Vec::new();
    for slot in slots {
        let (from, to) = ((slot - 1) * reach, (slot + 2) * reach);
        match segments.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => segments.push((from, to)),
        }
    }
    while segments.len() > MAX_SEGMENTS {
        let gap = |index: &usize| segments[index + 1].0 - segments[*index].1;
        let Some(shortest) = (0..segments.len() - 1).min_by_key(gap) else {
            break;
        };
        segments[shortest].1 = segments[shortest + 1].1;
        segments.remove(shortest + 1);
    }
    segments
}

#[cfg(test)]
mod tests {
    use headframe_schemas::rollup::{self, TIERS};

    use super::{joined, tiers_of};

    #[test]
    fn a_view_is_named_after_the_tier_it_reads() {
        for view in rollup::ALL.iter().flat_map(|rollup| rollup.views()) {
            let read: Vec<_> = TIERS
                .iter()
                .filter(|tier| view.sql.contains(&format!("tier = '{}'", tier.name)))
                .copied()
                .collect();
            assert_eq!(tiers_of(&view), read, "{}", view.name);
            assert_eq!(read.len(), 1, "{}", view.name);
        }
    }

    #[test]
    fn near_slots_become_one_segment() {
        assert_eq!(
            joined(&[10, 11, 12, 20], 100),
            vec![(900, 1400), (1900, 2200)]
        );
        assert_eq!(joined(&[10, 13], 100), vec![(900, 1500)]);
        assert!(joined(&[], 100).is_empty());
    }

    #[test]
    fn many_segments_are_joined_but_still_cover_every_slot() {
        let slots: Vec<i64> = (0..100).map(|n| n * n * 7).collect();
        let segments = joined(&slots, 100);
        assert_eq!(segments.len(), super::MAX_SEGMENTS);
        for slot in slots {
            assert!(
                segments
                    .iter()
                    .any(|(from, to)| *from <= (slot - 1) * 100 && (slot + 2) * 100 <= *to),
                "slot {slot}"
            );
        }
    }
}
