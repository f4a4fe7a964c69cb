//! How far each stream is: what JetStream has acknowledged, what an answer holds of it, and when
//! its newest row came.

use futures::StreamExt;
use headframe_schemas::{ReadPermission, stream};
use serde_json::{Value, json};

use crate::pool_queries::{TIMEOUT, rows_of, value};
use headframe_query_front::access::ReadScope;
use headframe_query_front::{At, Coverage, QueryError, QueryService, SqlRequest};

/// `{streams: [{stream, acknowledged, complete_through, version, complete, reason, newest,
/// rows_a_minute}]}`: one statement over all of them looks at them at once.
pub async fn answer(service: &QueryService) -> Result<Value, QueryError> {
    let open = stream::ALL
        .iter()
        .filter(|stream| stream.read_permission() == ReadPermission::Reader);
    let part = |name: &str| {
        format!(
            "SELECT '{name}' AS stream, max(ingest_time) AS newest, count(CASE WHEN ingest_time > \
             now() - INTERVAL '1 minute' THEN 1 END) AS rows_a_minute FROM {name} WHERE \
             ingest_time > now() - INTERVAL '10 minutes'"
        )
    };
    let parts: Vec<String> = open.map(|stream| part(stream.name())).collect();
    let request = SqlRequest {
        sql: parts.join(" UNION ALL "),
        params: Value::Null,
        parameters: None,
        at: At::Latest,
        timeout: Some(TIMEOUT),
        max_rows: Some(parts.len()),
        query_id: None,
        reads: ReadScope::Nothing,
        postgres: None,
    };
    let mut answer = service.ask(request).await?;
    let mut found = Vec::new();
    while let Some(batch) = answer.rows.next().await.transpose()? {
        found.extend(rows_of(&batch)?);
    }
    let row = |coverage: &Coverage| {
        let row = found
            .iter()
            .find(|row| row.get("stream").and_then(Value::as_str) == Some(coverage.stream));
        json!({
            "stream": coverage.stream, "acknowledged": coverage.acknowledged,
            "complete_through": coverage.through, "version": coverage.version,
            "complete": coverage.complete, "reason": coverage.reason,
            "newest": value(row, "newest"), "rows_a_minute": value(row, "rows_a_minute"),
        })
    };
    let streams: Vec<Value> = answer.coverage.iter().map(row).collect();
    Ok(json!({"streams": streams}))
}
