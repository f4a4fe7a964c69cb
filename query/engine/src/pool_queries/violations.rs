//! The history of a violation, and how much of somebody's data there is.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use headframe_query_front::reports::Row;
use headframe_query_front::{QueryError, QueryService};

/// Every row of a violation, the first one first.
pub async fn history(service: &QueryService, id: &str) -> Result<Vec<Row>, QueryError> {
    let columns: Vec<String> = headframe_schemas::stream::find("violations")
        .into_iter()
        .flat_map(|stream| stream.columns())
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    let sql = format!(
        "SELECT {} FROM violations WHERE violation = $1 ORDER BY version LIMIT 1000",
        columns.join(", ")
    );
    rows(service, sql, json!([id])).await
}

/// The mean part of 15 minutes that was measured, over the last 30 days.
pub async fn completeness(
    service: &QueryService,
    subject_kind: &str,
    subject: &str,
) -> Result<Option<f64>, QueryError> {
    let sql = "SELECT avg(least(demand_covered_s / 900.0, 1.0)) AS part FROM allocation_usage \
        WHERE subject_kind = $1 AND subject = $2 AND event_time >= now() - INTERVAL '30 days'";
    let found = rows(service, sql.to_owned(), json!([subject_kind, subject])).await?;
    let part = found.first().and_then(|row| row.get("part"));
    Ok(part.and_then(Value::as_f64))
}
