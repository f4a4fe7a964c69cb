//! What a pool, a miner and its workers have done over days: sums of all that is kept, and who
//! mined in each hour.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pool_queries::hashrate;
use crate::pool_queries::span::{Span, now_s, rfc3339};
use crate::pool_queries::{number, rows, window_sums};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::reports::{PoolHistory, Row, TimeSeries};

/// Workers whose hashrate over time is told.
const MAX_WORKERS: i64 = 400;
/// Workers of which it is told every ten minutes; of more, every hour.
const FEW_WORKERS: usize = 60;
/// Seconds of windows, the finest first, and how long ago a sum of them may begin.
const TIERS: &[(&str, f64)] = &[("10s", 86_400.0), ("1m", 864_000.0), ("1h", f64::INFINITY)];

/// What a pool has done in all, and who mined at it over a day.
pub async fn of_pool(service: &QueryService, pool: &str) -> Result<PoolHistory, QueryError> {
    let sql = "SELECT CAST(sum(accepted_difficulty) AS DOUBLE) AS work FROM pool_hashrate_1d \
               WHERE pool = $1";
    let all = rows(service, sql.to_owned(), json!([pool])).await?.pop();
    let day = Span::day(now_s());
    let sql = format!(
        "SELECT CAST(window_start AS BIGINT) / 1000000 AS at, count(DISTINCT miner) AS miners, \
         count(*) AS workers FROM hashrate_{} WHERE pool = $1 AND window_start >= $2 AND \
         accepted_shares > 0 GROUP BY 1 ORDER BY 1 LIMIT 100",
        day.tier
    );
    let hours = rows(service, sql, json!([pool, day.from])).await?;
    let hour = |row: &Row| {
        let count = |name: &str| row.get(name)?.as_i64();
        Some((count("at")?, count("miners")?, count("workers")?))
    };
    Ok(PoolHistory {
        work_hashes: number(all.as_ref(), "work"),
        hours: hours.iter().filter_map(hour).collect(),
    })
}

/// All that the workers of a miner have done, by name: `worker, accepted, stale, rejected,
/// work_hashes`.
pub async fn of_workers(service: &QueryService, miner: &str) -> Result<Vec<Row>, QueryError> {
    let sql = format!(
        "SELECT worker, {} FROM hashrate_1d WHERE miner = $1 GROUP BY worker ORDER BY worker LIMIT \
         10000",
        window_sums()
    );
    rows(service, sql, json!([miner])).await
}

/// Hashes of a miner at a pool since a time, seconds since 1970, in whole windows.
pub async fn work_since(
    service: &QueryService,
    pool: &str,
    miner: &str,
    since_s: i64,
) -> Result<f64, QueryError> {
    let age = now_s() - since_s as f64;
    let tier = TIERS.iter().find(|(_, longest)| age < *longest);
    let tier = tier.map_or("1h", |(tier, _)| tier);
    let sql = format!(
        "SELECT CAST(sum(accepted_difficulty) AS DOUBLE) AS work FROM miner_hashrate_{tier} WHERE \
         pool = $1 AND miner = $2 AND window_start >= $3"
    );
    let sum = rows(service, sql, json!([pool, miner, rfc3339(since_s)])).await?;
    Ok(number(sum.first(), "work"))
}

/// Hashrate of a day of each worker of a miner, by name; of the hardest working of very many.
pub async fn of_each_worker(
    service: &QueryService,
    miner: &str,
) -> Result<Vec<(String, TimeSeries)>, QueryError> {
    let now = now_s();
    let day = Span::day(now);
    let busiest = format!(
        "SELECT worker FROM hashrate_{} WHERE miner = $1 AND window_start >= $2 GROUP BY worker \
         ORDER BY sum(accepted_difficulty) DESC, worker LIMIT {MAX_WORKERS}",
        day.tier
    );
    let names = rows(service, busiest.clone(), json!([miner, day.from])).await?;
    let (tier, step_s) = match names.len() {
        0..=FEW_WORKERS => ("1m", 600),
        _ => ("1h", 3_600),
    };
    let steps = 86_400 / step_s;
    let from_s = ((now as i64).div_euclid(step_s) + 1 - steps) * step_s;
    let step_us = step_s * 1_000_000;
    let sql = format!(
        "SELECT worker, CAST(window_start AS BIGINT) / {step_us} AS step, \
         CAST(sum(accepted_difficulty) AS DOUBLE) AS work FROM hashrate_{tier} WHERE miner = $1 \
         AND window_start >= $3 AND worker IN ({busiest}) GROUP BY worker, 2 ORDER BY worker, 2"
    );
    let found = rows(service, sql, json!([miner, day.from, rfc3339(from_s)])).await?;
    let mut steps: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
    for row in &found {
        let name = row.get("worker").and_then(Value::as_str);
        let step = row.get("step").and_then(Value::as_i64);
        if let (Some(name), Some(step)) = (name, step) {
            let work = number(Some(row), "work");
            steps.entry(name).or_default().push((step, work));
        }
    }
    let series = steps.into_iter().map(|(name, steps)| {
        let series = TimeSeries {
            from_s,
            to_s: now as i64,
            step_s,
            points: hashrate::points(steps.into_iter(), step_s, now),
        };
        (name.to_owned(), series)
    });
    Ok(series.collect())
}
