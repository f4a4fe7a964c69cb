//! What the pool's page shows over time: hashrate, effort of blocks, and who works hardest.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::rest::{ask, close, json_at, now_us, router};

/// Work of the points of a chart that are older than this, hashes.
fn work_before(chart: &Value, second: i64) -> f64 {
    let step = chart["step_s"].as_f64().unwrap();
    let points = chart["points"].as_array().unwrap().iter();
    let old = points.filter(|point| point["at_s"].as_i64().unwrap() < second);
    old.map(|point| point["hashrate_hs"].as_f64().unwrap() * step)
        .sum()
}

#[tokio::test]
async fn hashrate_over_time_is_the_work_of_the_shares() {
    let router = router().await;
    // Steps are of an hour at most: that of a share of 400 s ago begins later than this, and that
    // of one of 7,200 s ago earlier, at whatever time of the hour the test runs.
    let between = now_us() / 1_000_000 - 5_400;
    for (path, work) in [
        ("/api/v1/pool/hashrate", 21_000.0),
        ("/api/v1/pool/hashrate?pool=main&span=24h", 21_000.0),
        ("/api/v1/pool/hashrate?pool=side&span=24h", 0.0),
        ("/api/v1/pool/hashrate?span=7d", 21_000.0),
        ("/api/v1/miners/4Ann/hashrate?span=24h", 12_000.0),
        ("/api/v1/miners/4Nobody/hashrate", 0.0),
    ] {
        let chart = json_at(&router, path).await;
        let found = work_before(&chart, between);
        assert!((found - work).abs() < 1e-6, "{path}: {found}");
    }
    // The step between the two shares is nought, and not missing.
    let chart = json_at(&router, "/api/v1/pool/hashrate").await;
    let points = chart["points"].as_array().unwrap();
    let step = |point: &Value| point["at_s"].as_i64().unwrap();
    assert!(
        points
            .windows(2)
            .all(|pair| step(&pair[1]) - step(&pair[0]) == 600)
    );
    for path in [
        "/api/v1/pool/hashrate.svg?width=400",
        "/api/v1/miners/4Ann/hashrate.svg",
    ] {
        let answer = ask(&router, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "image/svg+xml");
        assert!(answer.text().contains("<polyline"), "{path}");
    }
    for path in [
        "/api/v1/pool/hashrate?span=2h",
        "/api/v1/pool/hashrate.svg?width=100000",
        "/api/v1/pool/hashrate.svg?height=-1",
        "/api/v1/miners/4Ann/hashrate?pool=main",
    ] {
        let answer = ask(&router, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn effort_is_work_beside_the_difficulty_of_each_block() {
    let router = router().await;
    let answer = json_at(&router, "/api/v1/pool/effort?pool=main").await;
    let main = &answer["pools"][0];
    assert_eq!(main["pool"], json!("main"));
    // The round of the oldest of the four began before anything that is known.
    let heights: Vec<&Value> = main["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["height"])
        .collect();
    assert_eq!(heights, [13, 12, 11]);
    // Since the last block an hour ago 660,000 hashes were done, and one costs 300,007.
    close(&main["round"]["effort"], 2.2);
    assert_eq!(main["mean_10"], main["mean_100"]);
    let unknown = json_at(&router, "/api/v1/pool/effort?pool=none").await;
    assert_eq!(unknown, json!({"pools": []}));
}

#[tokio::test]
async fn the_hardest_working_miners_are_shown_by_both_ends_of_their_address() {
    let router = router().await;
    let answer = ask(&router, "/api/v1/pool/miners?limit=2").await;
    let miners = answer.json()["miners"].clone();
    assert_eq!(miners.as_array().unwrap().len(), 2);
    assert_eq!(
        (&miners[0]["miner"], &miners[0]["hashrate_hs"]),
        (&json!("4…b"), &json!(1_000.0))
    );
    assert!(!answer.text().contains("4Bob"), "{}", answer.text());
    for limit in ["0", "101", "x"] {
        let answer = ask(&router, &format!("/api/v1/pool/miners?limit={limit}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{limit}");
    }
}
