//! How far each stream is: what JetStream has acknowledged, what an answer holds of it, and when
//! its newest row came.
//!
//! No statement runs for it: JetStream, the tables' logs and the rows in memory say all of it, so
//! that it is there at once however many streams there are. Each stream is looked at by itself,
//! and one that does not answer in time says so without keeping the others waiting.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use headframe_query_front::access::{ReadScope, RowAccess};
use headframe_query_front::{At, Coverage, QueryError};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::error::EngineError;
use crate::pool_queries::span::{now_s, rfc3339};
use crate::source::Source;
use crate::stream_snapshot::StreamSnapshot;

/// The longest that the look at one stream of a page may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long rows that JetStream has acknowledged are waited for.
const WAIT: Duration = Duration::from_millis(250);
/// Over how many seconds rows are counted.
const MINUTE_S: f64 = 60.0;

/// `{streams: [{stream, acknowledged, complete_through, version, complete, reason, newest,
/// rows_a_minute}]}` of those that show all their rows to this reader. Of one that did not answer
/// within `patience` all but its name and the reason is null.
pub async fn answer(sources: &[Arc<dyn Source>], reads: &ReadScope, patience: Duration) -> Value {
    let polls: Vec<_> = sources
        .iter()
        .filter(|source| reads.of_stream(source.stream()) == RowAccess::All)
        .map(|source| poll(source.as_ref(), patience))
        .collect();
    json!({"streams": join_all(polls).await})
}

async fn poll(source: &dyn Source, patience: Duration) -> Value {
    let stream = source.stream().name();
    match timeout(patience, snapshot(source)).await {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => unknown(stream, QueryError::from(error).message),
        Err(_) => unknown(stream, format!("it did not answer within {patience:?}")),
    }
}

async fn snapshot(source: &dyn Source) -> Result<Value, EngineError> {
    let snapshot = StreamSnapshot::read(source, &[], At::Latest, WAIT).await?;
    let newest_us = snapshot.newest_us().await?;
    let since_us = ((now_s() - MINUTE_S) * 1e6) as i64;
    let rows = snapshot.rows_since(since_us).await?;
    Ok(row(&snapshot.coverage, newest_us, rows))
}

fn row(coverage: &Coverage, newest_us: Option<i64>, rows_a_minute: Option<i64>) -> Value {
    json!({
        "stream": coverage.stream, "acknowledged": coverage.acknowledged,
        "complete_through": coverage.through, "version": coverage.version,
        "complete": coverage.complete, "reason": coverage.reason,
        "newest": newest_us.map(|us| rfc3339(us.div_euclid(1_000_000))),
        "rows_a_minute": rows_a_minute,
    })
}

fn unknown(stream: &'static str, reason: String) -> Value {
    let coverage = Coverage {
        stream,
        version: None,
        through: None,
        acknowledged: None,
        complete: None,
        reason: Some(reason),
    };
    row(&coverage, None, None)
}
