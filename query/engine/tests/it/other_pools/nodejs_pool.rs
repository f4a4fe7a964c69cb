//! The shape of nodejs-pool.

use serde_json::json;

use super::{at, blocks, check, served, served_of, shares, terms};
use crate::server::config;

const NODEJS: &str = "/api/nodejs-pool";

#[tokio::test]
async fn the_pool_of_nodejs_pool_has_every_field_in_its_unit() {
    let router = served().await;
    let by_port = |kind: &str| json!({"18081": kind});
    let mut statistics = json!({
        "hashRate": 1_100, "miners": 2, "totalHashes": 681_000, "lastBlockFoundTime": "s",
        "lastBlockFound": 13, "totalBlocksFound": 4, "totalMinersPaid": 1, "totalPayments": 1,
        "roundHashes": "whole", "altBlocksFound": "object", "totalAltBlocksFound": 0,
        "activePorts": [18_081],
        "pending": "number", "price": {"btc": "number", "usd": "number", "eur": "number"},
        "pplnsWindowTime": 545, "portHash": by_port("whole"), "portMinerCount": by_port("whole"),
        "coinProfit": by_port("number"), "minBlockRewards": {"18081": 600_000_000_000_u64},
        "currentEfforts": by_port("whole"),
        "coins": {"18081": {"port": 18_081, "symbol": "text", "displayName": "text",
            "algo": "text", "profit": 1, "pplnsShare": 1, "active": true, "hashrate": 1_100,
            "miners": 2, "blockTime": 120, "atomicUnits": 1e12, "altBlocksFound": 0}},
    });
    let stats = at(&router, &format!("{NODEJS}/pool/stats")).await;
    let shape = json!({"pool_list": ["text"], "pool_statistics": statistics.clone(),
        "last_payment": "s"});
    check(&stats, &shape, "pool/stats");
    statistics["fee"] = json!(0.9);
    let of_scheme = at(&router, &format!("{NODEJS}/pool/stats/pplns")).await;
    check(
        &of_scheme,
        &json!({"pool_statistics": statistics}),
        "pool/stats/pplns",
    );
    let other = at(&router, &format!("{NODEJS}/pool/stats/solo")).await;
    assert_eq!(other, json!({"error": "Invalid pool type"}));

    let network = at(&router, &format!("{NODEJS}/network/stats")).await;
    let shape = json!({"difficulty": 300_000, "hash": "text", "main_height": 107, "height": 107,
        "value": 600_000_000_000_u64, "ts": "s",
        "18081": {"difficulty": 300_000, "height": 107, "hash": "text", "time": 120}});
    check(&network, &shape, "network/stats");
    let config = at(&router, &format!("{NODEJS}/config")).await;
    let shape = json!({"pplns_fee": 0.9, "min_wallet_payout": 10_000_000_000_u64,
        "min_denom": "whole", "maturity_depth": 60, "coin_code": "text",
        "payout_policy": {"minimumThreshold": 0.01, "defaultThreshold": 0.1,
            "denomination": "number", "feeFormula": {"maxFee": 0, "zeroFeeThreshold": 0}}});
    check(&config, &shape, "config");
    let ports = at(&router, &format!("{NODEJS}/pool/ports")).await;
    let port = json!({"host": {"hostname": "text", "blockID": 107, "blockIDTime": "s"},
        "port": 3_333, "difficulty": 10_000, "description": "text", "miners": "whole",
        "tls": true, "pool_type": "text"});
    let shape = json!({"global": [port], "pplns": [port],
        "configured": [{"port": 3_333, "tlsPort": 3_333, "difficulty": 10_000,
            "targetHashrate": "whole", "description": "text"}]});
    check(&ports, &shape, "pool/ports");
    let motd = at(&router, &format!("{NODEJS}/pool/motd")).await;
    check(
        &motd,
        &json!({"created": "text", "subject": "text", "body": "text"}),
        "pool/motd",
    );
}

#[tokio::test]
async fn lists_of_nodejs_pool_have_milliseconds_and_pages() {
    let router = served().await;
    let block = json!({"ts": "ms", "hash": "text", "diff": 300_000, "shares": "whole",
        "height": "whole", "valid": "bool", "unlocked": "bool", "pool_type": "text",
        "value": "number"});
    for path in [
        "pool/blocks",
        "pool/blocks/pplns",
        "pool/blocks?page=0&limit=50",
    ] {
        let blocks = at(&router, &format!("{NODEJS}/{path}")).await;
        check(&blocks, &json!([block]), path);
        let states: Vec<(i64, bool, bool)> = blocks
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    row["height"].as_i64().unwrap(),
                    row["valid"] == true,
                    row["unlocked"] == true,
                )
            })
            .collect();
        assert_eq!(
            states,
            [
                (13, true, false),
                (12, false, false),
                (11, true, false),
                (10, true, true)
            ]
        );
    }
    let none = at(&router, &format!("{NODEJS}/pool/blocks?page=1&limit=15")).await;
    assert_eq!(none, json!([]));
    for path in ["pool/payments", "pool/payments/pplns"] {
        let payments = at(&router, &format!("{NODEJS}/{path}")).await;
        let shape = json!([{"id": "whole", "hash": "text", "mixins": 15, "payees": 1,
            "fee": 1_000_000_000, "value": 149_000_000_000_u64, "ts": "ms", "pool_type": "text"}]);
        check(&payments, &shape, path);
    }
}

/// mo-pool-ui asks for the blocks of every coin but Monero by the coin's port, and only where it
/// was told that there are some.
#[tokio::test]
async fn a_coin_other_than_monero_has_its_blocks_by_its_port() {
    let mut terms = terms();
    terms.chain.daemon_port = 9_632;
    let router = served_of(config(), terms, vec![shares(), blocks()]).await;
    let stats = at(&router, &format!("{NODEJS}/pool/stats")).await;
    let statistics = &stats["pool_statistics"];
    assert_eq!(statistics["coins"]["9632"]["altBlocksFound"], 4);
    assert_eq!(statistics["altBlocksFound"], json!({"9632": 4}));
    let path = format!("{NODEJS}/pool/coin_altblocks");
    let listed = at(&router, &format!("{path}/9632?page=0&limit=15")).await;
    let shape = json!([{"ts": "ms", "hash": "text", "diff": "whole", "shares": "whole",
        "height": "whole", "valid": "bool", "unlocked": "bool", "value": "number",
        "port": 9_632, "pay_value": 0, "pay_stage": "text"}]);
    check(&listed, &shape, "coin_altblocks");
    let stages: Vec<_> = listed.as_array().unwrap().iter().collect();
    let stages: Vec<_> = stages.iter().map(|row| &row["pay_stage"]).collect();
    assert_eq!(stages, ["Maturing", "Orphaned", "Maturing", "Matured"]);
    for other in ["18081", "0", "coin"] {
        assert_eq!(at(&router, &format!("{path}/{other}")).await, json!([]));
    }
}

#[tokio::test]
async fn charts_of_nodejs_pool_have_milliseconds_and_their_newest_point_first() {
    let router = served().await;
    for path in [
        "pool/chart/hashrate",
        "pool/chart/hashrate/pplns",
        "miner/4Ann/chart/hashrate",
        "miner/4Ann/chart/hashrate/b",
    ] {
        let chart = at(&router, &format!("{NODEJS}/{path}")).await;
        check(
            &chart,
            &json!([{"ts": "ms", "hs": "number", "hs2": "number"}]),
            path,
        );
        let times: Vec<i64> = chart
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["ts"].as_i64().unwrap())
            .collect();
        assert!(
            times.windows(2).all(|pair| pair[0] > pair[1]),
            "{path}: newest first"
        );
    }
    for path in ["pool/chart/miners", "pool/chart/miners/pplns"] {
        let chart = at(&router, &format!("{NODEJS}/{path}")).await;
        check(&chart, &json!([{"ts": "ms", "cn": "whole"}]), path);
    }
    let all = at(
        &router,
        &format!("{NODEJS}/miner/4Ann/chart/hashrate/allWorkers"),
    )
    .await;
    let chart = json!([{"ts": "ms", "hs": "number", "hs2": "number"}]);
    check(
        &all,
        &json!({"global": chart, "a": chart, "b": chart}),
        "allWorkers",
    );
}

#[tokio::test]
async fn a_miner_of_nodejs_pool_has_every_field_in_its_unit() {
    let router = served().await;
    let stats = at(&router, &format!("{NODEJS}/miner/4Ann/stats")).await;
    let shape = json!({"hash": "whole", "hash2": "whole", "identifier": "text", "lastHash": "s",
        "totalHashes": 78_000, "validShares": 4, "invalidShares": 1,
        "amtPaid": 149_000_000_000_u64, "amtDue": 150_000_000_000_u64, "txnCount": 1});
    check(&stats, &shape, "miner/stats");
    let unknown = at(&router, &format!("{NODEJS}/miner/4Nobody/stats")).await;
    let shape = json!({"hash": false, "hash2": false, "lastHash": false, "totalHashes": false,
        "validShares": false, "invalidShares": false, "amtPaid": 0, "amtDue": 0, "txnCount": 0});
    check(&unknown, &shape, "miner/stats of nobody");
    let worker = json!({"lts": "s", "identifer": "text", "hash": "whole", "hash2": "whole",
        "totalHash": "whole", "validShares": "whole", "invalidShares": "whole"});
    let all = at(&router, &format!("{NODEJS}/miner/4Ann/stats/allWorkers")).await;
    check(
        &all,
        &json!({"global": worker, "a": worker, "b": worker}),
        "allWorkers",
    );
    assert_eq!(all["b"]["totalHash"], 42_000);
    let one = at(&router, &format!("{NODEJS}/miner/4Ann/stats/b")).await;
    assert_eq!(one, all["b"]);
    let none = at(&router, &format!("{NODEJS}/miner/4Ann/stats/zz")).await;
    assert_eq!(
        (&none["hash"], &none["lts"]),
        (&json!(false), &json!(false))
    );
    let names = at(&router, &format!("{NODEJS}/miner/4Ann/identifiers")).await;
    assert_eq!(names, json!(["a", "b", "c", "z"]));
    let payments = at(
        &router,
        &format!("{NODEJS}/miner/4Ann/payments?page=0&limit=15"),
    )
    .await;
    let shape = json!([{"pt": "text", "ts": "s", "amount": 149_000_000_000_u64,
        "txnHash": "text", "mixin": 15}]);
    check(&payments, &shape, "payments");
    let paid = at(&router, &format!("{NODEJS}/miner/4Ann/block_payments")).await;
    let shape = json!([{"id": "whole", "ts": "s", "ts_found": "s", "port": 18_081,
        "hash": "text", "value": 0.3, "value_percent": "number"}]);
    check(&paid, &shape, "block_payments");
    let user = at(&router, &format!("{NODEJS}/user/4Ann")).await;
    check(
        &user,
        &json!({"payout_threshold": 10, "email_enabled": 0}),
        "user",
    );
}
