//! The history of a violation, and how much of somebody's data there is.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use headframe_query_front::reports::Row;
use headframe_query_front::{QueryError, QueryService};
use headframe_schemas::stream::violations::{Violation, Violations};
use headframe_schemas::{Column, Kind, Stream};

/// Subjects of one statement.
const SUBJECTS_AT_ONCE: usize = 200;
/// Rows of one answer.
const PAGE: usize = 5_000;

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

/// Violations of these subjects that are over. What memory has is newer, so that it does not matter
/// that it goes on meanwhile.
pub async fn over(
    service: &QueryService,
    subjects: &[(&'static str, String)],
) -> Result<Vec<Violation>, QueryError> {
    let columns: Vec<String> = Violations.columns()[1..].iter().map(as_written).collect();
    let mut found = Vec::new();
    for some in subjects.chunks(SUBJECTS_AT_ONCE) {
        let is_one = |number: usize| {
            let (kind, id) = (2 * number + 1, 2 * number + 2);
            format!("(subject_kind = ${kind} AND subject = ${id})")
        };
        let is_any: Vec<String> = (0..some.len()).map(is_one).collect();
        let params: Vec<&str> = some
            .iter()
            .flat_map(|(kind, id)| [*kind, id.as_str()])
            .collect();
        let mut after = String::new();
        loop {
            let sql = format!(
                "SELECT CAST(changed_at AS BIGINT) AS event_time, {} FROM violations_now WHERE \
                 status IN ('resolved', 'verified', 'closed', 'false_positive') AND violation > \
                 '{after}' AND ({}) ORDER BY violation LIMIT {PAGE}",
                columns.join(", "),
                is_any.join(" OR ")
            );
            let page = rows(service, sql, json!(params)).await?;
            let is_last = page.len() < PAGE;
            let rows = page
                .into_iter()
                .map(|row| serde_json::from_value(Value::Object(row)));
            // A row of a newer version of this program may be another one.
            let rows = rows.collect::<Result<Vec<Violation>, _>>();
            let rows = rows.map_err(|error| QueryError::internal(error.to_string()))?;
            found.extend(rows);
            // Ids are v and hex digits, so that they can stand in a statement.
            let last = found.last().map(|row: &Violation| row.violation.clone());
            match last.filter(|last| last.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
                Some(last) if !is_last => after = last,
                _ => break,
            }
        }
    }
    Ok(found)
}

/// A column as its record reads it: times in microseconds.
fn as_written(column: &Column) -> String {
    match column.kind {
        Kind::Timestamp => format!("CAST(\"{0}\" AS BIGINT) AS \"{0}\"", column.name),
        _ => format!("\"{}\"", column.name),
    }
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
