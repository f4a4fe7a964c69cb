//! `coopmine hash`: what this machine hashes, without a coordinator or a pool.
//!
//! It goes a worker's way from the first job on: light until the dataset is being computed, then at
//! rest, then with the dataset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use headframe_stratum::miner::hashing_threads::{HashTask, HashingThreads, ThreadPlan};
use headframe_stratum::miner::nonce_supply::NonceSupply;
use headframe_stratum::randomx::{RandomxSettings, SeedMemory, Seeds, pages};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A key as good as any.
const SEED: [u8; 32] = [0x41; 32];
/// A blob as long as Monero's.
const BLOB_LEN: usize = 76;
const NONCE_OFFSET: usize = 39;
/// Between looks whether the threads are at full speed.
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
    let hashes = Arc::new(AtomicU64::new(0));
    let (sender, _found) = mpsc::channel(1);
    let plan = ThreadPlan {
        threads,
        nice: 0,
        pin: true,
    };
    let hashing = HashingThreads::start(plan, hashes.clone(), sender);
    let measurement = Measurement {
        seeds: Arc::new(Seeds::with(&settings)),
        hashing: hashing.context("cannot start the hashing threads")?,
        hashes,
        stop: stop.clone(),
    };
    let (builder, stopped) = (measurement.seeds.clone(), stop.clone());
    let building = tokio::spawn(async move { builder.build_datasets(stopped).await });
    let measured = tokio::select! {
        measured = measurement.run(threads, seconds) => measured,
        never = measurement.hashing.follow(&measurement.seeds) => match never {},
    };
    measurement.hashing.stop().await;
    stop.cancel();
    // What builds datasets ends with the stop.
    let _ = building.await;
    measured
}

struct Measurement {
    seeds: Arc<Seeds>,
    hashing: HashingThreads,
    hashes: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Measurement {
    async fn run(&self, threads: usize, seconds: u64) -> anyhow::Result<Value> {
        let mode = self.seeds.mode();
        let started = Instant::now();
        self.seeds.request(SEED, None);
        let memory = self.seeds.memory(SEED).await?;
        let cache_s = started.elapsed().as_secs_f64();
        self.hashing.work(task(memory));
        self.hashing.fit_memory(&self.seeds);
        let in_hand = || self.hashing.task().map(|task| task.memory.mode());
        self.wait(|| in_hand() == Some(mode)).await?;
        let early = self.hashes.load(Relaxed);
        self.wait(|| self.hashes.load(Relaxed) > early).await?;
        let ready_s = started.elapsed().as_secs_f64();
        tokio::time::sleep(WARM_UP).await;
        let (before, from) = (self.hashes.load(Relaxed), Instant::now());
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds.max(1))) => {}
            () = self.stop.cancelled() => {}
        }
        // Where others take the processor, the first one may take longer.
        while self.hashes.load(Relaxed) == before && !self.stop.is_cancelled() {
            tokio::time::sleep(LOOK).await;
        }
        let (count, elapsed) = (self.hashes.load(Relaxed) - before, from.elapsed());
        Ok(json!({
            "mode": mode.as_str(),
            "threads": threads,
            "hashes": count,
            "hashrate_hs": count as f64 / elapsed.as_secs_f64(),
            "cache_s": cache_s,
            "ready_s": ready_s,
            "hashes_before_ready": early,
            "memory": pages::report().to_string(),
        }))
    }

    /// Waits until this holds.
    async fn wait(&self, holds: impl Fn() -> bool) -> anyhow::Result<()> {
        while !holds() {
            let is_stopped = self.stop.is_cancelled();
            ensure!(!is_stopped, "it was stopped before it was at full speed");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn task(memory: Arc<SeedMemory>) -> HashTask {
    HashTask {
        job_id: "hash".to_owned(),
        algo: "rx/0".to_owned(),
        blob: vec![7; BLOB_LEN],
        nonce_offset: NONCE_OFFSET,
        // Nothing is good enough to be told.
        target: 1,
        seed: SEED,
        memory,
        nonces: Arc::new(NonceSupply::whole(0, false)),
    }
}
