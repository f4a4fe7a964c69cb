//! The REST routes: pools, miners, workers and blocks, told from the same rows as SQL, half of them
//! stored and half in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use headframe_query_engine::Source;
use headframe_query_front::{HostMonitor, HostUsage, QueryConfig, Server, Services};
use headframe_schemas::Stream;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::shares::Shares;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::scripted::{Scripted, raw_batch, raw_row, split};
use crate::server::{Answer, config, engines, get, rows, send};

pub fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

/// (seconds ago, pool, miner, worker, outcome, difficulty)
type Sent = (
    i64,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    i64,
);

const SENT: &[Sent] = &[
    (36_000, "main", "4Away", "old", "accepted", 9_000),
    (7_200, "main", "4Ann", "b", "accepted", 12_000),
    (7_200, "main", "4Ann", "c", "stale", 12_000),
    (400, "main", "4Ann", "a", "accepted", 30_000),
    (300, "main", "4Ann", "b", "accepted", 30_000),
    (200, "main", "4Ann", "b", "duplicate", 30_000),
    (100, "main", "4Bob", "b", "accepted", 600_000),
    (90, "main", "4Cheat", "x", "invalid", 1_000),
    (80, "side", "4Ann", "z", "accepted", 6_000),
];

/// (pool, height, hash, statuses in the order they came); the steps of all blocks interleave.
const FOUND: &[(&str, i64, &str, &[&str])] = &[
    (
        "main",
        10,
        "aa",
        &["candidate", "accepted", "confirmed", "matured"],
    ),
    (
        "main",
        11,
        "bb",
        &["candidate", "accepted", "orphaned", "confirmed"],
    ),
    ("side", 11, "cc", &["candidate", "refused"]),
    ("main", 12, "dd", &["candidate", "accepted", "orphaned"]),
    ("main", 13, "ee", &["candidate", "accepted"]),
    ("main", 14, "ff", &["candidate"]),
];

pub fn source(stream: &'static dyn Stream, rows: Vec<Value>) -> Arc<dyn Source> {
    let last = rows.len() as i64;
    Scripted::new(stream, split(&raw_batch(stream, &rows), last / 2, last))
}

pub fn shares() -> Arc<dyn Source> {
    let now = now_us();
    let row = |(index, (ago, pool, miner, worker, outcome, difficulty)): (usize, &Sent)| {
        let time = now - ago * 1_000_000;
        let own = json!({
            "event_time": time, "pool": pool, "miner": miner, "worker": worker, "outcome": outcome,
            "difficulty": difficulty, "network_difficulty": 300_000 + index, "height": 100 + index,
        });
        raw_row(index as i64 + 1, 0, time, own)
    };
    source(&Shares, SENT.iter().enumerate().map(row).collect())
}

pub fn blocks() -> Arc<dyn Source> {
    let now = now_us();
    let mut rows = Vec::new();
    for round in 0..4 {
        for (pool, height, hash, statuses) in FOUND {
            let Some(status) = statuses.get(round) else {
                continue;
            };
            let seq = rows.len() as i64 + 1;
            let time = now - 3_600_000_000 + seq * 1_000_000;
            let reason = (*status == "refused").then_some("Block not accepted");
            let own = json!({
                "event_time": time, "pool": pool, "hash": hash.repeat(32), "height": height,
                "miner": "4Ann", "worker": "b",
                "status": status, "network_difficulty": 300_000,
                "reward_atomic": "600000000000000000001", "reason": reason,
            });
            rows.push(raw_row(seq, 0, time, own));
        }
    }
    source(&Blocks, rows)
}

pub async fn router() -> Router {
    let services = Services {
        engines: engines(&config(), vec![shares(), blocks()]),
        ..Services::default()
    };
    Server::bind(config(), services).await.unwrap().router()
}

pub async fn ask(router: &Router, path: &str) -> Answer {
    send(router, get(path)).await
}

pub async fn json_at(router: &Router, path: &str) -> Value {
    let answer = ask(router, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer.json()
}

/// Within a part in a hundred: spans that end now have lengths that the test can only know roughly.
pub fn close(found: &Value, wanted: f64) {
    let found = found
        .as_f64()
        .unwrap_or_else(|| panic!("{found} is no number"));
    assert!(
        (found - wanted).abs() <= wanted * 0.06,
        "{found}, not {wanted}"
    );
}

#[tokio::test]
async fn a_pool_is_told_from_its_shares_and_blocks() {
    let router = router().await;
    let answer = json_at(&router, "/api/v1/pool").await;
    let pools = answer["pools"].as_array().unwrap();
    assert_eq!(
        pools.iter().map(|pool| &pool["pool"]).collect::<Vec<_>>(),
        ["main", "side"]
    );
    let main = &pools[0];
    assert_eq!((&main["miners"], &main["workers"]), (&json!(2), &json!(3)));
    assert_eq!(
        main["shares"],
        json!({"accepted": 3, "stale": 0, "rejected": 2})
    );
    assert_eq!(
        main["shares_24h"],
        json!({"accepted": 5, "stale": 1, "rejected": 2})
    );
    assert_eq!(main["hashrate_hs"], json!(660_000.0 / 600.0));
    assert_eq!(
        (&main["shares_per_s"], &main["work_24h_hashes"]),
        (&json!(3.0 / 600.0), &json!("681000"))
    );
    close(&main["hashrate_1h_hs"], 660_000.0 / 3_570.0);
    close(&main["hashrate_24h_hs"], 681_000.0 / 84_600.0);
    assert_eq!(
        (&main["height"], &main["network_difficulty"]),
        (&json!(107), &json!("300007"))
    );
    let counts = json!({"found": 4, "matured": 1, "confirmed": 1, "orphaned": 1, "accepted": 1,
        "candidate": 1});
    assert_eq!(
        (&main["blocks"], &main["last_block"]["height"]),
        (&counts, &json!(13))
    );
    assert_eq!(
        (&pools[1]["blocks"], &pools[1]["last_block"]),
        (&json!({"found": 0, "refused": 1}), &Value::Null)
    );
    // SQL says the same.
    let said = rows(
        &router,
        "SELECT sum(difficulty) AS work FROM shares WHERE pool = 'main' AND outcome = 'accepted' \
         AND event_time > now() - INTERVAL '10 minutes'",
    )
    .await;
    assert_eq!(
        said[0]["work"].as_f64().unwrap() / 600.0,
        main["hashrate_hs"].as_f64().unwrap()
    );
    // One pool alone, and one that is not there.
    let side = json_at(&router, "/api/v1/pool?pool=side").await;
    assert_eq!(
        (
            side["pools"].as_array().unwrap().len(),
            &side["pools"][0]["pool"]
        ),
        (1, &json!("side"))
    );
    let unknown = ask(&router, "/api/v1/pool?pool=none").await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
    let strange = ask(&router, "/api/v1/pool?pol=main").await;
    assert_eq!(
        (strange.status, strange.code().as_str()),
        (StatusCode::BAD_REQUEST, "bad_request")
    );
    assert!(strange.text().contains("pol"), "{}", strange.text());
}

#[tokio::test]
async fn a_miner_is_told_over_all_pools() {
    let router = router().await;
    let ann = json_at(&router, "/api/v1/miners/4Ann").await;
    assert_eq!(
        (&ann["online"], &ann["workers"], &ann["miner"]),
        (&json!(true), &json!(3), &json!("4Ann"))
    );
    assert_eq!(
        ann["shares"],
        json!({"accepted": 4, "stale": 1, "rejected": 1})
    );
    assert_eq!(
        (&ann["shares"], &ann["work_hashes"]),
        (&ann["shares_24h"], &json!("78000"))
    );
    assert_eq!(ann["hashrate_hs"], json!(66_000.0 / 600.0));
    assert_eq!(
        (&ann["blocks"]["found"], &ann["last_block"]["height"]),
        (&json!(4), &json!(13))
    );
    let away = json_at(&router, "/api/v1/miners/4Away").await;
    assert_eq!(
        (
            &away["online"],
            &away["hashrate_hs"],
            &away["last_share_at"]
        ),
        (&json!(false), &json!(0.0), &Value::Null)
    );
    assert_eq!(
        (&away["work_24h_hashes"], &away["blocks"]),
        (&json!("9000"), &json!({"found": 0}))
    );
    // Someone who only sent bad shares is known, but not mining.
    let cheat = json_at(&router, "/api/v1/miners/4Cheat").await;
    assert_eq!(
        (
            &cheat["online"],
            &cheat["shares"]["rejected"],
            &cheat["work_hashes"]
        ),
        (&json!(false), &json!(1), &json!("0"))
    );
    for path in [
        "/api/v1/miners/4Nobody",
        "/api/v1/miners/4Nobody/workers",
        "/api/v1/miners/4ann",
        "/api/v1/miners/%27%20OR%201%3D1",
    ] {
        let answer = ask(&router, path).await;
        let wanted = if path.contains("%20") {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::NOT_FOUND
        };
        assert_eq!(answer.status, wanted, "{path}: {}", answer.text());
        assert!(!answer.json()["error"]["hint"].as_str().unwrap().is_empty());
    }
    // A quote is a name like any other; it ends up in no statement.
    assert_eq!(
        ask(&router, "/api/v1/miners/4Ann'--").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ask(&router, &format!("/api/v1/miners/{}", "4".repeat(257)))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn workers_come_by_name_a_page_at_a_time() {
    let router = router().await;
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = json_at(
            &router,
            &format!("/api/v1/miners/4Ann/workers?limit=2&after={after}"),
        )
        .await;
        let workers = page["workers"].as_array().unwrap();
        assert!(workers.len() <= 2);
        for worker in workers {
            names.push(worker["worker"].as_str().unwrap().to_owned());
            match worker["worker"].as_str().unwrap() {
                "b" => {
                    assert_eq!(
                        (&worker["online"], &worker["hashrate_hs"]),
                        (&json!(true), &json!(50.0))
                    );
                    assert_eq!(
                        worker["shares_24h"],
                        json!({"accepted": 2, "stale": 0, "rejected": 1})
                    );
                    assert_eq!(worker["work_24h_hashes"], json!("42000"));
                }
                "c" => assert_eq!(
                    (&worker["online"], &worker["last_share_at"]),
                    (&json!(false), &Value::Null)
                ),
                _ => assert_eq!(worker["online"], json!(true)),
            }
        }
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "z"]);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=-1", "before=3"] {
        let answer = ask(&router, &format!("/api/v1/miners/4Ann/workers?{bad}")).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{bad}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn blocks_come_newest_first_each_with_its_last_step() {
    let router = router().await;
    let all = json_at(&router, "/api/v1/blocks").await;
    let story: Vec<_> = all["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| (block["height"].clone(), block["status"].clone()))
        .collect();
    let wanted = [
        (14, "candidate"),
        (13, "accepted"),
        (12, "orphaned"),
        (11, "refused"),
        (11, "confirmed"),
        (10, "matured"),
    ];
    assert_eq!(
        story,
        wanted.map(|(height, status)| (json!(height), json!(status)))
    );
    assert_eq!(all["next"], Value::Null);
    let refused = &all["blocks"][3];
    assert_eq!(
        (&refused["reason"], &refused["reward_atomic"]),
        (
            &json!("Block not accepted"),
            &json!("600000000000000000001")
        )
    );
    assert_eq!(
        (&refused["hash"], &refused["network_difficulty"]),
        (&json!("cc".repeat(32)), &json!("300000"))
    );
    let (mut paged, mut path) = (Vec::new(), "/api/v1/blocks?limit=2&pool=main".to_owned());
    loop {
        let page = json_at(&router, &path).await;
        paged.extend(
            page["blocks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|block| block["height"].as_i64().unwrap()),
        );
        let Some(next) = page["next"].as_i64() else {
            break;
        };
        path = format!("/api/v1/blocks?limit=2&pool=main&before={next}");
    }
    assert_eq!(paged, [14, 13, 12, 11, 10]);
    for bad in ["limit=0", "limit=1001", "before=x", "page=1"] {
        let answer = ask(&router, &format!("/api/v1/blocks?{bad}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "bad_request"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn without_facts_there_are_no_pools_and_no_error() {
    let sources = vec![source(&Shares, vec![]), source(&Blocks, vec![])];
    let router = Server::bind(
        config(),
        Services {
            engines: engines(&config(), sources),
            ..Services::default()
        },
    )
    .await
    .unwrap()
    .router();
    assert_eq!(json_at(&router, "/api/v1/pool").await["pools"], json!([]));
    assert_eq!(
        json_at(&router, "/api/v1/blocks").await,
        json!({"blocks": [], "next": null})
    );
    assert_eq!(
        ask(&router, "/api/v1/miners/4Ann").await.status,
        StatusCode::NOT_FOUND
    );
}

struct Busy;

impl HostMonitor for Busy {
    fn usage(&self) -> HostUsage {
        HostUsage {
            cpu: Some(12.5),
            memory: Some(50.0),
            disk: None,
        }
    }
}

/// One request over a socket, until its answer has this line.
async fn until(address: std::net::SocketAddr, line: &str) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    loop {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        if page.contains(line) {
            return page;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{line} is not on the page: {page}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_metrics_page_has_the_figures_of_the_same_facts() {
    let metrics = Some(PrometheusBuilder::new().build_recorder().handle());
    let services = Services {
        engines: engines(&config(), vec![shares(), blocks()]),
        metrics,
        host_monitor: Some(Arc::new(Busy)),
        ..Services::default()
    };
    let config = QueryConfig {
        figures_s: 1,
        figures_miners: 2,
        ..config()
    };
    let bound = Server::bind(config, services).await.unwrap();
    let (address, stop) = (bound.address(), CancellationToken::new());
    let running = tokio::spawn(bound.run(stop.clone()));
    let page = until(address, "pool_total_hashrate{pool=\"main\"} 1100\n").await;
    for line in [
        "pool_cpu_usage 12.5\n",
        "pool_memory_usage 50\n",
        "pool_active_miners{pool=\"main\"} 2\n",
        "pool_shares_per_second{pool=\"main\"} 0.005\n",
        "pool_blocks_found_total{pool=\"main\"} 4\n",
        "pool_blocks_found_total{pool=\"side\"} 0\n",
        "miner_hashrate{pool=\"main\",miner=\"4Bob\"} 1000\n",
        "miner_online{pool=\"main\",miner=\"4Bob\"} 1\n",
        "miner_shares_submitted_total{pool=\"main\",miner=\"4Ann\"} 5\n",
        "miner_shares_accepted_total{pool=\"main\",miner=\"4Ann\"} 3\n",
        "miner_shares_rejected_total{pool=\"main\",miner=\"4Ann\"} 2\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    // Two miners have lines, the third has none.
    assert_eq!(page.matches("miner_online{").count(), 2, "{page}");
    assert!(
        !page.contains("4Away") && !page.contains("\npool_disk_usage "),
        "{page}"
    );
    stop.cancel();
    running.await.unwrap().unwrap();
}
