//! Shutdown: miners are sent to the successor, what is in flight is answered first, and the stated
//! time is kept.

use headframe_stratum::StratumConfig;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;

use crate::facts::Gate;
use crate::scripted::{Scene, Stage, config, submit_line};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT};
use crate::tls;
use crate::xmrig::Xmrig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_are_sent_to_the_successor_after_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let next = with_certificate(folder.path(), None).await;
    let stage = with_certificate(folder.path(), Some(next.address)).await;
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
    let successor = Some(("127.0.0.1".to_owned(), next.address.port().to_string()));
    assert_eq!(encrypted.sent_to, successor);
    // Not before the answer: XMRig leaves at once when it is told. A share that was under way then
    // is still taken.
    plain
        .client
        .send(&submit_line(8, &job, OTHER_NONCE, OTHER_RESULT))
        .await;
    stage.facts.set(Gate::Open);
    assert_eq!(plain.read().await, Some((7.into(), Ok(()))));
    assert!(plain.read().await.is_none());
    assert_eq!(plain.sent_to, successor);
    assert_eq!(plain.read().await, Some((8.into(), Ok(()))));
    drop(plain);
    drop(encrypted);
    // Both have left, so nothing waits for the drain's hour.
    stage.close().await;
    next.close().await;
}

/// A pool whose certificate lies in `folder`, and whose miners go to `successor`.
async fn with_certificate(folder: &Path, successor: Option<SocketAddr>) -> Stage {
    let config = StratumConfig {
        successor: successor.map(|address| address.to_string()),
        drain_s: 3600,
        tls: tls::in_folder(folder),
        ..config()
    };
    Stage::open(Scene::default(), config).await
}

/// Its pin would keep it out there for ever; here it finds the pool again after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_over_tls_is_not_sent_to_another_certificate_nor_to_nobody() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let next = with_certificate(other.path(), None).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for successor in [next.address, closed, silent.local_addr().unwrap()] {
        let stage = with_certificate(own.path(), Some(successor)).await;
        let pin = stage.fingerprint.clone().unwrap();
        assert_ne!(Some(&pin), next.fingerprint.as_ref());
        let mut plain = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
        let pinned = tls::client(stage.address, &pin).await;
        let mut encrypted = Xmrig::login(pinned, Value::Null, |_| {}).await;
        stage.stop();
        let last = encrypted.client.hear().await;
        assert_eq!(last, Value::Null, "it is disconnected, {successor}");
        assert!(plain.read().await.is_none());
        let sent_to = Some(("127.0.0.1".to_owned(), successor.port().to_string()));
        assert_eq!(plain.sent_to, sent_to, "nothing is in its way");
        drop((plain, encrypted));
        stage.close().await;
    }
    next.close().await;
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
