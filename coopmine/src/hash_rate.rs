//! `coopmine hash`: what this machine hashes, without a coordinator or a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use headframe_stratum::miner::hashing_threads::{HashTask, HashingThreads, ThreadPlan};
use headframe_stratum::miner::nonce_supply::NonceSupply;
use headframe_stratum::randomx::{Mode, RandomxSettings, Seeds, pages};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A key as good as any.
const SEED: [u8; 32] = [0x41; 32];
/// A blob as long as Monero's.
const BLOB_LEN: usize = 76;
const NONCE_OFFSET: usize = 39;
/// Between looks whether the dataset is there.
const LOOK: Duration = Duration::from_millis(20);
/// Hashes before the first that counts: machines are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(1);

/// Hashes for a while, as a worker does, and says how fast.
pub async fn measure(
    settings: RandomxSettings,
    threads: usize,
    seconds: u64,
    stop: CancellationToken,
) -> anyhow::Result<Value> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let seeds = Arc::new(Seeds::with(&settings));
    let (builder, stopped) = (seeds.clone(), stop.clone());
    let building = tokio::spawn(async move { builder.build_datasets(stopped).await });
    let started = Instant::now();
    seeds.request(SEED, None);
    let mut memory = seeds.memory(SEED).await?;
    let cache_s = started.elapsed().as_secs_f64();
    while seeds.mode() == Mode::Full && memory.mode() != Mode::Full {
        anyhow::ensure!(
            !stop.is_cancelled(),
            "it was stopped before the dataset was there"
        );
        tokio::time::sleep(LOOK).await;
        if seeds.is_full(&SEED) {
            memory = seeds.memory(SEED).await?;
        }
    }
    let ready_s = started.elapsed().as_secs_f64();
    let hashes = Arc::new(AtomicU64::new(0));
    let (sender, _found) = mpsc::channel(1);
    let plan = ThreadPlan { threads, nice: 0 };
    let hashing = HashingThreads::start(plan, hashes.clone(), sender);
    let hashing = hashing.context("cannot start the hashing threads")?;
    hashing.work(HashTask {
        job_id: "hash".to_owned(),
        algo: "rx/0".to_owned(),
        blob: vec![7; BLOB_LEN],
        nonce_offset: NONCE_OFFSET,
        // Nothing is good enough to be told.
        target: 1,
        memory,
        nonces: Arc::new(NonceSupply::whole(0, false)),
    });
    tokio::time::sleep(WARM_UP).await;
    let (before, from) = (hashes.load(Relaxed), Instant::now());
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds.max(1))) => {}
        () = stop.cancelled() => {}
    }
    let (count, elapsed) = (hashes.load(Relaxed) - before, from.elapsed());
    let used = pages::report().to_string();
    hashing.stop().await;
    stop.cancel();
    // What builds datasets ends with the stop.
    let _ = building.await;
    Ok(json!({
        "mode": seeds.mode().as_str(),
        "threads": threads,
        "hashes": count,
        "hashrate_hs": count as f64 / elapsed.as_secs_f64(),
        "cache_s": cache_s,
        "ready_s": ready_s,
        "memory": used,
    }))
}
