//! Two miners on two ports of one pool, over a real monerod: what the solo port's miner finds is
//! its own, what the other one finds is the pool's, and no share counts on both sides.

use std::path::Path;
use std::process::Command;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use super::Mine;
use crate::monerod::{Monerod, WALLET};
use crate::roles::until_answer;
use crate::server::{Headframe, free_port, http};

/// Somebody else's address.
const ALONE: &str = "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H";
const FEE_BP: u128 = 100;
const SOLO_FEE_BP: u128 = 250;

/// A pool with a port for its scheme and one for solo, both of which were free.
async fn pool(folder: &Path, nats: &ManagedServer, monerod: &Monerod) -> (Headframe, [u16; 2]) {
    let ports = [free_port(), free_port()];
    let more = format!(
        "[payouts]\nfee_bp = {FEE_BP}\nsolo_fee_bp = {SOLO_FEE_BP}\n\
         [stratum]\nlisten = \"127.0.0.1:{}\"\nports = [{{ listen = \"127.0.0.1:{}\", scheme = \
         \"solo\" }}]\nwallet = \"{WALLET}\"\ndaemon_url = \"{}\"\nstart_difficulty = 5\n\
         randomx = {{ mode = \"light\" }}\n[stratum.vardiff]\nmin_difficulty = 5\n",
        ports[0], ports[1], monerod.url
    );
    let roles = "stratum,pipelines,query";
    let process = Headframe::start_with(folder, nats.url(), free_port(), roles, &more);
    until_answer(&process.url, "/ready", |status, _| status == 200).await;
    (process, ports)
}

/// All rows of a statement.
async fn rows(pool: &Headframe, sql: &str) -> Vec<Value> {
    let body = json!({"sql": sql, "format": "ndjson"});
    let request = http().post(format!("{}/api/v1/sql", pool.url)).json(&body);
    let answer = request.send().await.unwrap();
    let is_well = answer.status().is_success();
    let text = answer.text().await.unwrap();
    assert!(is_well, "{sql}: {text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_miners_on_two_ports_are_paid_each_by_its_own_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let monerod = Monerod::start().await;
    let (pool, ports) = pool(folder.path(), &nats, &monerod).await;
    // One after the other, since nearly each share is a block here, and the pool's in the middle,
    // so that its windows have shares of solo before them.
    let solo_user = format!("solo:{ALONE}");
    let sides = [
        ("solo", "alone", ports[1], ALONE),
        ("solo IS NULL", "pooled", ports[0], WALLET),
        ("solo", "asked", ports[0], &solo_user),
    ];
    let found = |solo: &str, worker: &str| {
        format!(
            "SELECT count(DISTINCT hash) AS n FROM blocks WHERE worker = '{worker}' AND {solo} AND \
             status = 'accepted'"
        )
    };
    let one = |row: &Value| row["n"].as_i64().unwrap_or(0) >= 1;
    for (solo, worker, port, user) in sides {
        let miner = Mine::start(
            folder.path(),
            worker,
            port,
            &format!("{user}.{worker}"),
            &[],
        );
        pool.until(&found(solo, worker), one).await;
        drop(miner);
    }
    for (solo, worker, ..) in sides {
        let paid = format!(
            "{} AND hash IN (SELECT block_hash FROM payouts WHERE step = 'credited' AND account = \
             'fee')",
            found(solo, worker)
        );
        pool.until(&paid, one).await;
    }
    let shares = rows(
        &pool,
        "SELECT DISTINCT worker, solo FROM shares ORDER BY worker",
    )
    .await;
    assert_eq!(
        shares,
        [
            json!({"worker": "alone", "solo": true}),
            json!({"worker": "asked", "solo": true}),
            json!({"worker": "pooled", "solo": null}),
        ]
    );
    // Each block pays its own side alone, to the last atomic unit.
    let blocks = rows(
        &pool,
        "SELECT p.block_hash, p.scheme, p.fee_bp, CAST(p.reward_atomic AS VARCHAR) AS reward, \
         bool_or(b.solo) AS solo FROM payouts p JOIN blocks b ON b.hash = p.block_hash WHERE \
         p.step = 'frozen' GROUP BY p.block_hash, p.scheme, p.fee_bp, p.reward_atomic",
    )
    .await;
    // There are many, and a look at each takes a process.
    let of = |solo: bool| {
        blocks
            .iter()
            .filter(move |row| (row["solo"] == true) == solo)
    };
    let blocks: Vec<&Value> = of(true).take(3).chain(of(false).take(3)).collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    let hashes: Vec<String> = blocks.iter().map(|row| text(row, "block_hash")).collect();
    for row in &blocks {
        let (scheme, fee_bp, miner) = match row["solo"].as_bool() {
            Some(true) => ("solo", SOLO_FEE_BP, ALONE),
            _ => ("pplns", FEE_BP, WALLET),
        };
        assert_eq!(
            (text(row, "scheme").as_str(), &row["fee_bp"]),
            (scheme, &json!(fee_bp))
        );
        let reward: u128 = text(row, "reward").parse().unwrap();
        let fee = reward * fee_bp / 10_000;
        let paid = rows(
            &pool,
            &format!(
                "SELECT account, CAST(amount_atomic AS VARCHAR) AS amount FROM payouts WHERE step \
                 = 'credited' AND block_hash = '{}'",
                text(row, "block_hash")
            ),
        )
        .await;
        let paid: std::collections::BTreeSet<(String, u128)> = paid
            .iter()
            .map(|row| (text(row, "account"), text(row, "amount").parse().unwrap()))
            .collect();
        if !paid.is_empty() {
            let wanted = [(miner.to_owned(), reward - fee), ("fee".to_owned(), fee)];
            assert_eq!(paid, wanted.into(), "{row}");
        }
    }
    pool.kill();
    nats.shutdown().await;
    for hash in hashes {
        let audit = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["audit", "block", &hash, "--tables"])
            .arg(folder.path().join("tables"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&audit.stdout);
        // The process was killed: a step may not be stated yet, and nothing may differ.
        assert!(!said.contains("DIFFERENCE"), "{said}");
    }
}
