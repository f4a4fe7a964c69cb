//! One miner: what it does now, what it did in an hour and a day, all it ever sent that is kept,
//! and its blocks.

use serde_json::{Value, json};

use crate::pool_queries::span::{Span, now_s, rfc3339};
use crate::pool_queries::{
    NOW_S, blocks, count, number, recent, rows, share_sums, text, verdicts, window_sums,
};
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::miner::MinerAnswer;
use headframe_query_front::reports::Row;
use headframe_query_front::{ErrorCode, QueryError};

/// Everything about a miner, over all pools; an error that says so when no share of it is kept.
pub async fn answer(service: &QueryService, miner: &str) -> Result<Value, QueryError> {
    let now = now_s();
    let all = known(service, miner).await?;
    let recent = one(
        service,
        format!(
            "SELECT count(DISTINCT worker) AS workers, {} FROM {} AND miner = $1",
            share_sums(),
            recent()
        ),
        miner,
    )
    .await?;
    let (hour, day) = (
        span(service, &Span::hour(now), miner).await?,
        span(service, &Span::day(now), miner).await?,
    );
    let found: Vec<Row> = blocks::by_pool(service, Some(miner))
        .await?
        .into_values()
        .flatten()
        .collect();
    let (recent, hour, day, all) = (recent.as_ref(), hour.as_ref(), day.as_ref(), Some(&all));
    to_json(&MinerAnswer {
        at: rfc3339(now as i64),
        miner: miner.to_owned(),
        online: count(recent, "accepted") > 0,
        last_share_at: text(recent, "last_share_at"),
        workers: count(recent, "workers"),
        hashrate_hs: number(recent, "work") / NOW_S as f64,
        hashrate_1h_hs: number(hour, "work") / Span::hour(now).seconds,
        hashrate_24h_hs: number(day, "work") / Span::day(now).seconds,
        solo_hashrate_hs: number(recent, "solo_work") / NOW_S as f64,
        solo_hashrate_1h_hs: number(hour, "solo_work") / Span::hour(now).seconds,
        solo_hashrate_24h_hs: number(day, "solo_work") / Span::day(now).seconds,
        shares: verdicts(all),
        shares_24h: verdicts(day),
        work_hashes: text(all, "work_hashes"),
        work_24h_hashes: text(day, "work_hashes"),
        first_day: text(all, "first_day"),
        last_day: text(all, "last_day"),
        blocks: blocks::counts(Some(&found)),
        last_block: blocks::last(Some(&found)),
    })
}

/// What is kept of a miner, in days; 404 when nothing is.
pub async fn known(service: &QueryService, miner: &str) -> Result<Row, QueryError> {
    let sql = format!(
        "SELECT count(*) AS days, min(window_start) AS first_day, max(window_start) AS last_day, \
         {} FROM miner_hashrate_1d WHERE miner = $1",
        window_sums()
    );
    let row = one(service, sql, miner).await?;
    row.filter(|row| count(Some(row), "days") > 0).ok_or_else(|| {
        let hint = "names are compared exactly; a miner is known from its first share on, for as \
                    long as shares are kept";
        QueryError::new(ErrorCode::NotFound, format!("no share of the miner {miner} is kept"), hint)
    })
}

async fn span(service: &QueryService, span: &Span, miner: &str) -> Result<Option<Row>, QueryError> {
    let sql = format!(
        "SELECT {} FROM miner_hashrate_{} WHERE miner = $1 AND window_start >= $2",
        window_sums(),
        span.tier
    );
    Ok(rows(service, sql, json!([miner, span.from])).await?.pop())
}

async fn one(service: &QueryService, sql: String, miner: &str) -> Result<Option<Row>, QueryError> {
    Ok(rows(service, sql, json!([miner])).await?.pop())
}
