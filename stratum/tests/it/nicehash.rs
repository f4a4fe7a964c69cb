//! NiceHash mode and proxies: one byte of the nonce belongs to the pool there, and many miners
//! share one connection.

use headframe_stratum::StratumConfig;
use headframe_stratum::chain::Hash;
use headframe_stratum::miner::{Miner, MinerConfig};
use headframe_stratum::net::port::PortConfig;
use headframe_stratum::randomx::{Seeds, Vm};
use headframe_stratum::work::job::{JobRing, lifetime};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::facts::Gate;
use crate::scripted::{Scene, Stage, config, submit_line};
use crate::server::{NONCE, RESULT};
use crate::xmrig::Xmrig;

const FOREIGN: &str = "Invalid nonce; is miner not compatible with NiceHash?";

/// The hash a miner finds for this nonce.
pub async fn hash(seeds: &Seeds, job: &Value, nonce: [u8; 4]) -> String {
    let seed: Hash = hex::decode(job["seed_hash"].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap();
    let mut blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
    blob[39..43].copy_from_slice(&nonce);
    let memory = seeds.memory(seed).await.unwrap();
    let hashed =
        tokio::task::spawn_blocking(move || Vm::new(&memory).unwrap().hash(&blob).unwrap())
            .await
            .unwrap();
    hex::encode(hashed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixed_byte_is_the_pools_and_three_are_the_miners() {
    // Every hash is worth a share, so the test need not search.
    let stage = Stage::open(
        Scene::default(),
        StratumConfig {
            start_difficulty: 1,
            ..config()
        },
    )
    .await;
    let agent = |params: &mut Value| params["agent"] = json!("NiceHash/1.0.0");
    let mut miner = Xmrig::login(stage.client().await, Value::Null, agent).await;
    assert_eq!(miner.extensions, ["algo", "keepalive", "nicehash"]);
    let fixed = |job: &Value| hex::decode(job["blob"].as_str().unwrap()).unwrap()[42];
    let byte = fixed(&miner.job);
    assert_ne!(byte, 0);
    let nonce = [1, 2, 3, byte];
    let found = hash(&stage.seeds, &miner.job, nonce).await;
    assert_eq!(miner.submit(&hex::encode(nonce), &found).await, Ok(()));
    assert_eq!(
        miner.submit(&hex::encode(nonce), &found).await,
        Err("Duplicate share".to_owned())
    );
    // Any other byte is refused before it costs a hash, also when the hash is right, and does not
    // count as seen.
    for other in [0, byte ^ 1, byte ^ 0x80] {
        let nonce = [1, 2, 3, other];
        let right = hash(&stage.seeds, &miner.job, nonce).await;
        for _ in 0..2 {
            assert_eq!(
                miner.submit(&hex::encode(nonce), &right).await,
                Err(FOREIGN.to_owned())
            );
        }
    }
    // The next job fixes another byte, and is judged by its own.
    stage.change(|scene| scene.prev += 1);
    miner.next_job().await;
    let next = fixed(&miner.job);
    assert!(next != 0 && next != byte);
    let nonce = [1, 2, 3, next];
    let found = hash(&stage.seeds, &miner.job, nonce).await;
    assert_eq!(miner.submit(&hex::encode(nonce), &found).await, Ok(()));
    assert_eq!(
        miner.submit(&hex::encode([1, 2, 3, byte]), &found).await,
        Err(FOREIGN.to_owned())
    );
    // Other connections keep all four bytes.
    let plain = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
    assert_eq!(fixed(&plain.job), 0);
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 10)
        .await;
    assert_eq!(stage.stats.snapshot().invalid, 7);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_miner_obeys_the_fixed_byte_of_a_nicehash_port() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let port = PortConfig {
        listen,
        start_difficulty: Some(4),
        fixed_difficulty: None,
        min_difficulty: None,
        max_difficulty: None,
        nicehash: true,
        scheme: Default::default(),
    };
    let stage = Stage::open(
        Scene {
            own_blobs: true,
            ..Scene::default()
        },
        StratumConfig {
            ports: vec![port],
            ..config()
        },
    )
    .await;
    let miner = MinerConfig {
        pool: stage.ports[1].to_string(),
        login: "4A.rig".into(),
        pass: "x".into(),
        rigid: None,
        threads: 1,
    };
    let (miner, handle) = Miner::new(miner, stage.seeds.clone());
    let stop = CancellationToken::new();
    let mining = tokio::spawn(miner.run(stop.clone()));
    stage
        .until("shares", |_| handle.stats().accepted >= 3)
        .await;
    assert_eq!(stage.stats.snapshot().invalid, 0);
    stop.cancel();
    mining.await.unwrap().unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_may_have_many_shares_in_flight_and_a_miner_few() {
    // Sent at once, each answered only when durable: as many reach the gate as may be in flight. A
    // miner's ninth share waits in its socket until an answer makes space; a proxy's does not.
    for (agent, sent, most) in [("XMRig/6.26.0", 9, 8), ("xmrig-proxy/6.26.0", 20, 20)] {
        let stage = Stage::open(
            Scene::default(),
            StratumConfig {
                start_difficulty: 1,
                ..config()
            },
        )
        .await;
        let mut miner = Xmrig::login(stage.client().await, Value::Null, |params| {
            params["agent"] = json!(agent)
        })
        .await;
        let job = miner.job["job_id"].as_str().unwrap().to_owned();
        let memory = stage.seeds.memory([0x41; 32]).await.unwrap();
        let blob = hex::decode(miner.job["blob"].as_str().unwrap()).unwrap();
        let shares = tokio::task::spawn_blocking(move || found(&memory, &blob, sent + 1))
            .await
            .unwrap();
        // Only who has sent good work may have much of it in flight.
        let (first, shares) = shares.split_first().unwrap();
        assert_eq!(miner.submit(&first.0, &first.1).await, Ok(()));
        stage.facts.set(Gate::Held);
        for (id, (nonce, result)) in (100..).zip(shares) {
            miner
                .client
                .send(&submit_line(id, &job, nonce, result))
                .await;
        }
        stage.facts.until_arrived(1 + most).await;
        assert_eq!(stage.facts.arrived(), 1 + most);
        drop(miner);
        stage.facts.set(Gate::Open);
        stage.close().await;
    }
}

/// Nonces and their hashes.
fn found(
    memory: &Arc<headframe_stratum::randomx::SeedMemory>,
    blob: &[u8],
    count: u32,
) -> Vec<(String, String)> {
    let machine = Vm::new(memory).unwrap();
    let one = |nonce: u32| {
        let nonce = nonce.to_le_bytes();
        let mut blob = blob.to_vec();
        blob[39..43].copy_from_slice(&nonce);
        (
            hex::encode(nonce),
            hex::encode(machine.hash(&blob).unwrap()),
        )
    };
    (0..count).map(one).collect()
}

#[test]
fn a_job_is_renewed_before_three_bytes_run_out() {
    let template: Arc<Scene> = Arc::new(Scene::default());
    let mut plain = JobRing::new(1, 2, 3);
    plain.issue(template.clone(), 16);
    assert_eq!(lifetime(plain.current(), 1e9), Duration::MAX);
    let mut nicehash = JobRing::new(1, 2, 3).with_nicehash(true);
    assert_eq!(
        lifetime(nicehash.current(), 1e9),
        Duration::MAX,
        "without a job nothing runs out"
    );
    nicehash.issue(template, 16);
    for hashrate in [0.0, 50.0, 20_000.0, 100_000.0, 1e6, 4e6] {
        let searched = hashrate * lifetime(nicehash.current(), hashrate).as_secs_f64();
        assert!(
            searched <= f64::from(1 << 24) / 4.0,
            "{hashrate} H/s searches {searched} nonces of one job"
        );
    }
    // Once a second is the most, however fast somebody claims to be.
    assert_eq!(lifetime(nicehash.current(), 1e12), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_nicehash_miner_gets_new_jobs_in_time() {
    // A difficulty of 10⁹ every 20 s means 50 MH/s, for which three bytes last a third of a second.
    let stage = Stage::open(
        Scene::default(),
        StratumConfig {
            template_refresh_s: 3600,
            ..config()
        },
    )
    .await;
    let agent = |params: &mut Value| {
        (params["agent"], params["pass"]) = (json!("NiceHash/1.0.0"), json!("d=1000000000"))
    };
    let mut miner = Xmrig::login(stage.client().await, Value::Null, agent).await;
    miner.next_job().await;
    miner.next_job().await;
    assert_eq!(miner.submit(NONCE, RESULT).await, Err(FOREIGN.to_owned()));
    stage.close().await;
}
