//! Payouts as the product has them: the tables, the REST routes, the commands, and the page that
//! needs nothing but DuckDB.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use crate::server::{Headframe, PATIENCE, free_port};

/// 2026-03-01 11:00 UTC, microseconds.
const START_US: i64 = 1_772_362_800_000_000;
const REWARD: u128 = 600_000_000_123;

async fn post(url: &str, stream: &str, rows: &[Value]) -> (u16, String) {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    let request = crate::server::http()
        .post(format!("{url}/api/v1/ingest/{stream}"))
        .header("Content-Type", "application/x-ndjson");
    let answer = request.body(text.join("\n")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn get(url: &str, path: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The command on the tables of a folder, with no server to ask.
fn headframe(arguments: &[&str], tables: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headframe"));
    command
        .args(arguments)
        .arg("--tables")
        .arg(tables)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Blocks of other schemes: SOLO, found with share 100, PROP, whose round begins behind it and
/// ends with share 200, and one of a miner who mines solo, found with share 250.
const OTHERS: [(&str, &str, i64, usize); 3] = [
    ("5f", "solo", 100, 1),
    ("9c", "prop", 200, 7),
    (SOLO, "solo", 250, 1),
];
const SOLO: &str = "7d";

/// Shares of seven miners; the network's difficulty changes half way, and the last share but ten
/// makes the block.
fn shares(hash: &str) -> Vec<Value> {
    let other = |n| {
        OTHERS
            .iter()
            .find(|other| other.2 == n)
            .map(|other| other.0.repeat(32))
    };
    let made = |n| (n == 290).then(|| hash.to_owned()).or(other(n));
    let row = |n: i64| {
        json!({"event_time": START_US + n, "pool": "main", "miner": format!("4{}",
            (n * 5 + n / 7) % 7), "worker": "w",
            "outcome": if n % 11 == 3 { "stale" } else { "accepted" }, "difficulty": 1_000 + n * 7,
            "network_difficulty": if n < 150 { 90_000 } else { 130_001 }, "height": n,
            "block_hash": made(n), "solo": (n % 13 == 6 || n == 250).then_some(true)})
    };
    (0..300).map(row).collect()
}

fn block(hash: &str, status: &str, scheme: &str) -> Value {
    json!({"event_time": START_US + 500, "pool": "main", "hash": hash, "height": 3_000,
        "miner": "42", "worker": "w", "status": status,
        "network_difficulty": 130_001, "reward_atomic": REWARD.to_string(), "scheme": scheme,
        "window_milli": 1_900, "fee_bp": 75, "solo": hash.starts_with(SOLO).then_some(true)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_can_be_asked_for_audited_proved_and_computed_again_by_duckdb() {
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
    let hash = "ab".repeat(32);
    for piece in shares(&hash).chunks(70) {
        assert_eq!(post(&running.url, "shares", piece).await.0, 200);
    }
    for status in ["candidate", "accepted", "orphaned", "accepted", "matured"] {
        assert_eq!(
            post(&running.url, "blocks", &[block(&hash, status, "pplns")])
                .await
                .0,
            200
        );
    }
    let sql = "SELECT count(*) AS n FROM payouts WHERE step = 'matured'";
    running
        .until(sql, |row| row["n"].as_i64().unwrap_or(0) == 8)
        .await;
    let key = rest(&running.url, &hash).await;
    for (found, scheme, ..) in OTHERS {
        for status in ["candidate", "matured"] {
            assert_eq!(
                post(
                    &running.url,
                    "blocks",
                    &[block(&found.repeat(32), status, scheme)]
                )
                .await
                .0,
                200
            );
        }
    }
    running
        .until(sql, |row| row["n"].as_i64().unwrap_or(0) == 8 + 2 + 8 + 2)
        .await;
    let (status, text) = post(&running.url, "payouts", &[json!({})]).await;
    assert!(status == 403 && text.contains("derived"), "{status} {text}");

    let tables = folder.path().join("tables");
    let deadline = Instant::now() + PATIENCE;
    for block in [hash.clone()]
        .into_iter()
        .chain(OTHERS.map(|other| other.0.repeat(32)))
    {
        let fine = loop {
            let audit = headframe(&["audit", "block", &block, "--key", &key], &tables);
            if said(&audit).contains("matured (blocks") || Instant::now() > deadline {
                break audit;
            }
        };
        assert!(
            fine.status.success() && said(&fine).contains("everything agrees"),
            "{}",
            said(&fine)
        );
    }
    running.kill();
    nats.shutdown().await;
    commands(folder.path(), &tables, &hash, &key);
    for (found, _, _, miners) in OTHERS {
        page(&tables, &found.repeat(32), &[], miners);
    }
    // Once with the log as it is, once with all of it in checkpoints, which is the last thing done
    // to these tables.
    page(&tables, &hash, &[], 7);
    page(&tables, &hash, &["trim"], 7);
}

/// The routes tell what the tables do. Returns the public key.
async fn rest(url: &str, hash: &str) -> String {
    let (status, key) = get(url, "/api/v1/payouts/key").await;
    assert_eq!((status, &key["algorithm"]), (200, &json!("Ed25519")));
    let key = key["public_key"].as_str().unwrap().to_owned();
    let (status, paid) = get(url, &format!("/api/v1/blocks/{hash}/payouts?limit=3")).await;
    assert_eq!(
        (
            status,
            paid["accounts"].as_array().unwrap().len(),
            &paid["next"]
        ),
        (200, 3, &json!(3)),
        "{paid}"
    );
    assert_eq!(
        (
            &paid["windows"][0]["public_key"],
            &paid["windows"][0]["miners"]
        ),
        (&json!(key), &json!(7)),
        "{paid}"
    );
    let steps: Vec<&str> = paid["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["credited", "reversed", "credited", "matured"]);
    assert!(
        paid["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["amount_atomic"] == REWARD.to_string()),
        "{paid}"
    );
    let rest = get(url, &format!("/api/v1/blocks/{hash}/payouts?from=3"))
        .await
        .1;
    assert_eq!(
        (rest["accounts"].as_array().unwrap().len(), &rest["next"]),
        (4, &Value::Null),
        "{rest}"
    );
    let mut sum = 0;
    for row in paid["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .chain(rest["accounts"].as_array().unwrap())
    {
        let miner = get(
            url,
            &format!("/api/v1/miners/{}/payouts", row["miner"].as_str().unwrap()),
        )
        .await
        .1;
        assert_eq!(
            (&miner["matured_atomic"], &miner["immature_atomic"]),
            (&row["amount_atomic"], &json!("0")),
            "{miner}"
        );
        assert_eq!(
            (
                &miner["payouts"][0]["status"],
                &miner["payouts"][0]["block_hash"]
            ),
            (&json!("matured"), &json!(hash))
        );
        sum += row["amount_atomic"]
            .as_str()
            .unwrap()
            .parse::<u128>()
            .unwrap();
    }
    assert_eq!(sum, REWARD - REWARD * 75 / 10_000);
    assert_eq!(
        get(url, "/api/v1/miners/nobody/payouts").await.1["payouts"],
        json!([])
    );
    assert_eq!(
        get(url, &format!("/api/v1/blocks/{}/payouts", "cd".repeat(32)))
            .await
            .0,
        404
    );
    assert_eq!(get(url, "/api/v1/blocks/xyz/payouts").await.0, 400);
    key
}

/// Proofs and other terms, and what the commands say to wrong questions.
fn commands(folder: &Path, tables: &Path, hash: &str, key: &str) {
    let foreign = headframe(&["audit", "block", hash, "--key", &"00".repeat(32)], tables);
    assert!(
        foreign.status.code() == Some(1) && said(&foreign).contains("not by the trusted key"),
        "{}",
        said(&foreign)
    );
    let proof = folder.join("proof.json");
    let proof = proof.to_str().unwrap();
    let made = headframe(
        &["audit", "miner", "42", "--block", hash, "--proof", proof],
        tables,
    );
    assert!(made.status.success(), "{}", said(&made));
    let nowhere = Path::new("no-such-folder");
    let checked = headframe(
        &["audit", "miner", "42", "--proof", proof, "--key", key],
        nowhere,
    );
    assert!(
        checked.status.success() && said(&checked).contains("signed by the trusted key"),
        "{}",
        said(&checked)
    );
    let text = std::fs::read_to_string(proof).unwrap();
    std::fs::write(
        proof,
        text.replacen("\"amount_atomic\": \"", "\"amount_atomic\": \"9", 1),
    )
    .unwrap();
    let changed = headframe(&["audit", "miner", "42", "--proof", proof], nowhere);
    assert!(
        changed.status.code() == Some(1) && said(&changed).contains("leads to the root"),
        "{}",
        said(&changed)
    );
    let missing = headframe(&["audit", "block", hash], nowhere);
    assert!(
        missing.status.code() == Some(1) && said(&missing).contains("there are no tables"),
        "{}",
        said(&missing)
    );
    let ask = [
        "whatif",
        "pplns",
        "--window",
        "0.5",
        "--fee",
        "50bp",
        "--from",
        "2026-03-01",
        "--to",
        "2026-03-02",
    ];
    let other = headframe(&ask, tables);
    assert!(
        other.status.success() && said(&other).starts_with("3 blocks"),
        "{}",
        said(&other)
    );
    let fee = said(&other)
        .lines()
        .find(|line| line.starts_with("fee "))
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(
        fee[1..3],
        [
            (3 * (REWARD * 75 / 10_000)).to_string(),
            (3 * (REWARD * 50 / 10_000)).to_string()
        ]
    );
}

/// The page's own statements come to the published root and amounts.
fn page(tables: &Path, hash: &str, how: &[&str], miners: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".parts/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make test` installs it with the packages this test needs",
        python.display()
    );
    let mut command = Command::new(&python);
    command
        .arg("-B")
        .arg(root.join("tests/it/verify.py"))
        .arg(root.join("docs/verify-your-payout.md"));
    let output = command.arg(tables).arg(hash).args(how).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let computed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let roots = computed["roots"].as_array().unwrap();
    assert_eq!(
        (roots.len(), &roots[0][0], &roots[0][2]),
        (1, &roots[0][1], &json!("True")),
        "{computed}"
    );
    assert_eq!(
        (&computed["windows"], &computed["credits"]),
        (&json!([]), &json!([])),
        "{computed}"
    );
    assert_eq!(
        computed["parts"].as_array().unwrap().len(),
        miners,
        "{computed}"
    );
}
