//! A miner's part of the shape.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Page, pool};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::reports::{PayoutsPage, WorkersPage};
use crate::route::pool_snapshot::{
    self, coins, last_share_s, number, payments_of, ring_mates, seconds, whole,
};

/// Workers that are listed.
const MAX_WORKERS: usize = 1_000;
/// Payments that are counted.
const MAX_PAYMENTS: usize = 1_000;

/// What is kept of a miner; nothing of an unknown one.
async fn known(app: &AppState, address: &str) -> Result<Option<Value>, QueryError> {
    match app.reports()?.miner(address).await {
        Err(error) if error.code == ErrorCode::NotFound => Ok(None),
        found => Ok(Some(found?)),
    }
}

async fn workers_of(app: &AppState, address: &str) -> Result<Vec<Value>, QueryError> {
    let page = WorkersPage {
        limit: MAX_WORKERS,
        after: String::new(),
    };
    match app.reports()?.workers(address, &page).await {
        Err(error) if error.code == ErrorCode::NotFound => Ok(Vec::new()),
        answer => Ok(answer?["workers"].as_array().cloned().unwrap_or_default()),
    }
}

pub(super) async fn stats(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let miner = known(app, address).await?;
    let paid = payments_of(app, address, MAX_PAYMENTS, None).await?;
    let last_share = match miner {
        Some(_) => workers_of(app, address)
            .await?
            .iter()
            .map(last_share_s)
            .max(),
        None => None,
    };
    // The peer says `false` of what it does not know.
    let of = |value: fn(&Value) -> u64| {
        miner
            .as_ref()
            .map_or(json!(false), |miner| json!(value(miner)))
    };
    let last_day = miner
        .as_ref()
        .map_or(0, |miner| seconds(&miner["last_day"]));
    let last_hash = miner
        .as_ref()
        .map(|_| last_share.unwrap_or(0).max(last_day));
    Ok(json!({
        "hash": of(|miner| whole(&miner["hashrate_hs"])),
        "hash2": of(|miner| whole(&miner["hashrate_hs"])),
        "identifier": "global",
        "lastHash": last_hash.map_or(json!(false), |at| json!(at)),
        "lastShareAlgo": app.pool_terms()?.chain.algorithm,
        "totalHashes": of(|miner| whole(&miner["work_hashes"])),
        "validShares": of(|miner| whole(&miner["shares"]["accepted"])),
        "invalidShares": of(|miner| whole(&miner["shares"]["rejected"])),
        "amtPaid": number(&paid["paid_atomic"]),
        "amtDue": number(&paid["balance_atomic"]),
        "txnCount": paid["payments"].as_array().map_or(0, Vec::len),
    }))
}

/// What the peer says of a worker that it does not know.
pub(super) fn unknown_worker(name: &str) -> Value {
    json!({
        "lts": false, "identifer": name, "hash": false, "hash2": false, "totalHash": false,
        "validShares": false, "invalidShares": false,
    })
}

pub(super) async fn all_workers(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let Some(miner) = known(app, address).await? else {
        return Ok(json!({"global": unknown_worker("global")}));
    };
    let listed = workers_of(app, address).await?;
    let totals = app.reports()?.worker_totals(address).await?;
    let totals: HashMap<&str, Value> = totals
        .iter()
        .filter_map(|row| Some((row.get("worker")?.as_str()?, Value::Object(row.clone()))))
        .collect();
    let last_share = listed.iter().map(last_share_s).max().unwrap_or(0);
    let mut answer = Map::new();
    for row in &listed {
        let name = row["worker"].as_str().unwrap_or_default();
        let total = totals.get(name).unwrap_or(&Value::Null);
        let hashrate = whole(&row["hashrate_hs"]);
        let entry = json!({
            "lts": last_share_s(row), "identifer": name, "hash": hashrate, "hash2": hashrate,
            "totalHash": whole(&total["work_hashes"]),
            "validShares": whole(&total["accepted"]),
            "invalidShares": whole(&total["rejected"]),
        });
        answer.insert(name.to_owned(), entry);
    }
    let hashrate = whole(&miner["hashrate_hs"]);
    let global = json!({
        "lts": last_share.max(seconds(&miner["last_day"])), "identifer": "global",
        "hash": hashrate, "hash2": hashrate, "totalHash": whole(&miner["work_hashes"]),
        "validShares": whole(&miner["shares"]["accepted"]),
        "invalidShares": whole(&miner["shares"]["rejected"]),
    });
    answer.insert("global".to_owned(), global);
    Ok(Value::Object(answer))
}

pub(super) async fn identifiers(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let listed = workers_of(app, address).await?;
    Ok(listed
        .into_iter()
        .map(|mut row| row["worker"].take())
        .collect())
}

pub(super) async fn payments(
    app: &AppState,
    address: &str,
    page: Page,
) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let wanted = (page.skipped() + page.limit()).min(9_000);
    let paid = payments_of(app, address, wanted, None).await?;
    let rows = paid["payments"].as_array().cloned().unwrap_or_default();
    let row = |row: Value| {
        json!({
            "pt": pool::scheme(terms), "ts": seconds(&row["reserved_at"]),
            "amount": number(&row["sent_atomic"]), "txnHash": row["tx_id"],
            "mixin": ring_mates(&terms.chain),
        })
    };
    Ok(page.cut(rows.into_iter().map(row)))
}

/// What a miner got of each block that it worked for.
pub(super) async fn block_payments(
    app: &AppState,
    address: &str,
    page: Page,
) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let reports = app.reports()?;
    let wanted = PayoutsPage {
        limit: (page.skipped() + page.limit()).min(9_000),
        before: None,
    };
    let paid = reports.payouts_of_miner(address, &wanted).await?;
    let rows = paid["payouts"].as_array().cloned().unwrap_or_default();
    let blocks = pool_snapshot::blocks(app).await?;
    let rewards: HashMap<&str, f64> = blocks
        .iter()
        .map(|block| (block.hash.as_str(), coins(&block.reward, &terms.chain)))
        .collect();
    let row = |row: Value| {
        let value = coins(&row["amount_atomic"], &terms.chain);
        let hash = row["block_hash"].as_str().unwrap_or_default();
        let reward = rewards.get(hash).copied().filter(|reward| *reward > 0.0);
        json!({
            "id": row["cursor"], "ts": seconds(&row["updated_at"]),
            "ts_found": seconds(&row["credited_at"]), "port": terms.chain.daemon_port,
            "hash": hash, "value": value,
            "value_percent": reward.map_or(0.0, |reward| value / reward * 100.0),
        })
    };
    Ok(page.cut(rows.into_iter().map(row)))
}

pub(super) async fn user(app: &AppState, address: &str) -> Result<Value, QueryError> {
    let paid = payments_of(app, address, 1, None).await?;
    let threshold = number(&paid["threshold_atomic"]);
    Ok(json!({"payout_threshold": threshold, "email_enabled": 0}))
}
