//! Each pool of the tables: its hashrate, miners and shares of now, its means of an hour and a day,
//! and its blocks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pool_queries::span::{Span, now_s, rfc3339};
use crate::pool_queries::{
    NOW_S, blocks, count, number, recent, rows, share_sums, text, verdicts, window_sums,
};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::pool::{PoolNow, PoolsAnswer};
use headframe_query_front::reports::Row;

/// Pools an answer has at most.
const MAX_POOLS: usize = 100;

/// `{at, now_s, pools: […]}`, by name.
pub async fn answer(service: &QueryService) -> Result<Value, QueryError> {
    let now = now_s();
    let recent = by_pool(recent_rows(service).await?);
    let hour = by_pool(windows(service, &Span::hour(now)).await?);
    let day = by_pool(windows(service, &Span::day(now)).await?);
    let found = blocks::by_pool(service, None).await?;
    let mut names: Vec<&String> = recent
        .keys()
        .chain(day.keys())
        .chain(found.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    let pool = |name: &String| {
        let (now_row, day_row) = (recent.get(name), day.get(name));
        let found = found.get(name);
        PoolNow {
            pool: name.clone(),
            hashrate_hs: number(now_row, "work") / NOW_S as f64,
            hashrate_1h_hs: number(hour.get(name), "work") / Span::hour(now).seconds,
            hashrate_24h_hs: number(day_row, "work") / Span::day(now).seconds,
            miners: count(now_row, "miners"),
            workers: count(now_row, "workers"),
            solo_hashrate_hs: number(now_row, "solo_work") / NOW_S as f64,
            solo_miners: count(now_row, "solo_miners"),
            solo_workers: count(now_row, "solo_workers"),
            shares_per_s: count(now_row, "accepted") as f64 / NOW_S as f64,
            shares: verdicts(now_row),
            shares_24h: verdicts(day_row),
            work_24h_hashes: text(day_row, "work_hashes"),
            last_share_at: text(now_row, "last_share_at"),
            height: now_row.and_then(|row| row.get("height")?.as_i64()),
            network_difficulty: text(now_row, "network_difficulty"),
            blocks: blocks::counts(found),
            last_block: blocks::last(found),
        }
    };
    to_json(&PoolsAnswer {
        at: rfc3339(now as i64),
        now_s: NOW_S,
        pools: names.into_iter().take(MAX_POOLS).map(pool).collect(),
    })
}

fn by_pool(rows: Vec<Row>) -> BTreeMap<String, Row> {
    rows.into_iter()
        .filter_map(|row| Some((row.get("pool")?.as_str()?.to_owned(), row)))
        .collect()
}

/// One row a pool with a share in the last ten minutes. Workers come first, so that distinct names
/// are counted once each.
async fn recent_rows(service: &QueryService) -> Result<Vec<Row>, QueryError> {
    let sql = format!(
        "WITH workers AS (SELECT pool, miner, worker, {sums}, max(height) AS height, max(seq) AS \
         last_seq, last_value(network_difficulty ORDER BY seq) AS network_difficulty FROM {recent} \
         GROUP BY pool, miner, worker) SELECT pool, count(DISTINCT CASE WHEN accepted > 0 THEN \
         miner END) AS miners, sum(CASE WHEN accepted > 0 THEN 1 ELSE 0 END) AS workers, \
         count(DISTINCT CASE WHEN solo_work > 0 THEN miner END) AS solo_miners, sum(CASE WHEN \
         solo_work > 0 THEN 1 ELSE 0 END) AS solo_workers, sum(solo_work) AS solo_work, \
         sum(accepted) AS accepted, sum(stale) AS stale, sum(rejected) AS rejected, sum(work) AS \
         work, max(last_share_at) AS last_share_at, max(height) AS height, \
         CAST(last_value(network_difficulty ORDER BY last_seq) AS VARCHAR) AS network_difficulty \
         FROM workers GROUP BY pool ORDER BY pool LIMIT {MAX_POOLS}",
        sums = share_sums(),
        recent = recent(),
    );
    rows(service, sql, Value::Null).await
}

async fn windows(service: &QueryService, span: &Span) -> Result<Vec<Row>, QueryError> {
    let sql = format!(
        "SELECT pool, {} FROM pool_hashrate_{} WHERE window_start >= $1 GROUP BY pool ORDER BY \
         pool LIMIT {MAX_POOLS}",
        window_sums(),
        span.tier
    );
    rows(service, sql, json!([span.from])).await
}
