//! Resources as they were at a time.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use headframe_query_front::reports::{PastResources, Row};
use headframe_query_front::{QueryError, QueryService};
use headframe_schemas::resource::ResourceVersion;

/// The versions that held at a time, by id: the last change of each id until then, unless it was a
/// deletion.
pub async fn past(
    service: &QueryService,
    page: &PastResources,
) -> Result<Vec<ResourceVersion>, QueryError> {
    let sql = format!(
        "SELECT id, version, CAST(event_time AS BIGINT) AS updated_us, actor, after FROM (SELECT \
         *, row_number() OVER (PARTITION BY id ORDER BY version DESC) AS place FROM registry \
         WHERE kind = $1 AND CAST(event_time AS BIGINT) <= $2 AND id > $3 AND ($4 IS NULL OR id = \
         $4)) WHERE place = 1 AND after IS NOT NULL ORDER BY id LIMIT {}",
        page.limit
    );
    let params = json!([page.kind, page.at_us, page.after, page.id]);
    let found = rows(service, sql, params).await?;
    let versions = found.iter().map(|row| version(row).ok_or_else(unreadable));
    versions.collect()
}

fn version(row: &Row) -> Option<ResourceVersion> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let number = |name: &str| row.get(name).and_then(Value::as_i64);
    let updated_us = number("updated_us")?;
    Some(ResourceVersion {
        id: text("id")?.to_owned(),
        version: number("version")?,
        updated_us,
        updated_by: text("actor")?.to_owned(),
        values: serde_json::from_str(text("after")?).ok()?,
    })
}

fn unreadable() -> QueryError {
    QueryError::internal("a row of the table registry is no change of a resource")
}
