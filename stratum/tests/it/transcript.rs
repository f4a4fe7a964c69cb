//! Scripted XMRig sessions from login to logout, over plain TCP and over TLS: the same words, the
//! same verdicts, and no line on which XMRig would disconnect.

use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;

use crate::scripted::{Client, Scene, Stage, config};
use crate::server::{CAPTURED, NONCE, OTHER_NONCE, OTHER_RESULT, RESULT};
use crate::tls;
use crate::xmrig::Xmrig;

/// A pool that speaks both.
async fn both() -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    // Late shares are stale at once, and nobody is banned for the script's bad ones.
    let mut config = headframe_stratum::StratumConfig {
        tls: tls::in_folder(folder.path()),
        late_grace_ms: 0,
        ..config()
    };
    config.defence.reputation.ban_points = 0;
    (folder, Stage::open(Scene::default(), config).await)
}

async fn connect(stage: &Stage, over_tls: bool) -> Client {
    match over_tls {
        true => tls::client(stage.address, stage.fingerprint.as_deref().unwrap()).await,
        false => stage.client().await,
    }
}

/// Asks for the difficulty the captured shares were found at, so that no job comes but those the
/// script makes.
fn steady(params: &mut Value) {
    params["pass"] = json!("x,d=16");
}

/// Nonce and hash of the captured submits.
fn captured() -> Vec<(String, String)> {
    let lines = CAPTURED
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |line: &Value, key: &str| line["params"][key].as_str().unwrap().to_owned();
    lines
        .map(|line| (text(&line, "nonce"), text(&line, "result")))
        .collect()
}

/// Login, shares, keepalive, a new block, a stale share, a seed switch, a duplicate, a forgery, and
/// a second login.
async fn script(stage: &Stage, over_tls: bool) -> Vec<Result<(), String>> {
    let mut verdicts = Vec::new();
    let mut miner = Xmrig::login(connect(stage, over_tls).await, Value::Null, steady).await;
    assert_eq!(miner.extensions, ["algo", "keepalive"]);
    for (nonce, result) in captured() {
        verdicts.push(miner.submit(&nonce, &result).await);
    }
    miner.keepalive().await;
    let old = miner.job["job_id"].as_str().unwrap().to_owned();
    stage.change(|scene| (scene.prev, scene.height) = (scene.prev + 1, scene.height + 1));
    miner.next_job().await;
    verdicts.push(miner.submit_for(&old, NONCE, RESULT).await);
    verdicts.push(miner.submit(NONCE, RESULT).await);
    // A new seed: the same solution is no solution any more, and becomes one again when the seed
    // returns.
    stage.change(|scene| (scene.prev, scene.seed) = (scene.prev + 1, [9; 32]));
    miner.next_job().await;
    assert_eq!(miner.job["seed_hash"], "09".repeat(32));
    verdicts.push(miner.submit(NONCE, RESULT).await);
    stage.change(|scene| (scene.prev, scene.seed) = (scene.prev + 1, [0x41; 32]));
    miner.next_job().await;
    verdicts.push(miner.submit(NONCE, RESULT).await);
    verdicts.push(miner.submit(NONCE, RESULT).await);
    verdicts.push(miner.submit(OTHER_NONCE, &RESULT.replace('a', "b")).await);
    let last = miner.job.clone();
    drop(miner);
    let mut again = Xmrig::login(connect(stage, over_tls).await, last, steady).await;
    verdicts.push(again.submit(OTHER_NONCE, OTHER_RESULT).await);
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_the_same_over_plain_and_over_tls() {
    let (_folder, stage) = both().await;
    let said = |message: &str| Err(message.to_owned());
    let mut expected = vec![Ok(()); 5];
    expected.extend([
        said("Block expired"),
        Ok(()),
        said("Rejected share: invalid result"),
        Ok(()),
        said("Duplicate share"),
    ]);
    expected.extend([said("Rejected share: invalid result"), Ok(())]);
    for over_tls in [false, true] {
        assert_eq!(
            script(&stage, over_tls).await,
            expected,
            "over tls: {over_tls}"
        );
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_one_in_every_disguise_and_on_every_way() {
    let (_folder, stage) = both().await;
    let duplicate = || Err("Duplicate share".to_owned());
    for over_tls in [false, true] {
        let mut miner = Xmrig::login(connect(&stage, over_tls).await, Value::Null, steady).await;
        assert_eq!(miner.submit(NONCE, RESULT).await, Ok(()));
        for (nonce, result) in [
            (NONCE, RESULT),
            ("0C000000", RESULT),
            (NONCE, &RESULT.to_uppercase()),
            (NONCE, &"0".repeat(64)),
        ] {
            assert_eq!(
                miner.submit(nonce, result).await,
                duplicate(),
                "{nonce} {result}"
            );
        }
        // Not hex of the right length: Arabic and full-width digits, prefixes, signs, blanks,
        // missing and surplus digits.
        for nonce in [
            "٠c٠٠٠٠٠٠",
            "０c００００００",
            "0x0c0000",
            "0x0c000000",
            "+0c00000",
            " 0c00000",
            "0c00000",
            "00c000000",
            "0c000000\u{0}",
        ] {
            let refused = miner.submit(nonce, RESULT).await.unwrap_err();
            assert_eq!(
                refused, "Rejected share: nonce must be 8 hex digits",
                "{nonce}"
            );
        }
        for result in [
            &RESULT[1..],
            &format!("{RESULT}00"),
            &format!("0x{RESULT}"),
            &RESULT.replace('0', "٠"),
        ] {
            let refused = miner.submit(NONCE, result).await.unwrap_err();
            assert_eq!(
                refused, "Rejected share: result must be 64 hex digits",
                "{result}"
            );
        }
        // The same job in another spelling is another job, and so unknown.
        let job = miner.job["job_id"].as_str().unwrap().to_owned();
        for id in [
            job.to_uppercase(),
            format!("{job}0"),
            format!(" {job}"),
            String::new(),
        ] {
            if id != job {
                assert_eq!(
                    miner.submit_for(&id, NONCE, RESULT).await,
                    Err("Block expired".to_owned()),
                    "{id}"
                );
            }
        }
        // In a second session while the first lives, and after it: the job is that connection's
        // alone.
        let mut second = Xmrig::login(connect(&stage, over_tls).await, Value::Null, steady).await;
        assert_eq!(
            second.submit_for(&job, NONCE, RESULT).await,
            Err("Block expired".to_owned())
        );
        drop(miner);
        let mut again = Xmrig::login(connect(&stage, !over_tls).await, Value::Null, steady).await;
        assert_eq!(
            again.submit_for(&job, NONCE, RESULT).await,
            Err("Block expired".to_owned())
        );
    }
    // One credited share a round, though it was sent two dozen times.
    assert_eq!(stage.stats.snapshot().accepted, 2);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_serves_many_of_both_kinds_at_once() {
    let (_folder, stage) = both().await;
    let stage = Arc::new(stage);
    let mut miners = tokio::task::JoinSet::new();
    for number in 0..12 {
        let stage = stage.clone();
        miners.spawn(async move {
            let mut miner =
                Xmrig::login(connect(&stage, number % 2 == 0).await, Value::Null, steady).await;
            miner.submit(NONCE, RESULT).await.unwrap();
            miner.keepalive().await;
        });
    }
    while let Some(done) = miners.join_next().await {
        done.unwrap();
    }
    assert_eq!(stage.stats.snapshot().accepted, 12);
    // An old OpenSSL with TLS 1.2, and a wrong pin, which the miner refuses and the pool survives.
    let pin = stage.fingerprint.clone().unwrap();
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let old = tls::handshake(stream, &pin, &rustls::version::TLS12)
        .await
        .unwrap();
    Client::over(old).logged_in().await;
    let stream = TcpStream::connect(stage.address).await.unwrap();
    assert!(
        tls::handshake(stream, &"0".repeat(64), &rustls::version::TLS13)
            .await
            .is_err()
    );
    stage.client().await.logged_in().await;
    Arc::into_inner(stage).unwrap().close().await;
}
