//! What is answered about payouts: of a miner, of a block by pages, and the key of its signature.

use axum::Router;
use headframe_query_front::{Server, Services};
use headframe_schemas::stream::payouts::Payouts;
use headframe_schemas::stream::windows::Windows;
use serde_json::{Value, json};

use crate::payments::source;
use crate::scripted::DAY;
use crate::server::{Answer, config, engines, get, send};

const MINERS: [&str; 3] = ["4Ann", "4Bob", "4Cid"];

fn hash(block: char) -> String {
    block.to_string().repeat(64)
}

/// Block a matured, block b was credited and taken back, the window of block c has no share.
async fn server() -> Router {
    let (mut payouts, mut windows) = (Vec::new(), Vec::new());
    for (height, block) in (10..).zip(['a', 'b', 'c']) {
        let row = json!({"event_time": DAY, "pool": "main", "block_hash": hash(block),
            "height": height, "cause_seq": height, "cause_row": 0});
        let with = |step: &str, more: Value| {
            let mut row = row.clone();
            row["step"] = json!(step);
            let more = more.as_object().unwrap().clone();
            row.as_object_mut().unwrap().extend(more);
            row
        };
        payouts.push(with(
            "frozen",
            json!({"scheme": "pplns", "window_milli": 2_000, "fee_bp": 100,
                "reward_atomic": "600000000000", "total_weight": "36893488147419103232",
                "shares": 9, "miners": 3, "winning_seq": 9, "winning_row": 0, "edge_seq": 1,
                "edge_row": 0, "merkle_root": hash('e'), "signature": hash('f'),
                "public_key": hash('d')}),
        ));
        if block == 'c' {
            let empty = payouts.last_mut().and_then(Value::as_object_mut).unwrap();
            for name in [
                "winning_seq",
                "winning_row",
                "edge_seq",
                "edge_row",
                "merkle_root",
            ] {
                empty.remove(name);
            }
            empty.extend([
                ("shares".to_owned(), json!(0)),
                ("miners".to_owned(), json!(0)),
            ]);
            continue;
        }
        for (position, miner) in MINERS.iter().enumerate() {
            windows.push(
                json!({"event_time": DAY, "pool": "main", "block_hash": hash(block),
                "height": height, "position": position, "miner": miner,
                "weight": "12297829382473034410", "shares": 3,
                "amount_atomic": "200000000000"}),
            );
        }
        let steps: &[&str] = match block {
            'a' => &["credited", "matured"],
            _ => &["credited", "reversed"],
        };
        for step in steps {
            for miner in MINERS {
                let amount = json!({"account": miner, "amount_atomic": "200000000000"});
                payouts.push(with(step, amount));
            }
        }
    }
    let sources = vec![source(&Payouts, payouts), source(&Windows, windows)];
    let services = Services {
        engines: engines(&config(), sources),
        ..Services::default()
    };
    Server::bind(config(), services).await.unwrap().router()
}

async fn ask(router: &Router, path: &str) -> Answer {
    let answer = send(router, get(path)).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
    answer
}

#[tokio::test]
async fn a_miner_sees_each_block_with_its_last_step_and_exact_sums() {
    let router = server().await;
    let all = ask(&router, "/api/v1/miners/4Ann/payouts").await.json();
    assert_eq!(all["immature_atomic"], "0");
    assert_eq!(all["matured_atomic"], "200000000000");
    let rows = all["payouts"].as_array().unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (&row["block_hash"], &row["status"], &row["amount_atomic"]))
        .collect();
    let amount = json!("200000000000");
    let (a, b) = (json!(hash('a')), json!(hash('b')));
    assert_eq!(
        found,
        [
            (&b, &json!("reversed"), &amount),
            (&a, &json!("matured"), &amount)
        ]
    );
    let first = ask(&router, "/api/v1/miners/4Ann/payouts?limit=1").await;
    assert_eq!(first.json()["payouts"], json!([rows[0]]));
    let before = first.json()["next"].as_i64().unwrap();
    let path = format!("/api/v1/miners/4Ann/payouts?limit=1&before={before}");
    let last = ask(&router, &path).await.json();
    assert_eq!(last["payouts"], json!([rows[1]]));
    assert_eq!(last["next"], Value::Null);
    let nobody = ask(&router, "/api/v1/miners/4Dan/payouts").await.json();
    assert_eq!(nobody["immature_atomic"], "0");
    assert_eq!(nobody["payouts"], json!([]));
}

#[tokio::test]
async fn a_block_has_its_window_by_pages_its_steps_and_the_key() {
    let router = server().await;
    let path = format!("/api/v1/blocks/{}/payouts", hash('b'));
    let all = ask(&router, &path).await.json();
    let window = &all["windows"][0];
    assert_eq!(window["reward_atomic"], "600000000000");
    assert_eq!(window["total_weight"], "36893488147419103232");
    assert_eq!(window["scheme"], "pplns");
    let steps: Vec<_> = all["steps"].as_array().unwrap().iter().collect();
    assert_eq!(
        steps.iter().map(|row| &row["step"]).collect::<Vec<_>>(),
        ["credited", "reversed"]
    );
    assert!(
        steps
            .iter()
            .all(|row| row["amount_atomic"] == "600000000000")
    );
    let mut walked = Vec::new();
    let mut from = json!(0);
    while let Some(position) = from.as_i64() {
        let page = ask(&router, &format!("{path}?limit=2&from={position}")).await;
        let page = page.json();
        walked.extend(page["accounts"].as_array().unwrap().clone());
        from = page["next"].clone();
    }
    assert_eq!(json!(walked), all["accounts"]);
    let miners: Vec<_> = walked.iter().map(|row| &row["miner"]).collect();
    assert_eq!(miners, MINERS);
    let key = ask(&router, "/api/v1/payouts/key").await.json();
    assert_eq!(
        key,
        json!({"public_key": hash('d'), "algorithm": "Ed25519"})
    );
    let path = format!("/api/v1/blocks/{}/payouts", hash('c'));
    let empty = ask(&router, &path).await.json();
    assert_eq!(empty["windows"][0]["merkle_root"], Value::Null);
    assert_eq!(
        (&empty["steps"], &empty["accounts"]),
        (&json!([]), &json!([]))
    );
    let missing = format!("/api/v1/blocks/{}/payouts", hash('9'));
    assert_eq!(send(&router, get(&missing)).await.status.as_u16(), 404);
}
