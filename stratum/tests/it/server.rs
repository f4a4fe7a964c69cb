//! The server against captured XMRig lines and against everything a miner should not send.

use headframe_schemas::stream::blocks::PayoutTerms;
use headframe_stratum::StratumConfig;
use headframe_stratum::chain::NoWorkCause;
use headframe_stratum::miner::{Miner, MinerConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::facts::Gate;
use crate::scripted::{Scene, Stage, config, submit_line};

mod blocks;
mod refusals;

pub const CAPTURED: &str = include_str!("../data/xmrig-6.26-client-lines.ndjson");
pub const NONCE: &str = "0c000000";
pub const RESULT: &str = "01234fa98d12da4191616a6dc055ec54c88565de6548b04d599129e52a95c30b";
pub const OTHER_NONCE: &str = "5b000000";
pub const OTHER_RESULT: &str = "25f6f36d69bcf670b120985219e21deab63795eaf7d35995f6e6fb3d027f0004";
const KEEPALIVED: &str = r#"{"id":77,"jsonrpc":"2.0","method":"keepalived","params":{"id":"x"}}"#;

pub fn message(answer: &Value) -> &str {
    answer["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("not a refusal: {answer}"))
}

pub fn is_ok(answer: &Value) -> bool {
    answer["result"]["status"] == "OK" && answer["error"].is_null()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xmrigs_own_lines_are_credited() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.client().await;
    let mut lines = CAPTURED.lines();
    let login = client.ask(lines.next().unwrap()).await;
    assert_eq!(
        (&login["id"], &login["result"]["status"]),
        (&json!(1), &json!("OK"))
    );
    assert_eq!(login["result"]["extensions"], json!(["algo", "keepalive"]));
    assert!(login["result"]["id"].is_string());
    let job = &login["result"]["job"];
    assert_eq!(job["target"], "ffffff0f");
    assert_eq!(
        (&job["algo"], &job["height"], &job["seed_hash"]),
        (&json!("rx/0"), &json!(100), &json!("41".repeat(32)))
    );
    let job_id = job["job_id"].as_str().unwrap();
    for (line, id) in lines.zip(2..) {
        let answer = client.ask(&line.replace("e844d7f81d2bcbfa", job_id)).await;
        assert!(is_ok(&answer) && answer["id"] == id, "{answer}");
    }
    let shares = stage.facts.shares.lock().unwrap().clone();
    assert_eq!(shares.len(), 5);
    let share = &shares[0];
    assert_eq!(
        (
            share.miner.as_str(),
            share.worker.as_str(),
            share.pool.as_str()
        ),
        ("4AddrExample", "rack7", "test")
    );
    assert_eq!(
        (share.outcome.as_str(), share.difficulty, share.height),
        ("accepted", 16, 100)
    );
    assert_eq!(stage.stats.snapshot().work_hashes, 5 * 16);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_counts_once_in_any_disguise() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    for (nonce, result) in [
        (NONCE, RESULT),
        ("0C000000", RESULT),
        (NONCE, &RESULT.to_uppercase()),
        (NONCE, &"00".repeat(32)),
    ] {
        assert_eq!(
            message(&client.submit(nonce, result).await),
            "Duplicate share",
            "{nonce} {result}"
        );
    }
    for nonce in [
        "c000000",
        "00c000000",
        "0x0c0000",
        " 0c00000",
        "0c000000 ",
        "",
    ] {
        assert!(
            message(&client.submit(nonce, RESULT).await).contains("nonce must be 8 hex digits"),
            "{nonce}"
        );
    }
    // Two at once, before the first is hashed: one is credited.
    let job = client.job["job_id"].as_str().unwrap().to_owned();
    client
        .send(&submit_line(20, &job, OTHER_NONCE, OTHER_RESULT))
        .await;
    client
        .send(&submit_line(21, &job, "5B000000", OTHER_RESULT))
        .await;
    let answers = [client.hear().await, client.hear().await];
    assert_eq!(
        answers.iter().filter(|answer| is_ok(answer)).count(),
        1,
        "{answers:?}"
    );
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 13)
        .await;
    let outcomes = stage.facts.outcomes();
    let count = |word: &str| outcomes.iter().filter(|outcome| *outcome == word).count();
    assert_eq!(
        (count("accepted"), count("duplicate"), count("invalid")),
        (2, 5, 6)
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_hash_must_be_the_hash() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.miner().await;
    // Every byte counts, also the lowest, which no target looks at.
    let mut forged = RESULT.to_owned();
    forged.replace_range(0..2, "02");
    assert_eq!(
        message(&client.submit(NONCE, &forged).await),
        "Rejected share: invalid result"
    );
    assert_eq!(
        message(&client.submit(NONCE, RESULT).await),
        "Duplicate share"
    );
    assert_eq!(
        message(&client.submit(OTHER_NONCE, &"00".repeat(32)).await),
        "Rejected share: invalid result"
    );
    assert_eq!(
        message(&client.submit("01000000", &"ff".repeat(32)).await),
        "Low difficulty share"
    );
    assert_eq!(stage.stats.snapshot().work_hashes, 0);
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 4)
        .await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_block_makes_old_jobs_stale_without_a_reconnect() {
    let stage = Stage::open(
        Scene::default(),
        headframe_stratum::StratumConfig {
            late_grace_ms: 0,
            ..config()
        },
    )
    .await;
    let mut client = stage.miner().await;
    let old = client.job["job_id"].as_str().unwrap().to_owned();
    stage.change(|scene| (scene.prev, scene.height) = (2, 101));
    let push = client.hear().await;
    assert_eq!((&push["method"], push.get("id")), (&json!("job"), None));
    assert_eq!(
        (&push["params"]["height"], &push["params"]["seed_hash"]),
        (&json!(101), &client.job["seed_hash"])
    );
    assert_ne!(push["params"]["job_id"], old);
    assert_eq!(
        message(&client.submit_for(&old, NONCE, RESULT).await),
        "Block expired"
    );
    assert_eq!(
        message(&client.submit_for("ffffffffffffffff1", NONCE, RESULT).await),
        "Block expired"
    );
    client.job = push["params"].clone();
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 3)
        .await;
    let heights: Vec<_> = stage
        .facts
        .shares
        .lock()
        .unwrap()
        .iter()
        .map(|share| (share.outcome.clone(), share.height))
        .collect();
    assert!(
        heights.contains(&("stale".to_owned(), 100))
            && heights.contains(&("accepted".to_owned(), 101)),
        "{heights:?}"
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ok_is_said_only_after_the_share_is_durable() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.miner().await;
    stage.facts.set(Gate::Held);
    let job = client.job["job_id"].as_str().unwrap().to_owned();
    client.send(&submit_line(5, &job, NONCE, RESULT)).await;
    stage.facts.until_arrived(1).await;
    // The share is verified and waits for its row; the session lives on and says nothing about it.
    assert_eq!(client.ask(KEEPALIVED).await["id"], 77);
    assert_eq!(stage.stats.snapshot().accepted, 0);
    stage.facts.set(Gate::Open);
    let answer = client.hear().await;
    assert!(is_ok(&answer) && answer["id"] == 5, "{answer}");
    stage.facts.set(Gate::Broken);
    let refused = client.submit(OTHER_NONCE, OTHER_RESULT).await;
    assert!(
        message(&refused).starts_with("Share could not be recorded"),
        "{refused}"
    );
    let stats = stage.stats.snapshot();
    assert_eq!(
        (
            stats.accepted,
            stats.unrecorded,
            stage.facts.outcomes().len()
        ),
        (1, 1, 1)
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_not_durable_in_time_is_refused() {
    let stage = Stage::open(
        Scene::default(),
        headframe_stratum::StratumConfig {
            durable_timeout_s: 1,
            ..config()
        },
    )
    .await;
    let mut client = stage.miner().await;
    stage.facts.set(Gate::Held);
    assert!(
        message(&client.submit(NONCE, RESULT).await).starts_with("Share could not be recorded")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_in_flight_outlives_its_connection_and_the_shutdown() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.miner().await;
    stage.facts.set(Gate::Held);
    let job = client.job["job_id"].as_str().unwrap().to_owned();
    client.send(&submit_line(5, &job, NONCE, RESULT)).await;
    stage.facts.until_arrived(1).await;
    drop(client);
    stage
        .until("the session's end", |stage| {
            stage.stats.snapshot().sessions == 0
        })
        .await;
    let facts = stage.facts.clone();
    let (closed, ()) = tokio::join!(stage.close(), async { facts.set(Gate::Open) });
    assert_eq!(
        (closed, facts.outcomes()),
        ((), vec!["accepted".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_never_repeat_and_each_connection_has_its_own_work() {
    let stage = Stage::open(
        Scene {
            own_blobs: true,
            ..Scene::default()
        },
        config(),
    )
    .await;
    let restarted = Stage::open(
        Scene {
            own_blobs: true,
            ..Scene::default()
        },
        config(),
    )
    .await;
    let mut seen = std::collections::HashSet::new();
    // The same connection numbers on a pool that started anew: still no job and no work comes
    // twice.
    for number in 0..40 {
        let client = if number % 2 == 0 {
            stage.miner().await
        } else {
            restarted.miner().await
        };
        let job = client.job.clone();
        assert!(
            seen.insert(job["job_id"].to_string()),
            "a job id came twice"
        );
        assert!(seen.insert(job["blob"].to_string()), "a blob came twice");
        assert_eq!(
            &job["blob"].as_str().unwrap()[78..86],
            "00000000",
            "the nonce must be the miner's alone"
        );
    }
    // A share is worth nothing on another connection, even in the same process.
    let (first, mut second) = (stage.miner().await, stage.miner().await);
    let foreign = first.job["job_id"].as_str().unwrap();
    assert_eq!(
        message(&second.submit_for(foreign, NONCE, RESULT).await),
        "Block expired"
    );
    restarted.close().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_the_difficulty_follows_the_miner() {
    let mut small = headframe_stratum::StratumConfig {
        max_sessions: 1,
        start_difficulty: 1,
        hashrate_interval_s: 1,
        ..config()
    };
    // An hour: however slow the machine is, it hashes faster.
    small.vardiff.target_s = 3600.0;
    let stage = Stage::open(Scene::default(), small).await;
    let mut client = stage.miner().await;
    assert_eq!(stage.client().await.hear().await, Value::Null);
    assert_eq!(client.job["target"], "ffffffff");
    let vectors: Value =
        serde_json::from_str(include_str!("../data/randomx-xmrig-vectors.json")).unwrap();
    let mut pushed = None;
    for vector in &vectors["vectors"].as_array().unwrap()[..6] {
        let job = client.job["job_id"].as_str().unwrap().to_owned();
        client
            .send(&submit_line(
                9,
                &job,
                vector["nonce"].as_str().unwrap(),
                vector["hash"].as_str().unwrap(),
            ))
            .await;
        let answer = client.hear().await;
        assert!(is_ok(&answer), "{answer}");
        pushed = Some(job);
    }
    // Six shares where the aim is one an hour: the difficulty jumps by the largest step, in a new
    // job.
    let job = client.hear().await;
    assert_eq!(
        (&job["method"], &job["params"]["target"]),
        (&json!("job"), &json!("ffffff1f"))
    );
    // The old job stays good, at its own difficulty.
    let last = &vectors["vectors"][6];
    let old = pushed.unwrap();
    assert!(is_ok(
        &client
            .submit_for(
                &old,
                last["nonce"].as_str().unwrap(),
                last["hash"].as_str().unwrap()
            )
            .await
    ));
    let difficulties: Vec<_> = stage
        .facts
        .shares
        .lock()
        .unwrap()
        .iter()
        .map(|share| share.difficulty)
        .collect();
    assert_eq!(difficulties, [1; 7]);
    stage
        .facts
        .until("a hashrate row", |facts| {
            facts
                .hashrates
                .lock()
                .unwrap()
                .iter()
                .any(|row| row.hashrate_hs > 0.0)
        })
        .await;
    assert!(
        stage
            .facts
            .hashrates
            .lock()
            .unwrap()
            .iter()
            .all(|row| row.source == "pool" && row.worker == "rack7")
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_miner_follows_a_seed_switch() {
    let scene = Scene {
        own_blobs: true,
        ..Scene::default()
    };
    let stage = Stage::open(scene, config()).await;
    let miner = MinerConfig {
        pool: stage.address.to_string(),
        login: "4A.rig".into(),
        pass: "x".into(),
        rigid: None,
        threads: 1,
    };
    let (miner, handle) = Miner::new(miner, stage.seeds.clone());
    let stop = CancellationToken::new();
    let mining = tokio::spawn(miner.run(stop.clone()));
    stage
        .until("a share", |_| handle.stats().accepted >= 1)
        .await;
    stage.change(|scene| (scene.prev, scene.seed, scene.height) = (2, [9; 32], 101));
    let after_switch = |stage: &Stage| {
        stage
            .facts
            .shares
            .lock()
            .unwrap()
            .iter()
            .any(|share| share.height == 101 && share.outcome == "accepted")
    };
    stage
        .until("a share under the new seed", after_switch)
        .await;
    assert_eq!(stage.stats.snapshot().invalid, 0);
    stop.cancel();
    mining.await.unwrap().unwrap();
    let stats = handle.stats();
    assert!(
        stats.hashes > 0 && stats.jobs >= 2 && stats.logins == 1 && !stats.connected,
        "{stats:?}"
    );
    stage.close().await;
}
