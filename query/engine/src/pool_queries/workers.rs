//! The workers of one miner that sent shares within a day, by name, a page at a time.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::pool_queries::span::{Span, now_s, rfc3339};
use crate::pool_queries::{
    NOW_S, count, miner, number, recent, rows, share_sums, text, verdicts, window_sums,
};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::miner::{WorkerNow, WorkersAnswer};
use headframe_query_front::reports::Row;
use headframe_query_front::reports::WorkersPage;

/// `{miner, workers: […], next}`; `next` is the `after` of the next page, null on the last. 404 for
/// an unknown miner.
pub async fn answer(
    service: &QueryService,
    miner: &str,
    page: &WorkersPage,
) -> Result<Value, QueryError> {
    let now = now_s();
    miner::known(service, miner).await?;
    let day = Span::day(now);
    let sql = format!(
        "SELECT worker, max(window_start) AS last_hour, {} FROM hashrate_{} WHERE miner = $1 AND \
         window_start >= $2 AND worker > $3 GROUP BY worker ORDER BY worker LIMIT {}",
        window_sums(),
        day.tier,
        page.limit + 1
    );
    let mut listed = rows(service, sql, json!([miner, day.from, page.after])).await?;
    let more = listed.len() > page.limit;
    listed.truncate(page.limit);
    let last = listed.last().and_then(name).unwrap_or_default().to_owned();
    let recent = recent_rows(service, miner, page, &last).await?;
    let worker = |row: &Row| {
        let now_row = name(row).and_then(|name| recent.get(name));
        WorkerNow {
            worker: name(row).unwrap_or_default().to_owned(),
            online: count(now_row, "accepted") > 0,
            last_share_at: text(now_row, "last_share_at"),
            last_hour: text(Some(row), "last_hour"),
            hashrate_hs: number(now_row, "work") / NOW_S as f64,
            hashrate_24h_hs: number(Some(row), "work") / day.seconds,
            solo_hashrate_24h_hs: number(Some(row), "solo_work") / day.seconds,
            shares_24h: verdicts(Some(row)),
            work_24h_hashes: text(Some(row), "work_hashes"),
        }
    };
    to_json(&WorkersAnswer {
        at: rfc3339(now as i64),
        miner: miner.to_owned(),
        workers: listed.iter().map(worker).collect(),
        next: more.then_some(last),
    })
}

fn name(row: &Row) -> Option<&str> {
    row.get("worker").and_then(Value::as_str)
}

async fn recent_rows(
    service: &QueryService,
    miner: &str,
    page: &WorkersPage,
    last: &str,
) -> Result<HashMap<String, Row>, QueryError> {
    let sql = format!(
        "SELECT worker, {} FROM {} AND miner = $1 AND worker > $2 AND worker <= $3 GROUP BY worker \
         LIMIT {}",
        share_sums(),
        recent(),
        page.limit
    );
    let found = rows(service, sql, json!([miner, page.after, last])).await?;
    Ok(found
        .into_iter()
        .filter_map(|row| Some((name(&row)?.to_owned(), row)))
        .collect())
}
