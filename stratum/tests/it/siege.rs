//! The defence on a real server with real sockets: those who come from bad places, talk too slowly,
//! read too little or lie.
//!
//! Loopback is a whole /8, so clients come from as many addresses as a test needs.

mod crowd;
mod hostile;

use headframe_stratum::StratumConfig;
use headframe_stratum::defence::addresses::ClientAddress;
use headframe_stratum::defence::bans::BanTarget;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpSocket;

use crate::facts::Memory;
use crate::scripted::{Client, Scene, Stage, submit_line};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok, message};
use crate::xmrig::Xmrig;

/// A pool that offers no new work by itself, so that nothing comes between question and answer.
fn config() -> StratumConfig {
    StratumConfig {
        template_refresh_s: 3600,
        ..crate::scripted::config()
    }
}

/// A pool to which loopback is no friend.
fn strict() -> StratumConfig {
    let mut config = config();
    config.defence.allow = vec![];
    config
}

/// A connection from this address; `None` when the pool did not want it.
async fn dial(stage: &Stage, from: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    Client::over(socket.connect(stage.address).await.unwrap())
}

fn login_line(worker: &str) -> String {
    json!({"id": 1, "method": "login", "params": {"login": format!("4A+16.{worker}"), "pass": "x",
        "agent": "test/1"}})
    .to_string()
}

async fn login(stage: &Stage, from: &str, worker: &str) -> Result<Client, Value> {
    let mut client = dial(stage, from).await;
    let answer = client.ask(&login_line(worker)).await;
    client.job = answer["result"]["job"].clone();
    if client.job.is_null() {
        Err(answer)
    } else {
        Ok(client)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_is_banned_and_neither_neighbour_nor_namesake_is() {
    let stage = Stage::open(Scene::default(), strict()).await;
    let mut neighbour = login(&stage, "127.0.7.1", "good").await.unwrap();
    assert!(is_ok(&neighbour.submit(NONCE, RESULT).await));
    let mut forger = login(&stage, "127.0.7.1", "bad").await.unwrap();
    for number in 0..4 {
        assert_eq!(
            message(
                &forger
                    .submit(&format!("{number:08x}"), &"00".repeat(32))
                    .await
            ),
            "Rejected share: invalid result"
        );
    }
    assert_eq!(forger.hear().await, Value::Null);
    let refused = login(&stage, "127.0.7.1", "bad").await.err().unwrap();
    assert!(
        message(&refused).starts_with("This worker is banned from your address"),
        "{refused}"
    );
    // The same name elsewhere, another name here, and the honest neighbour: all mine on.
    let mut namesake = login(&stage, "127.0.7.2", "bad").await.unwrap();
    assert!(is_ok(&namesake.submit(NONCE, RESULT).await));
    assert!(login(&stage, "127.0.7.1", "third").await.is_ok());
    assert!(is_ok(&neighbour.submit(OTHER_NONCE, OTHER_RESULT).await));
    stage
        .facts
        .until("the rows", |facts| {
            let rows = facts.sessions.lock().unwrap();
            facts.bans.lock().unwrap().len() == 1 && rows.iter().any(|row| row.event == "logout")
        })
        .await;
    let ban = stage.facts.bans.lock().unwrap()[0].clone();
    assert_eq!(
        (ban.action.as_str(), ban.kind.as_str(), ban.source.as_str()),
        ("ban", "session", "automatic")
    );
    assert_eq!(
        (ban.ip.as_str(), ban.miner.as_deref(), ban.worker.as_deref()),
        ("127.0.7.1", Some("4A"), Some("bad"))
    );
    assert_eq!(
        (ban.reason.as_str(), ban.score, ban.times),
        ("wrong_result", 100, 1)
    );
    assert_eq!(
        ban.until.unwrap() / 1_000_000 - ban.event_time / 1_000_000,
        600
    );
    let sessions = stage.facts.sessions.lock().unwrap().clone();
    let of = |event: &str| {
        sessions
            .iter()
            .find(|row| row.worker == "bad" && row.ip == "127.0.7.1" && row.event == event)
            .unwrap()
            .clone()
    };
    let (came, left) = (of("login"), of("logout"));
    assert_eq!(
        (&came.session, came.agent.as_deref(), came.difficulty),
        (&left.session, Some("test/1"), 16)
    );
    assert_eq!(
        (
            left.reason.as_deref(),
            left.shares_accepted,
            left.shares_refused,
            left.work
        ),
        (Some("banned"), Some(0), Some(4), Some(0))
    );
    assert!(left.duration_s.unwrap() >= 0.0 && came.duration_s.is_none());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_bans_and_lifts_and_a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = strict();
    config.defence.bans_file = Some(folder.path().join("bans.ndjson"));
    let stage = Stage::open(Scene::default(), config.clone()).await;
    let (mut here, mut there) = (
        login(&stage, "127.0.7.3", "a").await.unwrap(),
        login(&stage, "127.0.7.4", "a").await.unwrap(),
    );
    let here_only = BanTarget::Address(ClientAddress::new("127.0.7.3".parse().unwrap()));
    let ban = stage
        .bans
        .ban(here_only.clone(), "asked to", Some(3600))
        .await
        .unwrap();
    assert_eq!(here.hear().await, Value::Null, "who is inside is put out");
    assert_eq!(dial(&stage, "127.0.7.3").await.hear().await, Value::Null);
    assert!(is_ok(&there.submit(NONCE, RESULT).await));
    stage.close().await;

    let stage = Stage::open(Scene::default(), config.clone()).await;
    assert_eq!(stage.bans.list(), [ban]);
    assert_eq!(dial(&stage, "127.0.7.3").await.hear().await, Value::Null);
    assert!(
        stage.bans.unban(&here_only).await.unwrap().is_some()
            && stage.bans.unban(&here_only).await.unwrap().is_none()
    );
    assert!(login(&stage, "127.0.7.3", "a").await.is_ok());
    stage
        .facts
        .until("the row", |facts| {
            facts
                .bans
                .lock()
                .unwrap()
                .iter()
                .any(|row| row.action == "unban")
        })
        .await;
    stage.close().await;

    let stage = Stage::open(Scene::default(), config).await;
    assert_eq!(stage.bans.list(), []);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_gets_its_share_of_places_and_friends_get_what_they_want() {
    let mut config = strict();
    config.defence.limits.connections_per_address = 2;
    config.defence.limits.logins_per_minute_address = 6000;
    config.defence.allow = vec!["127.0.8.0/24".to_owned()];
    let stage = Stage::open(Scene::default(), config).await;
    let first = login(&stage, "127.0.7.5", "a").await.unwrap();
    let _second = login(&stage, "127.0.7.5", "b").await.unwrap();
    let refused = dial(&stage, "127.0.7.5").await.hear().await;
    assert!(
        message(&refused).starts_with("Too many connections from your address"),
        "{refused}"
    );
    let _neighbour = login(&stage, "127.0.7.6", "a").await.unwrap();
    drop(first);
    stage
        .until("the place", |stage| stage.stats.snapshot().sessions == 2)
        .await;
    stage
        .facts
        .until("the logout", |facts| {
            facts
                .sessions
                .lock()
                .unwrap()
                .iter()
                .any(|row| row.event == "logout")
        })
        .await;
    let mut third = login(&stage, "127.0.7.5", "c").await;
    // The row is written just before the place is free.
    while third.is_err() {
        third = login(&stage, "127.0.7.5", "c").await;
    }
    let mut friends = Vec::new();
    for number in 0..5 {
        friends.push(
            login(&stage, "127.0.8.1", &format!("w{number}"))
                .await
                .unwrap(),
        );
    }
    assert_eq!(stage.stats.snapshot().sessions, 8);
    stage.close().await;
}

/// Lines that submit shares which are real.
fn real_shares(job: &Value, count: usize) -> Vec<String> {
    let vectors: Value =
        serde_json::from_str(include_str!("../data/randomx-xmrig-vectors.json")).unwrap();
    let text = |vector: &Value, key: &str| vector[key].as_str().unwrap().to_owned();
    let vectors = vectors["vectors"].as_array().unwrap()[..count].iter();
    vectors
        .map(|vector| {
            submit_line(
                9,
                job["job_id"].as_str().unwrap(),
                &text(vector, "nonce"),
                &text(vector, "hash"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_to_a_full_queue_hears_so_and_keeps_its_connection_and_reputation() {
    let mut config = strict();
    config.start_difficulty = 1;
    config.vardiff.max_difficulty = 1;
    config.defence.verify.queue_unproven = 1;
    config.defence.verify.in_flight_unproven = 7;
    // One login, and the sixteen that being thrown out costs, leave none.
    (
        config.defence.limits.connections_per_address,
        config.defence.limits.logins_per_minute_address,
    ) = (17, 1);
    let stage = Stage::open(Scene::default(), config).await;
    let mut miner = Xmrig::login(dial(&stage, "127.0.7.9").await, Value::Null, |_| {}).await;
    // Seven at once, where one is hashed and one may wait.
    miner
        .client
        .send(&real_shares(&miner.job, 7).join("\n"))
        .await;
    let mut busy = 0;
    for _ in 0..7 {
        match miner.read().await.expect("an answer").1 {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(
                    reason,
                    "The pool is too busy to check this share; keep mining"
                );
                busy += 1;
            }
        }
    }
    assert!(busy > 0, "all of them were hashed");
    miner.keepalive().await;
    assert_eq!(stage.stats.snapshot().busy, busy);
    let rows = |facts: &Memory| {
        facts
            .outcomes()
            .iter()
            .filter(|outcome| *outcome == "busy")
            .count() as u64
    };
    stage
        .facts
        .until("the rows", |facts| rows(facts) == busy)
        .await;
    assert!(
        stage
            .facts
            .outcomes()
            .iter()
            .all(|outcome| ["accepted", "busy"].contains(&outcome.as_str()))
    );
    drop(miner);
    login(&stage, "127.0.7.9", "again")
        .await
        .expect("it may come again");
    assert!(stage.facts.bans.lock().unwrap().is_empty());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_beyond_the_cap_mine_under_one() {
    let mut config = config();
    config.defence.names.workers_per_wallet = 1;
    let stage = Stage::open(Scene::default(), config).await;
    let _first = login(&stage, "127.0.0.1", "first").await.unwrap();
    let mut second = login(&stage, "127.0.0.1", "second").await.unwrap();
    assert!(is_ok(&second.submit(NONCE, RESULT).await));
    assert_eq!(stage.facts.shares.lock().unwrap()[0].worker, "_others");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_hide_addresses_when_told_to() {
    let mut config = config();
    config.defence.addresses_in_rows = headframe_stratum::defence::config::AddressForm::Hashed;
    let stage = Stage::open(Scene::default(), config).await;
    drop(login(&stage, "127.0.0.1", "a").await.unwrap());
    stage
        .bans
        .ban(
            BanTarget::Address(ClientAddress::new("127.0.0.1".parse().unwrap())),
            "test",
            None,
        )
        .await
        .unwrap();
    stage
        .facts
        .until("the rows", |facts| {
            facts.sessions.lock().unwrap().len() == 2 && facts.bans.lock().unwrap().len() == 1
        })
        .await;
    let ips: Vec<String> = stage
        .facts
        .sessions
        .lock()
        .unwrap()
        .iter()
        .map(|row| row.ip.clone())
        .collect();
    assert!(
        ips[0].len() == 32
            && ips.iter().all(|ip| *ip == ips[0])
            && stage.facts.bans.lock().unwrap()[0].ip == ips[0],
        "{ips:?}"
    );
    stage.close().await;
}
