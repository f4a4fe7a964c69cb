//! Many workers at one CoopMine coordinator: `headframe-load coop`, which is the workers and the
//! coordinator's pool at once.
//!
//! The workers speak gRPC as real ones do and hash nothing. The pool pushes jobs, and each worker
//! notes when each reaches it. Then shares whose hashes were computed before are sent at once, and
//! the coordinator, which recomputes each, is held against the bare library on as many threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use headframe_stratum::randomx::plan;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

mod pool;
mod shares;
mod worker;

use crate::stratum::measurements::{ms, percentiles};
use crate::stratum::process::{Process, Usage};
use pool::{PushedJob, ScriptedPool};
use worker::{Heard, LoadWorker};

/// How long all workers may take to come, and a job to reach all of them.
const ALL_THERE: Duration = Duration::from_secs(120);
const ALL_HEARD: Duration = Duration::from_secs(30);
/// How long the coordinator's memory stays as it is before the workers come.
const REST: Duration = Duration::from_millis(500);
/// Jobs that reached workers and were not looked at yet.
const HEARD: usize = 65_536;

/// How many come, and what they do.
#[derive(Debug, Clone, Args)]
pub struct CoopLoad {
    /// Where the coordinator takes workers.
    #[arg(long)]
    coordinator: SocketAddr,
    /// Where its pool is to listen: what the coordinator has as pool.address.
    #[arg(long)]
    pool_listen: SocketAddr,
    /// Workers.
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    /// Jobs that the pool pushes, and milliseconds between them.
    #[arg(long, default_value_t = 20)]
    jobs: u64,
    #[arg(long, default_value_t = 500)]
    job_every_ms: u64,
    /// Shares that are sent at once, each of another worker until there are no more of them.
    #[arg(long, default_value_t = 600)]
    shares: usize,
    /// Threads that compute their hashes before: as many as the coordinator has for its checks.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The coordinator's process on this machine, whose memory is read.
    #[arg(long)]
    pid: Option<u32>,
}

/// Runs the load to its end; what was measured.
pub async fn run(load: CoopLoad) -> anyhow::Result<Value> {
    let pool = ScriptedPool::open(load.pool_listen).await?;
    run_with(load, pool).await
}

async fn run_with(load: CoopLoad, mut pool: ScriptedPool) -> anyhow::Result<Value> {
    ensure!(load.workers > 0, "--workers must be at least 1");
    let server = load.pid.map(Process::new);
    let usage = || server.as_ref().map(Process::read).transpose();
    pool.push(0).await?;
    let before = match &server {
        Some(server) => Some(at_rest(server).await?),
        None => None,
    };
    let (heard, mut inbox) = mpsc::channel(HEARD);
    let (stop, stopped) = watch::channel(());
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..load.workers {
        let worker = LoadWorker {
            number,
            coordinator: load.coordinator,
            heard: heard.clone(),
            stopped: stopped.clone(),
        };
        running.spawn(worker.run());
    }
    // Without a worker nobody can be heard of any more.
    drop(heard);
    let mut newest = BTreeMap::new();
    let everyone = all_have(&mut inbox, load.workers, 0, &mut newest);
    let came = tokio::time::timeout(ALL_THERE, everyone).await;
    if !matches!(came, Ok(Ok(_))) {
        let lost = running.try_join_next();
        bail!(
            "only {} of {} workers came: {lost:?}",
            newest.len(),
            load.workers
        );
    }
    let came_s = began.elapsed().as_secs_f64();
    let idle = usage()?;
    let fan_out = fan_out(&load, &mut pool, &mut inbox, &mut newest).await?;
    let busy = usage()?;
    let verified = shares::verify(&newest, load.shares, load.threads).await?;
    drop(stop);
    while running.join_next().await.is_some() {}
    Ok(json!({
        "workers": load.workers,
        "came_s": came_s,
        "fan_out": fan_out,
        "verified": verified,
        "coordinator": memory([before, idle, busy], load.workers),
    }))
}

/// The coordinator's process when it has the cache that its first job needs, which is far more
/// memory than its workers take.
async fn at_rest(server: &Process) -> anyhow::Result<Usage> {
    let mut before = server.read()?;
    let resting = async {
        loop {
            tokio::time::sleep(REST).await;
            let now = server.read()?;
            if now.resident >= plan::CACHE && now.resident == before.resident {
                return anyhow::Ok(now);
            }
            before = now;
        }
    };
    let rested = tokio::time::timeout(ALL_THERE, resting).await;
    rested.context("the coordinator's memory does not come to rest")?
}

/// Pushes jobs and notes when each worker has each.
async fn fan_out(
    load: &CoopLoad,
    pool: &mut ScriptedPool,
    inbox: &mut mpsc::Receiver<Heard>,
    newest: &mut BTreeMap<usize, Heard>,
) -> anyhow::Result<Value> {
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for number in 1..=load.jobs {
        let PushedJob { at } = pool.push(number).await?;
        let everyone = all_have(inbox, load.workers, number, newest);
        let arrivals = tokio::time::timeout(ALL_HEARD, everyone).await;
        let arrivals =
            arrivals.with_context(|| format!("job {number} did not reach everyone"))??;
        let took = arrivals
            .iter()
            .map(|arrived| arrived.saturating_duration_since(at));
        let took: Vec<Duration> = took.collect();
        last.extend(took.iter().max());
        each.extend(took);
        let next = Duration::from_millis(load.job_every_ms);
        tokio::time::sleep(next.saturating_sub(at.elapsed())).await;
    }
    Ok(json!({
        "jobs": load.jobs,
        "from_the_pool_to_each_worker_ms": percentiles(&each),
        "to_the_last_worker_ms": percentiles(&last),
    }))
}

/// Waits until each worker has this job; when each had it.
async fn all_have(
    inbox: &mut mpsc::Receiver<Heard>,
    workers: usize,
    job: u64,
    newest: &mut BTreeMap<usize, Heard>,
) -> anyhow::Result<Vec<Instant>> {
    let mut arrivals = BTreeMap::new();
    while arrivals.len() < workers {
        let heard = inbox.recv().await.context("all workers are gone")?;
        if heard.mark == job {
            arrivals.entry(heard.worker).or_insert(heard.at);
            newest.insert(heard.worker, heard);
        }
    }
    Ok(arrivals.into_values().collect())
}

fn memory(usage: [Option<Usage>; 3], workers: usize) -> Value {
    let [before, idle, busy] = usage.map(|usage| usage.map(|usage| usage.resident));
    let each = before
        .zip(idle)
        .map(|(before, idle)| (idle as f64 - before as f64) / workers as f64);
    json!({
        "resident_bytes_before": before,
        "resident_bytes_idle": idle,
        "resident_bytes_busy": busy,
        "resident_bytes_per_worker": each,
    })
}

/// Milliseconds since then, to the hundredth.
fn ms_since(started: Instant) -> f64 {
    ms(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use headframe_coopmine::config::CoordinatorConfig;
    use headframe_coopmine::coordinator::Coordinator;
    use tokio_util::sync::CancellationToken;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_of_a_real_coordinator_have_each_job_and_a_verdict_on_each_share() {
        let pool = ScriptedPool::open("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let mut config = CoordinatorConfig::default();
        config.pool.address = pool.address().unwrap().to_string();
        config.pool.wallet = "load".to_owned();
        config.grpc.listen = "127.0.0.1:0".parse().unwrap();
        config.dashboard.listen = "127.0.0.1:0".parse().unwrap();
        config.facts.folder = "".into();
        let coordinator = Coordinator::bind(config).await.unwrap();
        let (workers, _) = coordinator.addresses().unwrap();
        let stop = CancellationToken::new();
        let coordinating = tokio::spawn(coordinator.run(stop.clone()));
        let load = CoopLoad {
            coordinator: workers,
            pool_listen: pool.address().unwrap(),
            workers: 12,
            jobs: 3,
            job_every_ms: 1,
            shares: 14,
            threads: 1,
            // The load is in this process, too.
            pid: None,
        };
        let report = run_with(load, pool).await.unwrap();
        assert_eq!(report["workers"], 12, "{report}");
        let fan_out = &report["fan_out"]["from_the_pool_to_each_worker_ms"];
        assert!(fan_out["p99"].as_f64() > Some(0.0), "{report}");
        assert_eq!(
            report["verified"]["verdicts"],
            json!({"accepted": 14}),
            "{report}"
        );
        stop.cancel();
        coordinating.await.unwrap().unwrap();
    }
}
