//! Connections that talk wrongly: too slowly, too fast, too much, or not in JSON.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{config, login};
use crate::scripted::{Scene, Stage};
use crate::server::message;

const KEEPALIVED: &str = r#"{"id":77,"method":"keepalived","params":{"id":"x"}}"#;

/// Writes a byte every few milliseconds until the other side has enough.
async fn drip(stage: &Stage, greeting: &str) {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(greeting.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let ended = tokio::spawn(async move {
        let mut bytes = [0; 1024];
        while read.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    });
    let mut every = tokio::time::interval(Duration::from_millis(5));
    let mut bytes = 0;
    while !ended.is_finished() {
        every.tick().await;
        assert!(bytes < 12_000, "it listens for ever");
        bytes += usize::from(write.write_all(b" ").await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_send_a_byte_at_a_time_run_out_of_time() {
    let stage = Stage::open(
        Scene::unready(),
        headframe_stratum::StratumConfig {
            login_timeout_s: 1,
            ..config()
        },
    )
    .await;
    drip(&stage, "{").await;
    stage.close().await;
    // After login, too: only whole lines are signs of life.
    let stage = Stage::open(
        Scene::default(),
        headframe_stratum::StratumConfig {
            idle_timeout_s: 1,
            ..config()
        },
    )
    .await;
    let login = json!({"id": 1, "method": "login", "params": {"login": "4A.slow"}});
    drip(&stage, &format!("{login}\n{{")).await;
    stage
        .facts
        .until("the logout", |facts| {
            facts
                .sessions
                .lock()
                .unwrap()
                .iter()
                .any(|row| row.reason.is_some())
        })
        .await;
    assert_eq!(
        stage.facts.sessions.lock().unwrap()[1].reason.as_deref(),
        Some("silent for too long")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_do_not_read_are_dropped() {
    let mut config = headframe_stratum::StratumConfig {
        write_timeout_s: 1,
        ..config()
    };
    (config.defence.lines_per_s, config.defence.lines_burst) = (1_000_000, 1_000_000);
    config.defence.send_buffer_bytes = 4096;
    let stage = Stage::open(Scene::default(), config).await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let login = json!({"id": 1, "method": "login", "params": {"login": "4A.deaf"}});
    stream
        .write_all(format!("{login}\n").as_bytes())
        .await
        .unwrap();
    stage
        .until("the login", |stage| stage.stats.snapshot().sessions == 1)
        .await;
    let asking = tokio::spawn(async move {
        let requests = format!("{}\n", json!({"id": 2, "method": "getjob"})).repeat(100);
        while stream.write_all(requests.as_bytes()).await.is_ok() {}
    });
    stage
        .until("the end of a deaf connection", |stage| {
            stage.stats.snapshot().sessions == 0
        })
        .await;
    asking.await.unwrap();
    stage
        .facts
        .until("the logout", |facts| {
            facts.sessions.lock().unwrap().len() == 2
        })
        .await;
    assert_eq!(
        stage.facts.sessions.lock().unwrap()[1].reason.as_deref(),
        Some("did not read")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_talk_without_pause_are_heard_at_a_pace() {
    let mut config = config();
    (config.defence.lines_per_s, config.defence.lines_burst) = (20, 10);
    let stage = Stage::open(Scene::default(), config).await;
    let mut client = login(&stage, "127.0.0.1", "a").await.unwrap();
    let started = std::time::Instant::now();
    client.send(&[KEEPALIVED; 30].join("\n")).await;
    for _ in 0..30 {
        assert_eq!(client.hear().await["id"], 77);
    }
    // Ten at once and twenty at twenty a second; a slow machine only takes longer.
    assert!(
        started.elapsed() > Duration::from_millis(850),
        "{:?}",
        started.elapsed()
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_harms_anybody_but_its_sender() {
    let stage = Stage::open(Scene::default(), config()).await;
    let deep = format!(
        r#"{{"id":1,"method":"submit","params":{}{}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let endings: Vec<(Vec<u8>, &str)> = vec![
        (b"\0\n".to_vec(), "not a JSON request"),
        (
            b"{\"id\":1,\"method\":\"sub\0mit\"}\n".to_vec(),
            "not a JSON request",
        ),
        (
            b"{\"id\":1,\"method\":\"\xc3\x28\"}\n".to_vec(),
            "not a JSON request",
        ),
        (format!("{deep}\n").into_bytes(), "not a JSON request"),
        (
            b"{\"id\":1,\"method\":\"submit\",\"method\":\"submit\"}\n".to_vec(),
            "not a JSON request",
        ),
        (
            b"{\"id\":1e999,\"method\":\"getjob\"}\n".to_vec(),
            "not a JSON request",
        ),
        (
            b"{\"id\":{},\"method\":\"getjob\"}\n".to_vec(),
            "not a JSON request",
        ),
    ];
    for (number, (line, said)) in endings.into_iter().enumerate() {
        let mut client = login(&stage, "127.0.0.1", &format!("w{number}"))
            .await
            .unwrap();
        client.send_bytes(&line).await;
        let answer = client.hear().await;
        assert!(
            message(&answer).contains(said) && answer["id"].is_null(),
            "{answer}"
        );
        assert_eq!(client.hear().await, Value::Null);
    }
    let mut giant = login(&stage, "127.0.0.1", "giant").await.unwrap();
    // The pool stops listening long before the end, so the rest cannot be sent.
    let unending = async { while giant.try_send(&[b'a'; 4096]).await {} };
    tokio::time::timeout(Duration::from_secs(240), unending)
        .await
        .expect("a line without end was read on and on");
    // Big numbers and odd ids are answered in kind.
    let mut odd = login(&stage, "127.0.0.1", "odd").await.unwrap();
    for id in [
        json!(u64::MAX),
        json!(-1),
        json!("\u{0}\u{1F4A9}"),
        json!(0.5),
        Value::Null,
        json!(true),
    ] {
        let answer = odd
            .ask(&json!({"id": id, "method": "keepalived"}).to_string())
            .await;
        assert_eq!(answer["id"], id);
    }
    let answer = odd
        .ask(r#"{"id":99999999999999999999999999,"method":"keepalived"}"#)
        .await;
    assert_eq!(answer["id"], json!(1e26));
    let twice = r#"{"id":5,"method":"submit","params":{"job_id":"a","job_id":"b","nonce":"00000000","result":"00"}}"#;
    assert!(message(&odd.ask(twice).await).contains("result must be 64 hex digits"));
    stage.close().await;
}
