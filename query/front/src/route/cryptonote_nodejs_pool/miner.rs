//! A miner's part of the shape.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::lists;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::reports::{HashrateOf, TimeSeries, WorkersPage};
use crate::route::pool_snapshot::{
    self, day, last_share_s, mean, payments_of, seconds, text, whole, worker_hashrates,
};

/// Workers that are listed.
const MAX_WORKERS: usize = 1_000;
const HOUR_S: i64 = 3_600;

/// Everything about a miner; a `NotFound` when no share of it is kept.
pub(super) async fn answer(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let reports = app.reports()?;
    let miner = reports.miner(address).await?;
    let page = WorkersPage {
        limit: MAX_WORKERS,
        after: String::new(),
    };
    let listed = reports.workers(address, &page).await?;
    let listed = listed["workers"].as_array().cloned().unwrap_or_default();
    let payments = payments_of(app, address, lists::ROWS, None).await?;
    let series = day(app, HashrateOf::Miner(address.to_owned())).await?;
    let effort = pool_snapshot::effort(app).await?;
    let since_s = seconds(&effort["round"]["since"]);
    let work = reports.work_since(&terms.pool, address, since_s).await?;
    let round = whole(&json!(work)).min(whole(&effort["round"]["work_hashes"]));
    let sent = payments["payments"].as_array().cloned().unwrap_or_default();
    let last_share = listed.iter().map(last_share_s).max().unwrap_or(0);
    let points = series.points.iter();
    let rates: Vec<Value> = points
        .map(|(at, rate)| json!([at, rate.round(), 1]))
        .collect();
    let mut stats = json!({
        "hashes": text(&miner["work_hashes"]),
        "lastShare": last_share.max(seconds(&miner["last_day"])).to_string(),
        "balance": text(&payments["balance_atomic"]),
        "paid": text(&payments["paid_atomic"]),
        "hashrate": whole(&miner["hashrate_hs"]),
        "roundHashes": round, "roundScore": round,
    });
    add_means(&mut stats, &series);
    Ok(json!({
        "stats": stats,
        "payments": lists::sent(&sent, &terms.chain),
        "charts": {"hashrate": rates, "payments": paid_over_time(&sent)},
        "workers": workers(app, address, &listed).await?,
    }))
}

/// Hashrates of an hour, of six and of a day.
fn add_means(row: &mut Value, series: &TimeSeries) {
    for (name, hours) in [("hashrate_1h", 1), ("hashrate_6h", 6), ("hashrate_24h", 24)] {
        row[name] = json!(mean(series, hours * HOUR_S).round());
    }
}

/// The time and the amount of each payment, oldest first; amounts are texts.
fn paid_over_time(sent: &[Value]) -> Vec<Value> {
    let point = |row: &Value| json!([seconds(&row["reserved_at"]), text(&row["sent_atomic"])]);
    sent.iter().rev().map(point).collect()
}

async fn workers(
    app: &AppState,
    address: &str,
    listed: &[Value],
) -> Result<Vec<Value>, QueryError> {
    let reports = app.reports()?;
    let totals = reports.worker_totals(address).await?;
    let totals: HashMap<&str, &Value> = totals
        .iter()
        .filter_map(|row| Some((row.get("worker")?.as_str()?, row.get("work_hashes")?)))
        .collect();
    let series = worker_hashrates(app, address).await?;
    let series: HashMap<&str, &TimeSeries> = series
        .iter()
        .map(|(name, series)| (name.as_str(), series))
        .collect();
    let worker = |row: &Value| {
        let name = row["worker"].as_str().unwrap_or_default();
        let hashes = totals.get(name).copied().unwrap_or(&row["work_24h_hashes"]);
        let mut answer = json!({
            // What the peer calls a worker without a name.
            "name": if name.is_empty() { "undefined" } else { name },
            "hashrate": whole(&row["hashrate_hs"]),
            "hashrate_1h": 0, "hashrate_6h": 0,
            "hashrate_24h": whole(&row["hashrate_24h_hs"]),
            "lastShare": last_share_s(row),
            "hashes": whole(hashes),
        });
        if let Some(series) = series.get(name) {
            add_means(&mut answer, series);
        }
        answer
    };
    Ok(listed.iter().map(worker).collect())
}
