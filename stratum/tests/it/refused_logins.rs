//! Refused logins leave a row that says why, and a flood of them is counted instead of written.

use headframe_schemas::stream::sessions::Session;
use headframe_stratum::StratumConfig;
use headframe_stratum::defence::addresses::ClientAddress;
use headframe_stratum::defence::refusal::Refusal;
use headframe_stratum::defence::refusal_log::{LINES, OVERDUE_MS, ROWS, RefusalLog};
use proptest::prelude::*;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::scripted::{Client, Scene, Stage, config};

/// The refused logins so far.
fn refusals(stage: &Stage) -> Vec<Session> {
    let sessions = stage.facts.sessions.lock().unwrap();
    let refused = sessions.iter().filter(|row| row.event == "refused");
    refused.cloned().collect()
}

/// Waits for a refusal of this kind, and gives its row.
async fn until_refused(stage: &Stage, refusal: &str) -> Session {
    let is_it = |row: &Session| row.refusal.as_deref() == Some(refusal);
    stage
        .until(refusal, |stage| refusals(stage).iter().any(is_it))
        .await;
    refusals(stage).into_iter().find(is_it).unwrap()
}

fn login(wallet: &str) -> String {
    let params = serde_json::json!({"login": format!("{wallet}.rig7"), "agent": "test/1"});
    serde_json::json!({"id": 1, "method": "login", "params": params}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refused_login_has_a_row_that_says_why() {
    let stage = Stage::open(Scene::default(), config()).await;
    let cases: [(Vec<u8>, &str, &str); 5] = [
        (
            login("nobody").into_bytes(),
            "bad_address",
            "Invalid wallet",
        ),
        (
            br#"{"id":1,"method":"login","params":{"login":"4A","algo":["cn/r"]}}"#.to_vec(),
            "bad_algorithm",
            "needs the algorithm",
        ),
        (
            br#"{"id":1,"method":"keepalived"}"#.to_vec(),
            "not_a_login",
            "Unauthenticated",
        ),
        (b"{}".to_vec(), "malformed", "no request"),
        (vec![0x16, 3, 1, 0, 5], "tls_off", "TLS is not switched on"),
    ];
    for (mut line, refusal, reason) in cases {
        line.push(b'\n');
        let mut client = stage.client().await;
        client.send_bytes(&line).await;
        let row = until_refused(&stage, refusal).await;
        assert!(row.reason.as_deref().unwrap().contains(reason), "{row:?}");
        assert_eq!((row.ip.as_str(), row.difficulty), ("127.0.0.1", 0));
    }
    let row = until_refused(&stage, "bad_address").await;
    assert_eq!(
        (
            row.miner.as_str(),
            row.worker.as_str(),
            row.agent.as_deref()
        ),
        ("nobody", "rig7", Some("test/1"))
    );
    let ids: HashSet<String> = refusals(&stage)
        .into_iter()
        .map(|row| row.session)
        .collect();
    assert_eq!(ids.len(), 5);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_without_work_or_places_says_so_in_rows() {
    let stage = Stage::open(Scene::unready(), config()).await;
    let mut client = stage.client().await;
    client.send(&login("4A")).await;
    let row = until_refused(&stage, "no_work").await;
    assert!(row.reason.unwrap().contains("nothing to mine yet"));
    stage.close().await;

    let small = StratumConfig {
        max_sessions: 1,
        ..config()
    };
    let stage = Stage::open(Scene::default(), small).await;
    let _miner = stage.miner().await;
    assert_eq!(stage.client().await.hear().await, serde_json::Value::Null);
    assert_eq!(until_refused(&stage, "full").await.ip, "127.0.0.1");
    stage.close().await;

    let impatient = StratumConfig {
        login_timeout_s: 1,
        ..config()
    };
    let stage = Stage::open(Scene::default(), impatient).await;
    let _silent = stage.client().await;
    until_refused(&stage, "login_timeout").await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_is_counted_and_not_written() {
    let stage = Stage::open(Scene::default(), config()).await;
    let refuse = async |client: &mut Client| {
        client.ask(&login("nobody")).await;
    };
    for _ in 0..60 {
        refuse(&mut stage.client().await).await;
    }
    // Another address has a budget of its own, and its row says how many have none.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.9.9:0".parse().unwrap()).unwrap();
    let mut other = Client::over(socket.connect(stage.address).await.unwrap());
    refuse(&mut other).await;
    let is_other = |row: &Session| row.ip == "127.0.9.9";
    stage
        .until("the other's row", |stage| {
            refusals(stage).iter().any(is_other)
        })
        .await;
    let rows = refusals(&stage);
    let left_out: i64 = rows.iter().filter_map(|row| row.refusals_left_out).sum();
    assert_eq!(rows.len() as i64 + left_out, 61, "{rows:?}");
    // A row a minute comes back, however slow this machine is.
    assert!(rows.len() < 30 && left_out > 30, "{}", rows.len());
    stage.close().await;
}

#[test]
fn every_reason_has_a_label_of_its_own() {
    let labels: HashSet<&str> = Refusal::ALL.map(Refusal::as_str).into();
    assert_eq!(labels.len(), Refusal::ALL.len());
    let plain = |label: &&str| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    assert!(labels.iter().all(plain), "{labels:?}");
}

proptest! {
    #[test]
    fn rows_and_lines_are_bounded_and_no_refusal_is_uncounted(
        steps in prop::collection::vec((0..40_u8, 0..3_000_u64), 1..600),
    ) {
        let (mut log, mut now_ms) = (RefusalLog::new(0), 0);
        let (mut rows, mut lines, mut told_rows, mut told_lines) = (0_u64, 0_u64, 0, 0);
        let mut overdue = 0;
        for (host, pause_ms) in &steps {
            now_ms += pause_ms;
            let address = ClientAddress::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, *host)));
            let trace = log.refused(address, now_ms);
            prop_assert!(trace.row.is_some() || trace.line.is_none(), "a line has a row");
            rows += u64::from(trace.row.is_some());
            lines += u64::from(trace.line.is_some());
            told_rows += trace.row.map_or(0, |left_out| left_out + 1);
            told_lines += trace.line.map_or(0, |left_out| left_out + 1);
            let late = log.overdue(now_ms);
            overdue += u64::from(late.row.is_some());
            told_rows += late.row.unwrap_or(0);
            told_lines += late.line.unwrap_or(0);
        }
        let elapsed_s = now_ms as f64 / 1000.0;
        prop_assert!(rows as f64 <= ROWS.burst + elapsed_s * ROWS.per_s + 1.0);
        prop_assert!(lines as f64 <= LINES.burst + elapsed_s * LINES.per_s + 1.0);
        prop_assert!(overdue <= now_ms / OVERDUE_MS);
        let last = log.overdue(now_ms + OVERDUE_MS);
        told_rows += last.row.unwrap_or(0);
        told_lines += last.line.unwrap_or(0);
        let refused = steps.len() as u64;
        prop_assert_eq!((told_rows, told_lines), (refused, refused));
    }
}
