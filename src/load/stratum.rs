//! Many scripted miners against one running pool: `headframe load stratum`, the measuring end of
//! the stratum benchmark.
//!
//! Idle miners log in, stay, and note when each job reaches them. Active ones also send shares that
//! they really mined, at a fixed difficulty of 1 by default, so that every share is hashed and
//! recorded like any other. It is a process of its own, because a process has a limit of open
//! files, and because its work must not hide in the pool's figures.

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
mod figures;
mod hashers;
mod miner;
mod server;

use figures::{Event, Figures};
use hashers::Hashers;
use miner::{Miner, Shared};
use server::Server;

/// Events that may wait to be counted.
const EVENTS: usize = 65_536;
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

/// Runs it and prints one line of JSON.
pub async fn run(load: StratumLoad) -> anyhow::Result<()> {
    let miners = load.idle + load.active;
    if miners == 0 || load.logins_at_once == 0 || load.sources == 0 {
        bail!(
            "--idle and --active must not both be 0, --logins-at-once and --sources must be at least 1"
        );
    }
    if load.active > 0 && !(load.rate > 0.0 && load.rate.is_finite()) {
        bail!("--rate is {}; active miners need one above 0", load.rate);
    }
    let (events, inbox) = mpsc::channel(EVENTS);
    let (stop, settled) = (CancellationToken::new(), Arc::new(Semaphore::new(0)));
    let shared = Arc::new(Shared {
        pool: load.pool,
        sources: load.sources,
        wallet: load.wallet.clone(),
        difficulty: load.difficulty,
        keepalive: Duration::from_secs(load.keepalive_s.max(1)),
        share_every: Duration::from_secs_f64(
            load.active.max(1) as f64 / load.rate.max(f64::MIN_POSITIVE),
        ),
        eager: load.eager,
        hashers: Hashers::start(load.threads, load.full_memory, &stop)?,
        gate: Semaphore::new(load.logins_at_once),
        settled: settled.clone(),
        turned_away: AtomicUsize::new(0),
        events: events.clone(),
        stop: stop.clone(),
    });
    if let Some(shares) = load.burst {
        println!("{}", burst::run(&load, &shared, shares).await?);
        return Ok(());
    }
    let server = load.pid.map(Server::new);
    let before = server.as_ref().map(Server::read).transpose()?;
    let counting = tokio::spawn(figures::count(inbox));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..miners {
        running.spawn(Miner::new(shared.clone(), number, number < load.active).run());
    }
    let everyone = settled.acquire_many(u32::try_from(miners)?);
    let in_time = tokio::time::timeout(Duration::from_secs(600), everyone)
        .await
        .is_ok();
    let all_in = in_time && shared.turned_away.load(Relaxed) == 0;
    let logins_s = began.elapsed().as_secs_f64();
    let idle = server.as_ref().map(Server::read).transpose()?;
    let made = match (&load.daemon, all_in) {
        (Some(url), true) => Some(blocks::make(url, &load, &shared).await?),
        (None, true) => {
            tokio::time::sleep(Duration::from_secs(load.seconds)).await;
            None
        }
        (_, false) => None,
    };
    let busy = server.as_ref().map(Server::read).transpose()?;
    stop.cancel();
    // Whoever does not come home in time is counted as it is.
    let _ = tokio::time::timeout(LAST_ANSWERS, async {
        while running.join_next().await.is_some() {}
    })
    .await;
    running.shutdown().await;
    drop((shared, events));
    let counted = counting
        .await
        .context("the counting of events broke down")?;
    println!(
        "{}",
        told(&load, &counted, logins_s, [before, idle, busy], made)
    );
    if !all_in {
        bail!(
            "only {} of {miners} miners could log in",
            counted.logins.len()
        );
    }
    Ok(())
}

fn told(
    load: &StratumLoad,
    counted: &Figures,
    logins_s: f64,
    memory: [Option<server::Reading>; 3],
    blocks: Option<u64>,
) -> serde_json::Value {
    let miners = (load.idle + load.active) as f64;
    let [before, idle, busy] = memory;
    let each = before
        .zip(idle)
        .map(|(before, idle)| (idle.resident as f64 - before.resident as f64) / miners);
    json!({
        "miners": {"idle": load.idle, "active": load.active, "logged_in": counted.logins.len(), "lost": counted.lost},
        "logins": {"seconds": logins_s, "per_s": counted.logins.len() as f64 / logins_s, "ms": figures::times(&counted.logins)},
        "fan_out": counted.fan_out(miners as usize),
        "blocks_made": blocks, "seed_change": counted.seed_change(miners as usize),
        "shares": {
            "answered_ok": counted.answers.len(), "refused": counted.refused, "late_for_their_job": counted.outrun,
            "submit_to_ok_ms": figures::times(&counted.answers),
        },
        "server": {
            "resident_bytes_before": before.map(|reading| reading.resident), "resident_bytes_idle": idle.map(|reading| reading.resident),
            "resident_bytes_busy": busy.map(|reading| reading.resident), "resident_bytes_per_connection": each,
            "open_files": idle.map(|reading| reading.files),
        },
    })
}

/// Tells the counter, which is always there.
async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    // It goes away only after everyone who tells has.
    let _ = events.send(event).await;
}
