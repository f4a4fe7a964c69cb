//! XMRig's dialect on a real monerod: scripted miners that really hash, plain, over TLS and as
//! NiceHash, go over new blocks, a real change of seed and a block of their own without a wrong
//! verdict and without being disconnected.

use headframe_stratum::randomx::{Seeds, Vm};
use headframe_stratum::work::difficulty::meets;
use headframe_stratum::{Stratum, StratumConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::epoch::{SWITCH, shortly_before_the_switch, until};
use crate::facts::Memory;
use crate::regtest::generate;
use crate::scripted::{Client, config};
use crate::tls;
use crate::xmrig::Xmrig;

/// Hashes a share and a block cost.
const SHARE: u64 = 3;
const BLOCK: u64 = 12;

/// What a hash is worth.
#[derive(Clone, Copy, PartialEq)]
enum Worth {
    Nothing,
    Share,
    Block,
}

/// The first nonce from `first` on whose hash is worth exactly this, with that hash, as a miner
/// sends them.
async fn hashed(seeds: &Seeds, job: &Value, first: u32, wanted: Worth) -> (String, String) {
    let bytes = |key: &str| hex::decode(job[key].as_str().unwrap()).unwrap();
    let (mut blob, memory) = (
        bytes("blob"),
        seeds
            .memory(bytes("seed_hash").try_into().unwrap())
            .await
            .unwrap(),
    );
    let search = move || {
        let machine = Vm::new(&memory).unwrap();
        // The pool's byte of NiceHash stays as it is; it is zero for others, and so are nonces that
        // small.
        let fixed = blob[42];
        for number in first.. {
            let nonce = [
                number as u8,
                (number >> 8) as u8,
                (number >> 16) as u8,
                fixed,
            ];
            blob[39..43].copy_from_slice(&nonce);
            let hash = machine.hash(&blob).unwrap();
            let worth = match (meets(&hash, SHARE.into()), meets(&hash, BLOCK.into())) {
                (_, true) => Worth::Block,
                (true, _) => Worth::Share,
                _ => Worth::Nothing,
            };
            if worth == wanted {
                return (hex::encode(nonce), hex::encode(hash));
            }
        }
        unreachable!("one of a dozen hashes is a block")
    };
    tokio::task::spawn_blocking(search).await.unwrap()
}

fn height(job: &Value) -> i64 {
    job["height"].as_i64().unwrap()
}

/// What a miner does on one block: a good share, the same again, a forged and a poor one, and a
/// sign of life.
async fn work(miner: &mut Xmrig, seeds: &Seeds) {
    let said = |message: &str| Err(message.to_owned());
    let (nonce, result) = hashed(seeds, &miner.job, 0, Worth::Share).await;
    assert_eq!(miner.submit(&nonce, &result).await, Ok(()));
    for again in [nonce.clone(), nonce.to_uppercase()] {
        assert_eq!(miner.submit(&again, &result).await, said("Duplicate share"));
    }
    let (poor, result) = hashed(seeds, &miner.job, 0, Worth::Nothing).await;
    assert_eq!(
        miner.submit(&poor, &result).await,
        said("Low difficulty share")
    );
    let forged = format!("{}{}", &result[..32], "0".repeat(32));
    let (unused, _) = hashed(seeds, &miner.job, 1_000, Worth::Nothing).await;
    assert_eq!(
        miner.submit(&unused, &forged).await,
        said("Rejected share: invalid result")
    );
    miner.keepalive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripted_miners_cross_blocks_and_a_seed_of_a_real_chain_undisturbed() {
    let monerod = shortly_before_the_switch(BLOCK).await;
    let (folder, facts) = (tempfile::tempdir().unwrap(), Arc::new(Memory::new()));
    let mut config = StratumConfig {
        daemon_url: monerod.url.clone(),
        tls: tls::in_folder(folder.path()),
        late_grace_ms: 0,
        template_refresh_s: 3_600,
        ..config()
    };
    // The script forges more than an honest miner would.
    config.defence.reputation.ban_points = 0;
    let bound = Stratum::bind(config, facts.clone()).await.unwrap();
    let (address, stats, seeds) = (bound.local_addr(), bound.stats(), bound.seeds());
    let fingerprint = bound.tls_fingerprint().unwrap().to_owned();
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));
    until("work", || stats.snapshot().height > 0).await;

    let fixed = |params: &mut Value| {
        (params["login"], params["pass"]) = (json!(MAINNET), json!(format!("x,d={SHARE}")))
    };
    let nicehash = |params: &mut Value| {
        fixed(params);
        params["agent"] = json!("NiceHash/1.0.0");
    };
    let mut miners = [
        Xmrig::login(Client::connect(address).await, Value::Null, fixed).await,
        Xmrig::login(tls::client(address, &fingerprint).await, Value::Null, fixed).await,
        Xmrig::login(Client::connect(address).await, Value::Null, nicehash).await,
    ];
    let first_seed = miners[0].job["seed_hash"].clone();
    let (mut rounds, mut blocks) = (0, 0);
    loop {
        let old: Vec<Value> = miners.iter().map(|miner| miner.job.clone()).collect();
        for miner in &mut miners {
            work(miner, &seeds).await;
        }
        rounds += 1;
        // The chain goes on by a block of its own, or by one that a miner finds: each of them once.
        match miners.get_mut(rounds - 1) {
            Some(finder) => {
                let (nonce, result) = hashed(&seeds, &finder.job, 2_000, Worth::Block).await;
                assert_eq!(finder.submit(&nonce, &result).await, Ok(()));
                blocks += 1;
            }
            None if height(&old[0]) > SWITCH => break,
            None => drop(generate(&monerod, 1, None).await),
        }
        for (miner, old) in miners.iter_mut().zip(&old) {
            while height(&miner.job) == height(old) {
                miner.next_job().await;
            }
            let (blob, job) = (
                old["blob"].as_str().unwrap(),
                old["job_id"].as_str().unwrap(),
            );
            let late = miner
                .submit_for(job, &format!("000001{}", &blob[84..86]), &"0".repeat(64))
                .await;
            assert_eq!(late, Err("Block expired".to_owned()));
        }
    }
    assert_ne!(miners[0].job["seed_hash"], first_seed);
    facts
        .until("the blocks", |facts| {
            facts
                .statuses()
                .iter()
                .filter(|status| *status == "accepted")
                .count()
                == blocks
        })
        .await;
    let seen = stats.snapshot();
    let shares = (rounds * miners.len() + blocks) as u64;
    assert_eq!(
        (seen.sessions, seen.accepted, seen.blocks_accepted),
        (3, shares, blocks as u64),
        "{seen:?}"
    );
    assert_eq!(
        seen.duplicate,
        2 * (rounds * miners.len()) as u64,
        "{seen:?}"
    );
    assert_eq!(
        (seen.low_difficulty, seen.invalid),
        (
            (rounds * miners.len()) as u64,
            (rounds * miners.len()) as u64
        ),
        "{seen:?}"
    );
    assert_eq!(
        (seen.stale, seen.unrecorded),
        (((rounds - 1) * miners.len()) as u64, 0),
        "{seen:?}"
    );
    assert_eq!(
        monerod.call("get_info", json!({})).await["height"].as_i64(),
        Some(height(&miners[0].job))
    );
    drop(miners);
    stop.cancel();
    pool.await.unwrap();
}
