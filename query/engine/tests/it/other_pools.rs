//! The shapes of other pools: every field that front ends of them read is there with its type and
//! unit, told from the same rows as the pages.
//!
//! The fields are those of cryptonote-nodejs-pool's website, of poolui and of mo-pool-ui.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use headframe_query_front::pool_terms::{ChainTerms, PaymentTerms, PoolTerms, PortTerms};
use headframe_query_front::{ChainMonitor, ChainTip, QueryConfig, Server, Services};
use headframe_schemas::stream::instructions::Instructions;
use headframe_schemas::stream::payments::Payments;
use headframe_schemas::stream::payouts::Payouts;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::payments::Notebook;
use crate::rest::{ask, blocks, close, now_us, shares, source};
use crate::scripted::raw_row;
use crate::server::{config, engines, get};

mod nodejs_pool;
mod solo;
mod website;

const CRYPTONOTE: &str = "/api/cryptonote-nodejs-pool";

struct Chain;

impl ChainMonitor for Chain {
    fn tip(&self) -> Option<ChainTip> {
        Some(ChainTip {
            height: 107,
            hash: "ab".repeat(32),
            seen_s: now_us() / 1_000_000 - 30,
            difficulty: 300_000,
            reward_atomic: 600_000_000_000,
        })
    }
}

fn terms() -> PoolTerms {
    PoolTerms {
        pool: "main".to_owned(),
        chain: ChainTerms {
            name: "monero".to_owned(),
            symbol: "XMR".to_owned(),
            decimals: 12,
            block_target_s: 120,
            maturity_blocks: 60,
            algorithm: "rx/0".to_owned(),
            daemon_port: 18_081,
            explorer_block: None,
            explorer_transaction: None,
        },
        ports: vec![PortTerms {
            port: 3_333,
            start_difficulty: 10_000,
            fixed_difficulty: None,
            tls: true,
            nicehash: false,
            solo: false,
        }],
        tls_fingerprint: None,
        scheme: Some("pplns".to_owned()),
        window_milli: Some(2_000),
        fee_bp: Some(90),
        solo_fee_bp: Some(150),
        payments: Some(PaymentTerms {
            threshold_atomic: "100000000000".to_owned(),
            least_threshold_atomic: "10000000000".to_owned(),
            interval_s: 3_600,
            confirmations: 10,
        }),
    }
}

/// A payment of 4Ann, sent ten minutes ago, and what a matured block gave it.
fn money() -> Vec<Arc<dyn headframe_query_engine::Source>> {
    let sent = now_us() - 600_000_000;
    let step = |step: &str| {
        json!({"event_time": sent, "pool": "main", "payment": "p1", "step": step,
            "account": "4Ann", "address": "4Ann", "amount_atomic": 150_000_000_000_i64,
            "sent_atomic": 149_000_000_000_i64, "network_fee_atomic": 1_000_000_000,
            "tx_id": "cd".repeat(32)})
    };
    let credited = |step: &str| {
        json!({"event_time": sent, "pool": "main", "block_hash": "aa".repeat(32), "height": 10,
            "step": step, "account": "4Ann", "amount_atomic": 300_000_000_000_i64,
            "cause_seq": 1, "cause_row": 0})
    };
    let rows = |rows: Vec<Value>| {
        let numbered = (1..).zip(rows);
        numbered
            .map(|(seq, own)| raw_row(seq, 0, sent, own))
            .collect()
    };
    vec![
        source(
            &Payouts,
            rows(vec![credited("credited"), credited("matured")]),
        ),
        source(&Payments, rows(vec![step("reserved"), step("confirmed")])),
        source(&Instructions, Vec::new()),
    ]
}

async fn served() -> Router {
    served_with(config()).await
}

async fn served_with(config: QueryConfig) -> Router {
    served_of(config, terms(), vec![shares(), blocks()]).await
}

async fn served_of(
    config: QueryConfig,
    terms: PoolTerms,
    mut sources: Vec<Arc<dyn headframe_query_engine::Source>>,
) -> Router {
    let config = QueryConfig {
        public_pages: true,
        ..config
    };
    sources.extend(money());
    let services = Services {
        engines: engines(&config, sources),
        pool_terms: Some(terms),
        chain_monitor: Some(Arc::new(Chain)),
        payment_service: Some(Arc::new(Notebook::default())),
        ..Services::default()
    };
    Server::bind(config, services).await.unwrap().router()
}

async fn at(router: &Router, path: &str) -> Value {
    let answer = ask(router, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    answer.json()
}

/// What a value may be, as a text in a shape; an object has at least these fields, and an array
/// with one member is of such members and not empty, with more it is of exactly these.
fn check(found: &Value, shape: &Value, place: &str) {
    match shape {
        Value::String(kind) => {
            let now = now_us() as f64 / 1e6;
            let number = found.as_f64();
            let text = found.as_str();
            let is_time = |unit: f64| number.is_some_and(|at| (at / unit - now).abs() < 90_000.0);
            let fits = match kind.as_str() {
                "whole" => {
                    found.is_i64() || found.is_u64() || number.is_some_and(|n| n.fract() == 0.0)
                }
                "number" => found.is_number(),
                "text" => found.is_string(),
                "bool" => found.is_boolean(),
                "object" => found.is_object(),
                "list" => found.is_array(),
                "null" => found.is_null(),
                "s" => is_time(1.0),
                "ms" => is_time(1e3),
                "text of a number" => text.is_some_and(|text| text.parse::<i128>().is_ok()),
                "text of s" => text.is_some_and(|text| {
                    text.parse::<f64>()
                        .is_ok_and(|at| (at - now).abs() < 90_000.0)
                }),
                "text of ms" => text.is_some_and(|text| {
                    text.parse::<f64>()
                        .is_ok_and(|at| (at / 1e3 - now).abs() < 90_000.0)
                }),
                other => panic!("{place}: {other:?} is no kind"),
            };
            assert!(fits, "{place} is {found}, not {kind}");
        }
        Value::Object(fields) => {
            assert!(found.is_object(), "{place} is {found}");
            for (name, shape) in fields {
                let value = found.get(name);
                let value = value.unwrap_or_else(|| panic!("{place} has no {name}: {found}"));
                check(value, shape, &format!("{place}.{name}"));
            }
        }
        Value::Array(shapes) => {
            let members = found
                .as_array()
                .unwrap_or_else(|| panic!("{place} is {found}"));
            assert!(!members.is_empty(), "{place} is empty");
            assert!(
                shapes.len() == 1 || shapes.len() == members.len(),
                "{place}: {found}"
            );
            for (index, value) in members.iter().enumerate() {
                let shape = &shapes[index % shapes.len()];
                check(value, shape, &format!("{place}[{index}]"));
            }
        }
        exact => assert_eq!(found, exact, "{place}"),
    }
}

#[tokio::test]
async fn the_stats_of_cryptonote_nodejs_pool_have_every_field_in_its_unit() {
    let router = served().await;
    let stats = at(&router, &format!("{CRYPTONOTE}/stats")).await;
    let point = json!(["s", "number", 1]);
    let shape = json!({
        "config": {
            "poolHost": "text",
            "ports": [{"port": 3_333, "difficulty": 10_000, "desc": "text"}],
            "cnAlgorithm": "text", "cnVariant": "whole", "cnBlobType": "whole",
            "hashrateWindow": 600, "fee": 0.9, "soloFee": 1.5, "networkFee": "number",
            "coin": "text", "coinUnits": 1e12, "coinDecimalPlaces": 12,
            "coinDifficultyTarget": 120, "symbol": "text", "depth": 60, "donation": "object",
            "version": "text", "paymentsInterval": 3_600,
            "minPaymentThreshold": 100_000_000_000_u64, "maxPaymentThreshold": "null",
            "transferFee": "number", "denominationUnit": "whole", "slushMiningEnabled": false,
            "weight": "number", "priceSource": "text", "priceCurrency": "text",
            "paymentIdSeparator": "text", "fixedDiffEnabled": "bool",
            "fixedDiffSeparator": "text", "sendEmails": false, "blocksChartEnabled": true,
            "blocksChartDays": "whole", "telegramBotName": "null",
        },
        "lastblock": {"difficulty": "whole", "height": 107, "timestamp": "s",
            "reward": 600_000_000_000_u64, "hash": "text"},
        "network": {"difficulty": "whole", "height": 108},
        "pool": {
            "stats": "object", "blocks": ["text"], "totalBlocks": 4, "totalDiff": "whole",
            "totalShares": "whole", "payments": ["text", "text of s"], "totalPayments": 1,
            "totalMinersPaid": 1, "miners": 2, "workers": 3, "hashrate": 1_100,
            "roundScore": "number", "roundHashes": "whole", "lastBlockFound": "text of ms",
            "totalBlocksSolo": 0, "totalDiffSolo": 0, "totalSharesSolo": 0, "minersSolo": 0,
            "workersSolo": 0, "hashrateSolo": 0,
        },
        "charts": {"hashrate": [point], "miners": [point], "workers": [point],
            "difficulty": [point], "blocks": "object", "blocksSolo": "object"},
        "health": "object",
        "miner": "object",
    });
    check(&stats, &shape, "stats");
    let days = stats["charts"]["blocks"].as_object().unwrap();
    let found: u64 = days.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(
        (days.len(), found),
        (31, 3),
        "the orphaned one is none of the chain's"
    );
    // A visitor's miner, in the same answer.
    let own = at(&router, &format!("{CRYPTONOTE}/stats?address=4Ann")).await;
    let shape = json!({"hashrate": 110, "roundScore": "number", "roundHashes": "whole"});
    check(&own["miner"], &shape, "miner");
}

#[tokio::test]
async fn flat_blocks_and_payments_of_cryptonote_nodejs_pool_are_read_as_its_website_does() {
    let router = served().await;
    let stats = at(&router, &format!("{CRYPTONOTE}/stats")).await;
    let flat = stats["pool"]["blocks"].as_array().unwrap();
    let heights: Vec<&str> = flat
        .iter()
        .skip(1)
        .step_by(2)
        .map(|at| at.as_str().unwrap())
        .collect();
    assert_eq!(
        heights,
        ["13", "12", "11", "10"],
        "newest first, what the daemon took"
    );
    let parts =
        |index: usize| -> Vec<&str> { flat[index * 2].as_str().unwrap().split(':').collect() };
    // One that waits has a score that is no end, and no reward.
    let waits = parts(0);
    assert_eq!(
        (waits[0], waits[2], waits.len()),
        ("prop", &*"ee".repeat(32), 7)
    );
    assert!(waits[6].parse::<u64>().unwrap() >= 2, "{waits:?}");
    let orphaned = parts(1);
    assert_eq!((orphaned[6], orphaned.len()), ("1", 8));
    let matured = parts(3);
    assert_eq!((matured[4], matured[6]), ("300000", "0"));
    assert_eq!(matured[7], "600000000000000000001", "no digit is lost");
    assert!(close_to_now(matured[3]), "{matured:?}");
    let paid = stats["pool"]["payments"][0].as_str().unwrap();
    let hash = "cd".repeat(32);
    assert_eq!(paid, format!("{hash}:149000000000:1000000000:15:1"));

    let ended = at(&router, &format!("{CRYPTONOTE}/get_blocks?height=11")).await;
    assert_eq!(ended.as_array().unwrap().len(), 2, "{ended}");
    assert_eq!(ended[1], "10", "strictly below");
    let now = now_us() / 1_000_000;
    for (query, entries) in [
        (format!("time={now}"), 2),
        (format!("time={now}&address=4Ann"), 2),
        (format!("time={}", now - 3_600), 0),
        (format!("time={now}&address=4Bob"), 0),
        ("_=123".to_owned(), 2),
    ] {
        let flat = at(&router, &format!("{CRYPTONOTE}/get_payments?{query}")).await;
        assert_eq!(flat.as_array().unwrap().len(), entries, "{query}: {flat}");
    }
}

fn close_to_now(second: &str) -> bool {
    (now_us() / 1_000_000 - second.parse::<i64>().unwrap()).abs() < 7_200
}

#[tokio::test]
async fn a_miner_of_cryptonote_nodejs_pool_has_every_field_in_its_unit() {
    let router = served().await;
    let of = at(
        &router,
        &format!("{CRYPTONOTE}/stats_address?address=4Ann&longpoll=false"),
    )
    .await;
    let shape = json!({
        "stats": {
            "hashes": "text of a number", "lastShare": "text of s",
            "balance": "text of a number", "paid": "text of a number", "hashrate": "whole",
            "hashrate_1h": "number", "hashrate_6h": "number", "hashrate_24h": "number",
            "roundHashes": "whole", "roundScore": "number",
        },
        "payments": ["text", "text of s"],
        "charts": {"hashrate": [["s", "number", 1]], "payments": [["s", "text of a number"]]},
        "workers": [{
            "name": "text", "hashrate": "whole", "hashrate_1h": "number",
            "hashrate_6h": "number", "hashrate_24h": "number", "lastShare": "s",
            "hashes": "whole",
        }],
    });
    check(&of, &shape, "stats_address");
    assert_eq!(of["stats"]["balance"], "150000000000");
    assert_eq!(of["stats"]["paid"], "149000000000");
    assert_eq!(of["stats"]["hashes"], "78000");
    // 12,000 hashes two hours ago and 30,000 within the hour, over six and over one.
    let b = of["workers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "b")
        .unwrap();
    assert_eq!(b["hashes"], 42_000);
    close(&b["hashrate_6h"], 42_000.0 / 21_600.0);

    let unknown = at(
        &router,
        &format!("{CRYPTONOTE}/stats_address?address=4Nobody"),
    )
    .await;
    assert_eq!(unknown, json!({"error": "Not found"}));
    let top = at(&router, &format!("{CRYPTONOTE}/get_top10miners")).await;
    let shape = json!([{"miner": "text", "hashrate": "whole", "lastShare": "text of s",
        "hashes": "text of a number"}]);
    check(&top, &shape, "top");
    assert_eq!(
        (&top[0]["hashrate"], &top[0]["miner"]),
        (&json!(1_000), &json!("4...b"))
    );
}

#[tokio::test]
async fn who_waits_takes_no_slot_of_those_who_ask() {
    let router = served_with(QueryConfig {
        public_slots: 2,
        reader_slots: 2,
        operator_slots: 2,
        ..config()
    })
    .await;
    let waits = |path: &'static str| {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, &format!("{CRYPTONOTE}/{path}")).await.status })
    };
    let waiting = [
        waits("live_stats"),
        waits("stats_address?address=4Ann&longpoll=true"),
    ];
    for _ in 0..3 {
        tokio::task::yield_now().await;
        let answer = ask(&router, "/api/v1/pool").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_keeps_its_slot() {
    let router = served_with(QueryConfig {
        public_slots: 1,
        reader_slots: 1,
        operator_slots: 1,
        ..config()
    })
    .await;
    let path = format!("{CRYPTONOTE}/stats_address?address=4Ann");
    let unread = router.clone().oneshot(get(&path)).await.unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    let refused = ask(&router, "/api/v1/pool").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    drop(unread);
    let answer = ask(&router, "/api/v1/pool").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn who_waits_for_the_next_answer_does_not_get_this_one_at_once() {
    let router = served().await;
    for path in ["live_stats", "stats_address?address=4Ann&longpoll=true"] {
        let path = format!("{CRYPTONOTE}/{path}");
        let answer = tokio::time::timeout(Duration::from_secs(2), ask(&router, &path)).await;
        assert!(answer.is_err(), "{path}");
    }
    let live = at(&router, &format!("{CRYPTONOTE}/live_stats")).await;
    check(
        &live["network"],
        &json!({"difficulty": "whole", "height": 108}),
        "live_stats",
    );
}
