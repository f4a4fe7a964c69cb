//! Many scripted miners against one running pool: `headframe-load stratum`, the measuring end of
//! the stratum benchmark.
//!
//! Idle miners log in, stay, and note when each job reaches them. Active ones also send shares that
//! they really mined, at a fixed difficulty of 1 by default, so that every share is hashed and
//! recorded like any other. It is a process of its own, because a process has a limit of open
//! files, and because its work must not hide in the pool's measurements.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod blocks;
mod burst;
mod hashing;
pub(crate) mod measurements;
pub(crate) mod process;
mod scripted_miner;

use hashing::HashingThreads;
use measurements::{Event, Measurements};
use process::Process;
use scripted_miner::{LoadContext, ScriptedMiner};

/// Events that may wait to be measured.
const EVENTS: usize = 65_536;
/// How long all logins may take together.
const LOGINS: Duration = Duration::from_secs(600);
/// How long answers may take after the end.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// Who connects, for how long, and what is looked at.
#[derive(Debug, Clone, Args)]
pub struct StratumLoad {
    /// Where the pool listens.
    #[arg(long)]
    pool: SocketAddr,
    /// The wallet address to log in with; workers are named by number.
    #[arg(long)]
    wallet: String,
    /// Miners that only listen.
    #[arg(long, default_value_t = 1_000)]
    idle: usize,
    /// Miners that also send shares.
    #[arg(long, default_value_t = 100)]
    active: usize,
    /// Shares a second, all active miners together.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// The fixed difficulty to log in with. The pool must allow it: stratum.vardiff.min_difficulty.
    #[arg(long, default_value_t = 1)]
    difficulty: u64,
    /// Seconds to go on after everyone is logged in.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Logins at the same time.
    #[arg(long, default_value_t = 256)]
    logins_at_once: usize,
    /// Loopback addresses to connect from, each in a network of its own, for pools that limit
    /// connections by address.
    #[arg(long, default_value_t = 1)]
    sources: u32,
    /// Threads that mine the shares.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Nice level of those threads: at 19 the pool comes first, at 0 they share the cores with
    /// whatever else runs.
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(i32).range(0..=19))]
    nice: i32,
    /// Mine with RandomX's 2 GiB dataset instead of its cache.
    #[arg(long)]
    full_memory: bool,
    /// Seconds between keepalives of each miner.
    #[arg(long, default_value_t = 60)]
    keepalive_s: u64,
    /// RPC of a monerod on a private chain; a block is made there at an interval, and its way to
    /// the last miner measured.
    #[arg(long)]
    daemon: Option<String>,
    /// Seconds between those blocks.
    #[arg(long, default_value_t = 10)]
    block_every_s: u64,
    /// Active miners send a share at once whenever a new height begins, which shows how soon the
    /// pool verifies on it.
    #[arg(long)]
    eager: bool,
    /// Instead of all that: mine so many shares a miner with the bare library, send them at once,
    /// and compare how fast the pool verifies with how fast the library hashed. For a pool whose
    /// template stays the same meanwhile; the idle miners stay away.
    #[arg(long)]
    burst: Option<u32>,
    /// How often to do that.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The pool's process on this machine, whose memory is read.
    #[arg(long)]
    pid: Option<u32>,
}

/// Runs the load to its end; what was measured.
pub async fn run(load: StratumLoad) -> anyhow::Result<serde_json::Value> {
    load.check()?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let context = Arc::new(load.context(events)?);
    match load.burst {
        Some(shares) => burst::run(&load, &context, shares).await,
        None => run_crowd(&load, context, inbox).await,
    }
}

impl StratumLoad {
    fn check(&self) -> anyhow::Result<()> {
        if self.idle + self.active == 0 || self.logins_at_once == 0 || self.sources == 0 {
            bail!(
                "--idle and --active must not both be 0, --logins-at-once and --sources must be at \
                 least 1"
            );
        }
        if self.active > 0 && !(self.rate > 0.0 && self.rate.is_finite()) {
            bail!("--rate is {}; active miners need one above 0", self.rate);
        }
        Ok(())
    }

    fn context(&self, events: mpsc::Sender<Event>) -> anyhow::Result<LoadContext> {
        let stop = CancellationToken::new();
        Ok(LoadContext {
            pool: self.pool,
            sources: self.sources,
            wallet: self.wallet.clone(),
            difficulty: self.difficulty,
            keepalive: Duration::from_secs(self.keepalive_s.max(1)),
            share_every: Duration::from_secs_f64(
                self.active.max(1) as f64 / self.rate.max(f64::MIN_POSITIVE),
            ),
            eager: self.eager,
            hashing: HashingThreads::start(self.threads, self.nice, self.full_memory, &stop)?,
            login_permits: Semaphore::new(self.logins_at_once),
            login_finished: Arc::new(Semaphore::new(0)),
            refused_logins: AtomicUsize::new(0),
            events,
            stop,
        })
    }
}

/// Connects all miners, lets them mine for the given time, and adds up what they saw.
async fn run_crowd(
    load: &StratumLoad,
    context: Arc<LoadContext>,
    inbox: mpsc::Receiver<Event>,
) -> anyhow::Result<serde_json::Value> {
    let miners = load.idle + load.active;
    let server = load.pid.map(Process::new);
    let before = server.as_ref().map(Process::read).transpose()?;
    let counting = tokio::spawn(measurements::count(inbox));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..miners {
        running.spawn(ScriptedMiner::new(context.clone(), number, number < load.active).run());
    }
    let login_finished = context.login_finished.clone();
    let everyone = login_finished.acquire_many(u32::try_from(miners)?);
    let in_time = tokio::time::timeout(LOGINS, everyone).await.is_ok();
    let all_logged_in = in_time && context.refused_logins.load(Relaxed) == 0;
    let logins_s = began.elapsed().as_secs_f64();
    let idle = server.as_ref().map(Process::read).transpose()?;
    let blocks = match (&load.daemon, all_logged_in) {
        (Some(url), true) => Some(blocks::make_blocks(url, load, &context).await?),
        (None, true) => {
            tokio::time::sleep(Duration::from_secs(load.seconds)).await;
            None
        }
        (_, false) => None,
    };
    let busy = server.as_ref().map(Process::read).transpose()?;
    context.stop.cancel();
    // A miner that does not end in time is counted as it is.
    let _ = tokio::time::timeout(LAST_ANSWERS, async {
        while running.join_next().await.is_some() {}
    })
    .await;
    running.shutdown().await;
    // The counting ends when nobody can send events any more.
    drop(context);
    let measured = counting
        .await
        .context("the counting of events broke down")?;
    let report = report(load, &measured, logins_s, [before, idle, busy], blocks);
    if !all_logged_in {
        let logins = measured.logins.len();
        bail!("only {logins} of {miners} miners could log in: {report}");
    }
    Ok(report)
}

fn report(
    load: &StratumLoad,
    measured: &Measurements,
    logins_s: f64,
    memory: [Option<process::Usage>; 3],
    blocks: Option<u64>,
) -> serde_json::Value {
    let miners = (load.idle + load.active) as f64;
    let [before, idle, busy] = memory;
    let each = before
        .zip(idle)
        .map(|(before, idle)| (idle.resident as f64 - before.resident as f64) / miners);
    json!({
        "miners": {"idle": load.idle, "active": load.active, "logged_in": measured.logins.len(),
        "lost": measured.lost},
        "logins": {"seconds": logins_s, "per_s": measured.logins.len() as f64 / logins_s,
        "ms": measurements::percentiles(&measured.logins)},
        "fan_out": measured.broadcast_latency(miners as usize),
        "blocks_made": blocks, "seed_change": measured.seed_change(miners as usize),
        "shares": {
            "answered_ok": measured.answers.len(), "refused": measured.refused,
            "late_for_their_job": measured.outdated,
            "submit_to_ok_ms": measurements::percentiles(&measured.answers),
        },
        "server": {
            "resident_bytes_before": before.map(|usage| usage.resident),
            "resident_bytes_idle": idle.map(|usage| usage.resident),
            "resident_bytes_busy": busy.map(|usage| usage.resident),
            "resident_bytes_per_connection": each,
            "open_files": idle.map(|usage| usage.files),
        },
    })
}

/// Sends an event to the counter.
async fn record(events: &mpsc::Sender<Event>, event: Event) {
    // The counter ends only after all senders are gone.
    let _ = events.send(event).await;
}
