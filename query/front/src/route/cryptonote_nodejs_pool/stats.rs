//! The pool's part of the shape: everything a page about it shows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::lists;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::pool_block::PoolBlock;
use crate::pool_terms::PoolTerms;
use crate::reports::HashrateOf;
use crate::route::pool_snapshot::{
    PoolSnapshot, day, fee_percent, number, port_description, port_difficulty, solo_fee_percent,
    units, whole,
};

/// Days of the chart of blocks.
const CHART_DAYS: i64 = 30;
const DAY_S: i64 = 86_400;

/// The whole answer but for the visitor's host.
pub(super) async fn answer(app: &AppState) -> Result<Value, QueryError> {
    let facts = PoolSnapshot::gather(app, lists::ROWS).await?;
    let of_pool = HashrateOf::Pool(Some(facts.terms.pool.clone()));
    let hashrate = day(app, of_pool).await?;
    let rates = hashrate.points.iter();
    let rates: Vec<Value> = rates
        .map(|(at, rate)| json!([at, rate.round(), 1]))
        .collect();
    let tip = &facts.tip;
    Ok(json!({
        "config": config(&facts.terms, facts.window_s),
        "lastblock": {
            "difficulty": tip.difficulty as f64, "height": tip.height, "timestamp": tip.seen_s,
            "reward": reward(&facts), "hash": tip.hash,
        },
        "network": {"difficulty": tip.difficulty as f64, "height": tip.height + 1},
        "pool": pool(&facts),
        "charts": {
            "hashrate": rates,
            "miners": by_hour(&facts, |(_, miners, _)| *miners),
            "workers": by_hour(&facts, |(_, _, workers)| *workers),
            "difficulty": difficulties(&facts),
            "blocks": blocks_by_day(&facts.blocks, false, hashrate.to_s),
            "blocksSolo": blocks_by_day(&facts.blocks, true, hashrate.to_s),
        },
        "health": {},
        "miner": {},
    }))
}

fn config(terms: &PoolTerms, window_s: u64) -> Value {
    let chain = &terms.chain;
    let payments = terms.payments.as_ref();
    let threshold = payments.map_or(0, |of| whole(&json!(of.threshold_atomic)));
    let ports: Vec<Value> = terms
        .ports
        .iter()
        .map(|port| {
            json!({
                "port": port.port, "difficulty": port_difficulty(port),
                "desc": port_description(port), "tls": port.tls,
            })
        })
        .collect();
    json!({
        "poolHost": "", "ports": ports,
        "cnAlgorithm": "randomx", "cnVariant": 0, "cnBlobType": 0,
        "hashrateWindow": window_s,
        "fee": fee_percent(terms), "soloFee": solo_fee_percent(terms), "networkFee": 0,
        "coin": chain.name, "coinUnits": units(chain), "coinDecimalPlaces": chain.decimals,
        "coinDifficultyTarget": chain.block_target_s, "symbol": chain.symbol,
        "depth": chain.maturity_blocks, "donation": {}, "version": env!("CARGO_PKG_VERSION"),
        "paymentsInterval": payments.map_or(0, |of| of.interval_s),
        "minPaymentThreshold": threshold, "maxPaymentThreshold": null, "transferFee": 0,
        "denominationUnit": 1, "slushMiningEnabled": false, "weight": 0,
        "priceSource": "", "priceCurrency": "USD", "paymentIdSeparator": ".",
        "fixedDiffEnabled": false, "fixedDiffSeparator": "+", "sendEmails": false,
        "blocksChartEnabled": true, "blocksChartDays": CHART_DAYS,
        "telegramBotName": null, "telegramBotStats": "/stats", "telegramBotReport": "/report",
        "telegramBotNotify": "/notify", "telegramBotBlocks": "/blocks",
    })
}

/// What the newest block of the pool paid, where the chain has not told what one pays.
fn reward(facts: &PoolSnapshot) -> Value {
    match facts.tip.reward_atomic {
        0 => facts
            .blocks
            .first()
            .map_or(json!(0), |block| number(&block.reward)),
        reward => number(&json!(reward.to_string())),
    }
}

fn pool(facts: &PoolSnapshot) -> Value {
    let (ours, solo) = (Found::new(facts, false), Found::new(facts, true));
    let found = whole(&facts.pool["blocks"]["found"]);
    let count = |name: &str| whole(&facts.pool[name]);
    // Those who mine solo are counted apart.
    let others = |all: &str, solo: &str| count(all).saturating_sub(count(solo));
    let payments = facts.sent["payments"].as_array();
    let payments = payments.map_or(&[][..], Vec::as_slice);
    let shown = facts.blocks.iter().take(lists::ROWS);
    json!({
        "stats": {"lastBlockFound": ours.last},
        "blocks": lists::blocks(shown),
        "totalBlocks": found.saturating_sub(solo.blocks), "totalBlocksSolo": solo.blocks,
        "totalDiff": ours.difficulty, "totalDiffSolo": solo.difficulty,
        "totalShares": ours.work, "totalSharesSolo": solo.work,
        "payments": lists::sent(payments, &facts.terms.chain),
        "totalPayments": whole(&facts.sent["transactions"]),
        "totalMinersPaid": whole(&facts.sent["payees"]),
        "miners": others("miners", "solo_miners"), "minersSolo": count("solo_miners"),
        "workers": others("workers", "solo_workers"), "workersSolo": count("solo_workers"),
        "hashrate": others("hashrate_hs", "solo_hashrate_hs"),
        "hashrateSolo": count("solo_hashrate_hs"),
        "roundScore": facts.round_work(), "roundHashes": facts.round_work(),
        "lastBlockFound": ours.last, "lastBlockFoundSolo": solo.last,
    })
}

/// The blocks that were mined solo, or all others.
struct Found {
    blocks: u64,
    /// Hashes that were done for those of which that is known, and what they cost on average, so
    /// that luck compares the same blocks.
    work: u64,
    difficulty: u64,
    /// When the newest was found, milliseconds since 1970.
    last: Option<String>,
}

impl Found {
    fn new(facts: &PoolSnapshot, solo: bool) -> Self {
        let blocks = || facts.blocks.iter().filter(|block| block.solo == solo);
        let known = || blocks().filter(|block| block.work > 0);
        Self {
            blocks: blocks().count() as u64,
            work: known().map(|block| block.work).sum(),
            difficulty: known().map(|block| whole(&block.difficulty)).sum(),
            last: blocks()
                .next()
                .map(|block| (block.found_us / 1_000).to_string()),
        }
    }
}

fn by_hour(facts: &PoolSnapshot, of: impl Fn(&(i64, i64, i64)) -> i64) -> Vec<Value> {
    let hours = facts.history.hours.iter();
    hours.map(|hour| json!([hour.0, of(hour), 1])).collect()
}

/// The difficulty of the pool's blocks of a day, and of now, oldest first.
fn difficulties(facts: &PoolSnapshot) -> Vec<Value> {
    let from_s = facts.tip.seen_s - DAY_S;
    let blocks = facts.blocks.iter();
    let recent = blocks.take_while(|block| block.found_us / 1_000_000 >= from_s);
    let mut points: Vec<Value> = recent
        .map(|block| json!([block.found_us / 1_000_000, number(&block.difficulty), 1]))
        .collect();
    points.reverse();
    points.push(json!([facts.tip.seen_s, facts.tip.difficulty as f64, 1]));
    points
}

/// Blocks of each day that are part of the chain, those that were mined solo or all others; every
/// day is named.
fn blocks_by_day(blocks: &[PoolBlock], solo: bool, now_s: i64) -> Map<String, Value> {
    let date = |second: i64| {
        let time: DateTime<Utc> = DateTime::from_timestamp(second, 0).unwrap_or_default();
        time.format("%Y-%m-%d").to_string()
    };
    let days = (0..=CHART_DAYS).rev();
    let mut counts: BTreeMap<String, u64> = days.map(|n| (date(now_s - n * DAY_S), 0)).collect();
    let counted = |block: &&PoolBlock| block.solo == solo && !block.is_orphaned();
    for block in blocks.iter().filter(counted) {
        if let Some(count) = counts.get_mut(&date(block.found_us / 1_000_000)) {
            *count += 1;
        }
    }
    counts
        .into_iter()
        .map(|(day, count)| (day, json!(count)))
        .collect()
}
