//! Those who mine solo, as pages and the shapes of other pools tell of them: counted apart, in no
//! round of the pool's.

use std::sync::Arc;

use axum::Router;
use headframe_query_engine::Source;
use headframe_query_front::pool_terms::PoolTerms;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::shares::Shares;
use serde_json::{Value, json};

use super::{CRYPTONOTE, PortTerms, at, served_of, terms};
use crate::rest::{close, json_at, now_us, source};
use crate::scripted::raw_row;
use crate::server::config;

/// Minutes ago, miner, worker, hashes, and whether it was mined solo.
const SENT: [(i64, &str, &str, i64, Option<bool>); 6] = [
    (50, "4Ann", "a", 9_000, None),
    (45, "4Sol", "s", 6_000, Some(true)),
    (30, "4Ann", "a", 30_000, Some(false)),
    (25, "4Sol", "s", 12_000, Some(true)),
    (5, "4Ann", "a", 60_000, None),
    (4, "4Sol", "s", 18_000, Some(true)),
];
/// Minutes ago, hash, finder, and whether it was mined solo.
const FOUND: [(i64, &str, &str, Option<bool>); 4] = [
    (48, "aa", "4Ann", None),
    (40, "bb", "4Sol", Some(true)),
    (20, "cc", "4Sol", Some(true)),
    (10, "dd", "4Ann", None),
];

fn shares() -> Arc<dyn Source> {
    let row = |(index, (minutes, miner, worker, hashes, solo)): (usize, &_)| {
        let time = now_us() - minutes * 60_000_000;
        let own = json!({
            "event_time": time, "pool": "main", "miner": miner, "worker": worker,
            "outcome": "accepted", "difficulty": hashes, "network_difficulty": 300_000,
            "height": 100, "solo": solo,
        });
        raw_row(index as i64 + 1, 0, time, own)
    };
    source(&Shares, SENT.iter().enumerate().map(row).collect())
}

fn blocks() -> Arc<dyn Source> {
    let row = |(index, (minutes, hash, miner, solo)): (usize, &(i64, &str, &str, _))| {
        let time = now_us() - minutes * 60_000_000;
        let own = json!({
            "event_time": time, "pool": "main", "hash": hash.repeat(32), "height": 10 + index,
            "miner": miner, "worker": "w", "status": "accepted", "network_difficulty": 60_000,
            "reward_atomic": "600", "solo": solo,
        });
        raw_row(index as i64 + 1, 0, time, own)
    };
    source(&Blocks, FOUND.iter().enumerate().map(row).collect())
}

async fn served() -> Router {
    let (mut terms, plain): (PoolTerms, _) = (terms(), terms().ports.remove(0));
    terms.ports.push(PortTerms {
        port: 3_334,
        solo: true,
        ..plain
    });
    served_of(config(), terms, vec![shares(), blocks()]).await
}

#[tokio::test]
async fn work_and_blocks_that_were_mined_solo_are_in_no_round_of_the_pools() {
    let router = served().await;
    let pools = json_at(&router, "/api/v1/pool").await;
    let pool = &pools["pools"][0];
    assert_eq!(
        (&pool["hashrate_hs"], &pool["solo_hashrate_hs"]),
        (&json!(130.0), &json!(30.0))
    );
    let counts = ["miners", "solo_miners", "workers", "solo_workers"].map(|name| &pool[name]);
    assert_eq!(counts, [&json!(2), &json!(1), &json!(2), &json!(1)]);

    let efforts = json_at(&router, "/api/v1/pool/effort?pool=main").await;
    let pool = &efforts["pools"][0];
    // A window is shared between rounds by time, so figures are near, not exact.
    let effort = |of: &Value, hash: &str| {
        let blocks = of["blocks"].as_array().unwrap().clone();
        blocks
            .into_iter()
            .find(|row| row["hash"] == hash.repeat(32))
            .unwrap()["effort"]
            .clone()
    };
    close(&effort(pool, "dd"), 0.5);
    close(&effort(&pool["solo"], "cc"), 0.2);
    assert_eq!(pool["blocks"].as_array().unwrap().len(), 1);
    assert_eq!(pool["solo"]["blocks"].as_array().unwrap().len(), 1);
    close(&pool["round"]["work_hashes"], 60_000.0);
    close(&pool["solo"]["round"]["work_hashes"], 18_000.0);

    for (miner, solo) in [("4Ann", 0.0), ("4Sol", 30.0)] {
        let found = json_at(&router, &format!("/api/v1/miners/{miner}")).await;
        assert_eq!(found["solo_hashrate_hs"], json!(solo), "{miner}");
        let found = json_at(&router, &format!("/api/v1/miners/{miner}/workers")).await;
        let rate = found["workers"][0]["solo_hashrate_24h_hs"]
            .as_f64()
            .unwrap();
        assert_eq!(rate > 0.0, solo > 0.0, "{miner}: {found}");
    }
    let blocks = json_at(&router, "/api/v1/blocks").await;
    let solo: Vec<bool> = blocks["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["solo"].as_bool().unwrap())
        .collect();
    assert_eq!(solo, [false, true, true, false], "newest first");
}

#[tokio::test]
async fn other_pools_shapes_count_solo_apart() {
    let router = served().await;
    let stats = at(&router, &format!("{CRYPTONOTE}/stats")).await;
    assert_eq!(
        (&stats["config"]["fee"], &stats["config"]["soloFee"]),
        (&json!(0.9), &json!(1.5))
    );
    let pool = &stats["pool"];
    for (name, ours, solo) in [
        ("totalBlocks", 2, 2),
        ("miners", 1, 1),
        ("workers", 1, 1),
        ("hashrate", 100, 30),
    ] {
        let found = (&pool[name], &pool[format!("{name}Solo")]);
        assert_eq!(found, (&json!(ours), &json!(solo)), "{name}");
    }
    let of_all_days = |name: &str| -> u64 {
        let days = stats["charts"][name].as_object().unwrap();
        days.values().map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!((of_all_days("blocks"), of_all_days("blocksSolo")), (2, 2));
    let kinds: Vec<&str> = pool["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .step_by(2)
        .map(|entry| entry.as_str().unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!(kinds, ["prop", "solo", "solo", "prop"]);

    let nodejs = "/api/nodejs-pool";
    let blocks = at(&router, &format!("{nodejs}/pool/blocks")).await;
    let kinds: Vec<&Value> = blocks
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["pool_type"])
        .collect();
    assert_eq!(kinds, ["pplns", "solo", "solo", "pplns"]);
    let ports = at(&router, &format!("{nodejs}/pool/ports")).await;
    let of = |kind: &str| -> Vec<Value> {
        let rows = ports[kind].as_array().unwrap().iter();
        rows.map(|row| row["port"].clone()).collect()
    };
    assert_eq!(
        (of("global"), of("pplns"), of("solo")),
        (
            vec![json!(3_333), json!(3_334)],
            vec![json!(3_333)],
            vec![json!(3_334)]
        )
    );
    let terms = json_at(&router, "/api/v1/pool/terms").await;
    assert_eq!(
        (
            &terms["ports"][0]["solo"],
            &terms["ports"][1]["solo"],
            &terms["solo_fee_bp"]
        ),
        (&json!(false), &json!(true), &json!(150))
    );
}
