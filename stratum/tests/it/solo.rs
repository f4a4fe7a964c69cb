//! Solo mining beside the pool's scheme: by the port, or by `solo:` before the address. Shares and
//! blocks say so, and blocks carry the terms of solo.

use headframe_schemas::stream::blocks::{Block, PayoutTerms};
use headframe_stratum::StratumConfig;
use headframe_stratum::net::port::PortConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::scripted::{Client, Scene, Stage, config};
use crate::server::{CAPTURED, NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok};

fn terms(scheme: &str, fee_bp: i64, solo: Option<bool>) -> PayoutTerms {
    PayoutTerms {
        scheme: Some(scheme.to_owned()),
        window_milli: Some(2_000),
        fee_bp: Some(fee_bp),
        solo,
    }
}

/// A client that is logged in at a port with this before its address.
async fn miner(stage: &Stage, port: usize, prefix: &str) -> Client {
    let mut client = Client::over(TcpStream::connect(stage.ports[port]).await.unwrap());
    let mut line: Value = serde_json::from_str(CAPTURED.lines().next().unwrap()).unwrap();
    let user = line["params"]["login"].as_str().unwrap().to_owned();
    line["params"]["login"] = json!(format!("{prefix}{user}"));
    client.job = client.ask(&line.to_string()).await["result"]["job"].clone();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_solo_port_and_a_solo_login_mark_shares_and_blocks() {
    let scene = Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let solo_port: PortConfig =
        serde_json::from_value(json!({"listen": "127.0.0.1:0", "scheme": "solo"})).unwrap();
    let config = StratumConfig {
        ports: vec![solo_port],
        terms: terms("pplns", 60, None),
        solo_terms: terms("solo", 150, Some(true)),
        ..config()
    };
    let stage = Stage::open(scene, config).await;
    // The second block of a nonce is the first one again; its share is a share all the same.
    for (port, prefix, nonce, result) in [
        (0, "", NONCE, RESULT),
        (1, "", OTHER_NONCE, OTHER_RESULT),
        (0, "solo:", NONCE, RESULT),
        (1, "SOLO:", NONCE, RESULT),
    ] {
        let mut client = miner(&stage, port, prefix).await;
        let answer = client.submit(nonce, result).await;
        assert!(is_ok(&answer), "{port} {prefix}: {answer}");
        // What is refused is marked as well.
        let again = client.submit(nonce, result).await;
        assert!(!is_ok(&again), "{port} {prefix}: {again}");
    }
    let facts = &stage.facts;
    facts
        .until("two blocks and all shares", |facts| {
            facts.statuses().len() == 4 && facts.outcomes().len() == 8
        })
        .await;
    let shares = facts.shares.lock().unwrap().clone();
    assert!(shares.iter().all(|share| share.miner == shares[0].miner));
    let of = |outcome: &str| -> Vec<Option<bool>> {
        let shares = shares.iter().filter(|share| share.outcome == outcome);
        shares.map(|share| share.solo).collect()
    };
    let marks = [None, Some(true), Some(true), Some(true)];
    assert_eq!(
        (of("accepted"), of("duplicate")),
        (marks.into(), marks.into())
    );
    let blocks = facts.blocks.lock().unwrap().clone();
    let found = |hash: &Option<String>| -> Vec<Block> {
        let own = |block: &&Block| Some(&block.hash) == hash.as_ref();
        blocks.iter().filter(own).cloned().collect()
    };
    let accepted: Vec<_> = shares
        .iter()
        .filter(|share| share.outcome == "accepted")
        .collect();
    for (share, terms) in accepted
        .iter()
        .zip([terms("pplns", 60, None), terms("solo", 150, Some(true))])
    {
        let rows = found(&share.block_hash);
        assert_eq!(rows.len(), 2, "candidate and accepted");
        assert!(rows.iter().all(|row| row.terms == terms), "{rows:?}");
    }
    stage.close().await;
}

#[test]
fn a_port_of_another_scheme_is_refused() {
    let port = |scheme: &str| {
        let port = json!({"listen": "127.0.0.1:0", "scheme": scheme});
        serde_json::from_value::<PortConfig>(port).is_ok()
    };
    assert_eq!(
        ["solo", "pool", "pplns", "Solo", ""].map(port),
        [true, true, false, false, false]
    );
}
