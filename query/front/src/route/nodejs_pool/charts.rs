//! Charts of the shape: points newest first, with times in milliseconds.

use serde_json::{Map, Value, json};

use crate::app_state::AppState;
use crate::error::QueryError;
use crate::reports::{HashrateOf, TimeSeries};
use crate::route::pool_snapshot::{day, worker_hashrates};

fn rows(series: &TimeSeries) -> Value {
    let newest_first = series.points.iter().rev();
    let row = |(at, rate): &(i64, f64)| {
        let rate = rate.round();
        json!({"ts": at * 1_000, "hs": rate, "hs2": rate})
    };
    newest_first.map(row).collect()
}

pub(super) async fn of_pool(app: &AppState) -> Result<Value, QueryError> {
    let pool = app.pool_terms()?.pool.clone();
    Ok(rows(&day(app, HashrateOf::Pool(Some(pool))).await?))
}

pub(super) async fn of_miner(app: &AppState, address: &str) -> Result<Value, QueryError> {
    Ok(rows(
        &day(app, HashrateOf::Miner(address.to_owned())).await?,
    ))
}

/// A miner as `global`, and its workers by name.
pub(super) async fn of_workers(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let workers = worker_hashrates(app, address).await?;
    let mut answer: Map<String, Value> = workers
        .iter()
        .map(|(name, series)| (name.clone(), rows(series)))
        .collect();
    answer.insert("global".to_owned(), of_miner(app, address).await?);
    Ok(Value::Object(answer))
}

/// One worker, or the miner by the name `global`; nothing of an unknown one.
pub(super) async fn of_worker(
    app: &AppState,
    address: &str,
    worker: &str,
) -> Result<Value, QueryError> {
    if worker == "global" {
        return of_miner(app, address).await;
    }
    let workers = worker_hashrates(app, address).await?;
    let found = workers.iter().find(|(name, _)| name == worker);
    Ok(found.map_or_else(|| json!([]), |(_, series)| rows(series)))
}

pub(super) async fn miners(app: &AppState) -> Result<Value, QueryError> {
    let pool = &app.pool_terms()?.pool;
    let history = app.reports()?.pool_history(pool).await?;
    let newest_first = history.hours.iter().rev();
    let row = |(at, miners, _): &(i64, i64, i64)| json!({"ts": at * 1_000, "cn": miners});
    Ok(newest_first.map(row).collect())
}
