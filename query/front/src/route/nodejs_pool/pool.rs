//! The pool's part of the shape.

use serde_json::{Value, json};

use super::page::Page;
use crate::app_state::AppState;
use crate::chain_monitor::ChainTip;
use crate::error::QueryError;
use crate::pool_block::PoolBlock;
use crate::pool_terms::{ChainTerms, PoolTerms};
use crate::route::pool_snapshot::{
    self, PoolSnapshot, coins, fee_percent, number, port_description, port_difficulty, ring_mates,
    row_of, seconds, sent_payments, tip, units, whole,
};

/// The port that names Monero, whose blocks the peer lists apart from those of all other coins.
const MONERO_PORT: u16 = 18_081;

/// How the pool shares out, as the peer names schemes.
pub(super) fn scheme(terms: &PoolTerms) -> &str {
    terms.scheme.as_deref().unwrap_or("pplns")
}

/// How a block or a port shares out.
fn pool_type(terms: &PoolTerms, solo: bool) -> &str {
    if solo { "solo" } else { scheme(terms) }
}

/// Amounts are atomic units; those of `payout_policy` are coins.
pub(super) fn config(terms: &PoolTerms) -> Value {
    let chain = &terms.chain;
    let payments = terms.payments.as_ref();
    let threshold = payments.map_or(json!(0), |of| number(&json!(of.threshold_atomic)));
    let least = payments.map_or(json!(0), |of| number(&json!(of.least_threshold_atomic)));
    json!({
        "pplns_fee": fee_percent(terms),
        "min_wallet_payout": least, "min_exchange_payout": least,
        "dev_donation": 0, "pool_dev_donation": 0,
        "maturity_depth": chain.maturity_blocks, "min_denom": 1, "coin_code": chain.symbol,
        "payout_policy": {
            "minimumThreshold": coins(&least, chain),
            "defaultThreshold": coins(&threshold, chain),
            "exchangeMinimumThreshold": coins(&least, chain),
            "denomination": 1.0 / units(chain), "maturityDepth": chain.maturity_blocks,
            // The network's fee is divided among those who are paid.
            "feeFormula": {"maxFee": 0, "zeroFeeThreshold": 0},
        },
    })
}

/// `pool_statistics` of all, or of the one scheme with its fee.
pub(super) async fn stats(app: &AppState, with_fee: bool) -> Result<Value, QueryError> {
    let facts = PoolSnapshot::gather(app, 1).await?;
    let mut statistics = statistics(&facts);
    if with_fee {
        statistics["fee"] = json!(fee_percent(&facts.terms));
        return Ok(json!({"pool_statistics": statistics}));
    }
    let last = facts.sent["payments"].get(0);
    let last_payment = last.map_or(0, |row| seconds(&row["updated_at"]));
    Ok(json!({
        "pool_list": [scheme(&facts.terms)], "pool_statistics": statistics,
        "last_payment": last_payment,
    }))
}

fn statistics(facts: &PoolSnapshot) -> Value {
    let chain = &facts.terms.chain;
    let port = chain.daemon_port.to_string();
    let hashrate = whole(&facts.pool["hashrate_hs"]);
    // What is mined solo fills no window.
    let pooled = hashrate.saturating_sub(whole(&facts.pool["solo_hashrate_hs"]));
    let miners = whole(&facts.pool["miners"]);
    let newest = facts.blocks.iter().find(|block| !block.is_orphaned());
    let reward = number(&json!(facts.tip.reward_atomic.to_string()));
    let round = facts.round_work();
    let found = whole(&facts.pool["blocks"]["found"]);
    let (alt, by_port) = match chain.daemon_port {
        MONERO_PORT => (0, json!({})),
        _ => (found, json!({port.as_str(): found})),
    };
    json!({
        "hashRate": hashrate, "miners": miners,
        "totalHashes": facts.history.work_hashes.round() as u64,
        "lastBlockFoundTime": newest.map_or(0, |block| block.found_us / 1_000_000),
        "lastBlockFound": newest.map_or(0, |block| block.height),
        "totalBlocksFound": found,
        "totalMinersPaid": whole(&facts.sent["payees"]),
        "totalPayments": whole(&facts.sent["transactions"]),
        "roundHashes": round,
        // The total is for pages that add it to the blocks above.
        "altBlocksFound": by_port, "totalAltBlocksFound": 0, "activePorts": [chain.daemon_port],
        "pending": pending(&facts.blocks, chain),
        "price": {"btc": 0, "usd": 0, "eur": 0},
        "pplnsWindowTime": window_s(facts, pooled),
        "portHash": {port.as_str(): hashrate}, "portMinerCount": {port.as_str(): miners},
        "coinProfit": {port.as_str(): 1}, "minBlockRewards": {port.as_str(): reward},
        "currentEfforts": {port.as_str(): round},
        "coins": {port.as_str(): {
            "port": chain.daemon_port, "symbol": chain.symbol, "displayName": chain.symbol,
            "algo": chain.algorithm, "profit": 1, "pplnsShare": 1, "active": true,
            "exchangeConfigured": false, "hashrate": hashrate, "miners": miners,
            "blockTime": chain.block_target_s, "atomicUnits": units(chain), "altBlocksFound": alt,
        }},
    })
}

/// Coins of blocks that are part of the chain and cannot be spent yet.
fn pending(blocks: &[PoolBlock], chain: &ChainTerms) -> f64 {
    let open = blocks
        .iter()
        .filter(|block| !block.is_orphaned() && !block.is_matured());
    open.map(|block| coins(&block.reward, chain)).sum()
}

/// Seconds that a window of the scheme reaches back at the hashrate of now.
fn window_s(facts: &PoolSnapshot, hashrate: u64) -> u64 {
    let blocks = facts.terms.window_milli.unwrap_or(0) as f64 / 1_000.0;
    match hashrate {
        0 => 0,
        hashrate => (blocks * facts.tip.difficulty as f64 / hashrate as f64).round() as u64,
    }
}

pub(super) async fn network(app: &AppState) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let pool = row_of(app.pools().await?.value()?, &terms.pool);
    Ok(network_json(&tip(app, &pool), &terms.chain))
}

fn network_json(tip: &ChainTip, chain: &ChainTerms) -> Value {
    let difficulty = number(&json!(tip.difficulty.to_string()));
    let value = number(&json!(tip.reward_atomic.to_string()));
    let mut answer = json!({
        "difficulty": difficulty, "hash": tip.hash, "main_height": tip.height,
        "height": tip.height, "value": value, "ts": tip.seen_s,
    });
    let mut of_port = answer.clone();
    of_port["time"] = json!(chain.block_target_s);
    answer[chain.daemon_port.to_string()] = of_port;
    answer
}

pub(super) async fn blocks(app: &AppState, page: Page) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let found = pool_snapshot::blocks(app).await?;
    Ok(page.cut(found.iter().map(|block| block_json(block, terms))))
}

fn block_json(block: &PoolBlock, terms: &PoolTerms) -> Value {
    json!({
        "ts": block.found_us / 1_000, "hash": block.hash, "diff": number(&block.difficulty),
        "shares": block.work, "height": block.height, "valid": !block.is_orphaned(),
        "unlocked": block.is_matured(), "pool_type": pool_type(terms, block.solo),
        "value": number(&block.reward), "port": terms.chain.daemon_port,
    })
}

/// The same, with what of it was paid in Monero, which is nothing, and how far it is.
pub(super) async fn coin_blocks(app: &AppState, page: Page) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let found = pool_snapshot::blocks(app).await?;
    let row = |block: &PoolBlock| {
        let mut row = block_json(block, terms);
        row["pay_value"] = json!(0);
        row["pay_stage"] = json!(match (block.is_orphaned(), block.is_matured()) {
            (true, _) => "Orphaned",
            (_, true) => "Matured",
            _ => "Maturing",
        });
        row
    };
    Ok(page.cut(found.iter().map(row)))
}

pub(super) async fn payments(app: &AppState, page: Page) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let rows = sent_payments(app).await?;
    let row = |row: Value| {
        json!({
            "id": row["cursor"], "hash": row["tx_id"], "mixins": ring_mates(&terms.chain),
            "payees": row["payees"], "fee": number(&row["network_fee_atomic"]),
            "value": number(&row["sent_atomic"]), "ts": seconds(&row["reserved_at"]) * 1_000,
            "pool_type": scheme(terms),
        })
    };
    Ok(page.cut(rows.into_iter().map(row)))
}

/// Each port once as `global` and once by its scheme; miners are not counted by port, so that the
/// first one has them all.
pub(super) async fn ports(app: &AppState, host: &str) -> Result<Value, QueryError> {
    let terms = app.pool_terms()?;
    let pool = row_of(app.pools().await?.value()?, &terms.pool);
    let tip = tip(app, &pool);
    let ports = terms.ports.iter().enumerate();
    let rows: Vec<Value> = ports
        .map(|(index, port)| {
            let miners = if index == 0 {
                whole(&pool["miners"])
            } else {
                0
            };
            json!({
                "host": {"hostname": host, "blockID": tip.height, "blockIDTime": tip.seen_s},
                "port": port.port, "difficulty": port_difficulty(port),
                "description": port_description(port), "miners": miners, "tls": port.tls,
                "pool_type": pool_type(terms, port.solo),
            })
        })
        .collect();
    let configured = terms.ports.iter().map(|port| {
        json!({
            "port": port.port, "tlsPort": port.tls.then_some(port.port),
            "difficulty": port_difficulty(port), "targetHashrate": port_difficulty(port) / 30,
            "description": port_description(port),
        })
    });
    let configured: Vec<Value> = configured.collect();
    let mut answer = json!({"global": rows, scheme(terms): [], "configured": configured});
    for row in rows {
        let name = row["pool_type"].as_str().unwrap_or_default().to_owned();
        match answer[&name].as_array_mut() {
            Some(of_type) => of_type.push(row),
            None => answer[&name] = json!([row]),
        }
    }
    Ok(answer)
}
