//! The miners with the most work of a day, for the metrics page, which must not have a line for
//! everyone.

use serde_json::json;

use crate::pool_queries::span::{Span, now_s};
use crate::pool_queries::{NOW_S, recent, rows};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::reports::Row;

/// One row a pool and miner, the hardest working first, at most `limit`: `pool, miner, accepted,
/// refused, work_hashes` of all time that is kept, and of now `hashrate_hs` and `last_share_at`,
/// null when it is gone; `last_hour` of its last share.
pub async fn miners(service: &QueryService, limit: usize) -> Result<Vec<Row>, QueryError> {
    let day = Span::day(now_s());
    let sql = format!(
        "WITH day AS (SELECT pool, miner, sum(CAST(accepted_difficulty AS DOUBLE)) AS work, \
         max(window_start) AS last_hour FROM miner_hashrate_{tier} WHERE window_start >= $1 GROUP \
         BY pool, miner ORDER BY work DESC, pool, miner LIMIT {limit}), kept AS (SELECT pool, \
         miner, sum(accepted_shares) AS accepted, sum(stale_shares + rejected_shares) AS refused, \
         CAST(sum(accepted_difficulty) AS VARCHAR) AS work_hashes FROM miner_hashrate_1d GROUP BY \
         pool, miner), recent AS (SELECT pool, miner, sum(CAST(difficulty AS DOUBLE)) / {NOW_S} AS \
         hashrate_hs, max(event_time) AS last_share_at FROM {recent} AND outcome = 'accepted' \
         GROUP BY pool, miner) SELECT day.pool, day.miner, kept.accepted, kept.refused, \
         kept.work_hashes, day.last_hour, recent.last_share_at, recent.hashrate_hs FROM day JOIN \
         kept ON kept.pool = day.pool AND kept.miner = day.miner LEFT JOIN recent ON recent.pool = \
         day.pool AND recent.miner = day.miner ORDER BY day.work DESC, day.pool, day.miner",
        tier = day.tier,
        recent = recent(),
    );
    rows(service, sql, json!([day.from])).await
}
