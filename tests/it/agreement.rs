//! DuckDB and Polars read our tables as they are and agree with our SQL, value by value.

use std::path::Path;
use std::process::Command;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::server::{Headframe, free_port};

/// 2026-03-01 11:00 UTC, microseconds.
const START_US: i64 = 1_772_362_800_000_000;

async fn post(url: &str, stream: &str, rows: &[String]) -> Value {
    let request = crate::server::http()
        .post(format!("{url}/api/v1/ingest/{stream}"))
        .header("Content-Type", "application/x-ndjson");
    let answer = request.body(rows.join("\n")).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Shares of every kind: old and new, of odd names, of the largest numbers, sent twice, and not
/// shares at all.
fn shares(random: &mut StdRng) -> Vec<String> {
    let workers = [
        "rig-1",
        "rig-2",
        "ключ",
        "矿机",
        "a worker with a space",
        "🦀",
    ];
    let mut rows: Vec<String> = (0..4_000)
        .map(|n| {
            let outcome = [
                "accepted",
                "accepted",
                "accepted",
                "stale",
                "duplicate",
                "low_difficulty",
                "invalid",
            ][random.random_range(0..7)];
            let difficulty = match n % 500 {
                0 => i64::MAX,
                _ => random.random_range(1..1_000_000),
            };
            json!({
                "event_time": START_US + random.random_range(0..7_200_000_000_i64), "pool": "main",
                "miner": format!("4{}", n % 3),
                "worker": workers[random.random_range(0..workers.len())], "outcome": outcome,
                "difficulty": difficulty,
                "network_difficulty": "99999999999999999999999999999999999999", "height": n,
                "producer": "meter-7", "producer_seq": n / 2,
            })
            .to_string()
        })
        .collect();
    rows.extend([
        "no json".to_owned(),
        r#"{"pool": "main"}"#.to_owned(),
        rows[7]
            .replace("main", "")
            .replace("\"outcome\":", "\"outcome\":1"),
    ]);
    rows
}

fn readings(random: &mut StdRng) -> (Vec<String>, Vec<String>) {
    let (mut energy, mut sensors) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let event_time = START_US + random.random_range(0..10_800_000_000_i64);
        let total = if random.random_range(0..2) == 0 {
            json!(null)
        } else {
            json!(1.5e9)
        };
        let meter = format!("meter-{}", random.random_range(0..3));
        let power: f64 = random.random_range(0.0..1e6);
        energy.push(
            json!({"event_time": event_time, "site": "north", "meter": meter, "power_w": power,
                "energy_total_wh": total})
            .to_string(),
        );
        let value: f64 = random.random_range(-40.0..90.0);
        let sensor = format!("probe-{}", random.random_range(0..4));
        sensors.push(
            json!({"event_time": event_time, "site": "north", "sensor": sensor,
                "quantity": "temperature_c", "value": value})
            .to_string(),
        );
    }
    (energy, sensors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_and_polars_agree_with_our_sql() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let running = Headframe::start(
        folder.path(),
        nats.url(),
        free_port(),
        "pipelines,maintenance,query",
    );
    running.row("SELECT 1").await;
    let mut random = StdRng::seed_from_u64(7);
    let share = |status: &str| {
        json!({"event_time": START_US, "pool": "main", "hash": "ab".repeat(32), "height": 1,
            "miner": "4", "worker": "w", "status": status,
            "network_difficulty": 600, "reward_atomic": "600000000000"})
    };
    let blocks: Vec<String> = ["candidate", "accepted"]
        .iter()
        .map(|status| share(status).to_string())
        .collect();
    let rate = json!({"event_time": START_US, "pool": "main", "miner": "4", "worker": "w",
        "hashrate_hs": 5.5, "source": "miner"});
    let (energy, sensors) = readings(&mut random);
    // In several pieces, so that late pieces meet windows that are already there.
    for (stream, rows) in [
        ("shares", shares(&mut random)),
        ("energy", energy),
        ("sensors", sensors),
        ("blocks", blocks),
        ("hashrate", vec![rate.to_string()]),
    ] {
        for piece in rows.chunks(700) {
            let answer = post(&running.url, stream, piece).await;
            let rejected = answer["rejected"].as_array().map_or(0, Vec::len) as i64;
            assert_eq!(
                answer["accepted"].as_i64().unwrap_or_default() + rejected,
                piece.len() as i64,
                "{answer}"
            );
            let after = format!("SELECT count(*) AS n FROM {stream}");
            running.row(&after).await;
        }
    }
    assert_eq!(
        running.row("SELECT count(*) AS n FROM dead_letters").await["n"],
        3
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".parts/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make test` installs it with the packages this test needs",
        python.display()
    );
    let script = root.join("tests/it/agreement.py");
    let tables = folder.path().join("tables");
    let output = Command::new(python)
        .arg("-B")
        .arg(script)
        .arg(&running.url)
        .arg(tables)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("rows agree").count(), 5, "{said}");
    println!("{said}");
    running.kill();
    nats.shutdown().await;
}
