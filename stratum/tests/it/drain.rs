//! Shutdown: miners are sent to the successor, what is in flight is answered first, and the stated
//! time is kept.

use headframe_stratum::StratumConfig;
use serde_json::Value;

use crate::facts::Gate;
use crate::scripted::{Scene, Stage, config, submit_line};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT};
use crate::tls;
use crate::xmrig::Xmrig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_are_sent_to_the_successor_after_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let successor = Some("pool2.example.org:3334".to_owned());
    let stage = Stage::open(
        Scene::default(),
        StratumConfig {
            successor,
            drain_s: 3600,
            tls: tls::in_folder(folder.path()),
            ..config()
        },
    )
    .await;
    let mut plain = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
    let pin = stage.fingerprint.clone().unwrap();
    let mut encrypted =
        Xmrig::login(tls::client(stage.address, &pin).await, Value::Null, |_| {}).await;
    stage.facts.set(Gate::Held);
    let job = plain.job["job_id"].as_str().unwrap().to_owned();
    plain
        .client
        .send(&submit_line(7, &job, NONCE, RESULT))
        .await;
    stage.facts.until_arrived(1).await;
    stage.stop();
    assert!(encrypted.read().await.is_none());
    let told = Some(("pool2.example.org".to_owned(), "3334".to_owned()));
    assert_eq!(encrypted.sent_to, told);
    // Not before the answer: XMRig leaves at once when it is told. A share that was under way then
    // is still taken.
    plain
        .client
        .send(&submit_line(8, &job, OTHER_NONCE, OTHER_RESULT))
        .await;
    stage.facts.set(Gate::Open);
    assert_eq!(plain.read().await, Some((7.into(), Ok(()))));
    assert!(plain.read().await.is_none());
    assert_eq!(plain.sent_to, told);
    assert_eq!(plain.read().await, Some((8.into(), Ok(()))));
    drop(plain);
    drop(encrypted);
    // Both have left, so nothing waits for the drain's hour.
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_that_stays_and_a_share_that_hangs_do_not_hold_the_shutdown_up() {
    let successor = Some("[2001:db8::1]:3333".to_owned());
    let stage = Stage::open(
        Scene::default(),
        StratumConfig {
            successor,
            drain_s: 4,
            ..config()
        },
    )
    .await;
    let mut idle = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
    let mut hangs = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
    stage.facts.set(Gate::Held);
    let job = hangs.job["job_id"].as_str().unwrap().to_owned();
    hangs
        .client
        .send(&submit_line(7, &job, NONCE, RESULT))
        .await;
    stage.facts.until_arrived(1).await;
    // Neither has even logged in: no line, and half a line.
    let (_silent, mut half) = (stage.client().await, stage.client().await);
    half.send("{").await;
    // It waits for the drain's four seconds and no longer; the miner that was never answered is
    // simply dropped.
    stage.close().await;
    assert!(idle.read().await.is_none());
    assert_eq!(
        idle.sent_to,
        Some(("[2001:db8::1]".to_owned(), "3333".to_owned()))
    );
    assert_eq!(hangs.client.hear().await, Value::Null);
}

#[test]
fn a_successor_is_host_and_port() {
    let check = |successor: &str| {
        StratumConfig {
            successor: Some(successor.to_owned()),
            ..config()
        }
        .validate()
    };
    for good in [
        "pool:1",
        "10.0.0.1:3333",
        "[::1]:3333",
        "a-b.example.org:65535",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "pool",
        "pool:",
        ":1",
        "pool:0",
        "pool:65536",
        "::1:3333",
        "[x]:1",
        "stratum+tcp://pool:1",
        "a b:1",
        "a\"b:1",
    ] {
        assert!(
            check(bad)
                .unwrap_err()
                .to_string()
                .contains("stratum.successor"),
            "{bad}"
        );
    }
}
