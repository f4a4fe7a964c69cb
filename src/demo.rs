//! `headframe demo`: the whole way of a share on real parts, with one status line and a report at the end.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headframe_stratum::miner::{Miner, MinerConfig, MinerHandle};
use headframe_stratum::randomx::plan::Wish;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::daemon::Daemon;
use crate::system::{Pool, System, stop_signal};

const SHARE_DIFFICULTY: u64 = 50;
/// A mainnet-format address, which regtest takes; nobody's coins are at stake on a private chain.
const WALLET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// What is asked of a demo.
pub struct Demo {
    /// How long it runs; until Ctrl-C when `None`.
    pub for_: Option<Duration>,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where SQL is answered.
    pub listen: SocketAddr,
    /// Where miners connect.
    pub stratum: SocketAddr,
    /// Hashes a block costs.
    pub difficulty: u64,
}

/// How long the pool may take to get its first template.
const READY: Duration = Duration::from_secs(60);

/// What every stage must have added, and how it is asked for.
const STAGES: [(&str, &str); 6] = [
    ("shares", "SELECT count(*) AS n FROM shares"),
    ("accepted shares", "SELECT count(*) AS n FROM shares WHERE outcome = 'accepted'"),
    ("blocks accepted by monerod", "SELECT count(*) AS n FROM blocks WHERE status = 'accepted'"),
    ("hashrate reports", "SELECT count(*) AS n FROM hashrate"),
    ("shares in windows of 10 s", "SELECT CAST(coalesce(sum(accepted_shares), 0) AS BIGINT) AS n FROM hashrate_10s"),
    ("shares in windows of 1 d", "SELECT CAST(coalesce(sum(accepted_shares), 0) AS BIGINT) AS n FROM pool_hashrate_1d"),
];

/// Everything that runs.
struct Running {
    daemon: Daemon,
    system: System,
    /// What the folder held of each stage before.
    before: Vec<i64>,
}

/// Runs it. An error when a stage produced no rows.
pub async fn run(demo: Demo) -> anyhow::Result<()> {
    let started = Instant::now();
    println!("starting monerod (regtest), nats-server, pool, pipelines and SQL in {}", demo.data.display());
    let running = tokio::select! {
        running = Box::pin(start(&demo)) => running?,
        () = stop_signal() => bail!("stopped before everything was up"),
    };
    let shown = Box::pin(show(&demo, &running, started)).await;
    println!("\nstopping: the pipelines commit what they hold; another Ctrl-C ends at once");
    let stop = async {
        running.system.stop().await;
        running.daemon.stop().await;
    };
    tokio::select! {
        () = stop => {}
        () = stop_signal() => println!("ended at once; the next start takes up what was not committed"),
    }
    if shown.is_ok() {
        println!("everything is kept in {0}: start again to go on from there, or remove the folder", demo.data.display());
        println!("the tables are plain Delta tables, for DuckDB: SELECT count(*) FROM delta_scan('{}')", shares_table(&demo));
    }
    shown
}

fn shares_table(demo: &Demo) -> String {
    demo.data.join("tables/shares").display().to_string()
}

async fn start(demo: &Demo) -> anyhow::Result<Running> {
    let daemon = Daemon::start(&demo.data.join("monerod"), demo.difficulty).await?;
    let mut config = Config { data_dir: demo.data.clone(), ..Config::default() };
    config.roles = vec![Role::Stratum, Role::Pipelines, Role::Maintenance, Role::Query];
    config.query.listen = demo.listen;
    config.stratum.listen = demo.stratum;
    config.stratum.wallet = WALLET.to_owned();
    config.stratum.daemon_url.clone_from(&daemon.url);
    // A newcomer wants to see something, not to give 2 GiB of memory for it.
    config.stratum.randomx.mode = Wish::Light;
    config.stratum.start_difficulty = SHARE_DIFFICULTY;
    config.stratum.vardiff.min_difficulty = SHARE_DIFFICULTY;
    // Rows that come every few seconds show more than rows that come every quarter of a minute.
    config.stratum.vardiff.target_s = 3.0;
    config.stratum.hashrate_interval_s = 10;
    let begun = async {
        let system = Box::pin(System::start(config)).await?;
        pool_ready(&system).await?;
        let before = counts(system.http).await?;
        anyhow::Ok((system, before))
    };
    match Box::pin(begun).await {
        Ok((system, before)) => Ok(Running { daemon, system, before }),
        Err(error) => {
            daemon.stop().await;
            Err(error)
        }
    }
}

/// A miner that logs in before there is anything to mine would be sent away.
async fn pool_ready(system: &System) -> anyhow::Result<()> {
    let Pool { stats, .. } = system.pool.as_ref().context("the pool is not there")?;
    let deadline = Instant::now() + READY;
    while let Some(why) = stats.snapshot().unready {
        if Instant::now() > deadline {
            bail!("the pool has nothing to mine after {} s: {why}", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn show(demo: &Demo, running: &Running, started: Instant) -> anyhow::Result<()> {
    let http = running.system.http;
    let pool = running.system.pool.as_ref().context("the pool is not there")?;
    let Pool { address, stats, seeds, .. } = pool;
    let login = format!("{WALLET}.demo");
    let config = MinerConfig { pool: address.to_string(), login, pass: "x".to_owned(), rigid: None, threads: 1 };
    let (miner, handle) = Miner::new(config, seeds.clone());
    let stop = CancellationToken::new();
    let mining = tokio::spawn(miner.run(stop.clone()));
    invite(http, pool);
    let end = async {
        match demo.for_ {
            Some(length) => tokio::time::sleep(length.saturating_sub(started.elapsed())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        () = stop_signal() => {}
        () = status_lines(http, stats, &handle) => {}
    }
    stop.cancel();
    // A miner that panicked has nothing to hand over; its missing rows tell.
    let _ = mining.await;
    let after = counts(http).await?;
    println!("\nafter {} s{:>36}{:>12}", started.elapsed().as_secs(), "in this run", "in all");
    let mut missing = Vec::new();
    for ((stage, _), (before, after)) in STAGES.iter().zip(running.before.iter().zip(after)) {
        println!("  {stage:<30}{:>12}{after:>12}", after - before);
        if after <= *before {
            missing.push(*stage);
        }
    }
    if !missing.is_empty() {
        bail!("nothing in this run from: {}; let it run for a minute", missing.join(", "));
    }
    Ok(())
}

/// What to try next, as it can be copied.
fn invite(http: SocketAddr, pool: &Pool) {
    let program = std::env::args().next().unwrap_or_else(|| "headframe".to_owned());
    let url = if http.port() == 8080 { String::new() } else { format!(" --url http://{http}") };
    println!("miners connect to {}, SQL is answered at http://{http}; Ctrl-C ends with a report", pool.address);
    if let Some(fingerprint) = &pool.tls_fingerprint {
        println!("with TLS on the same port; its fingerprint for XMRig is {fingerprint}");
    }
    println!("try in another terminal:");
    println!("  {program} sql{url} \"SELECT worker, outcome, count(*) FROM shares GROUP BY 1, 2\"");
    println!("  {program} sql{url} \"SELECT * FROM pool_hashrate_1m ORDER BY window_start DESC LIMIT 5\"");
    println!("  curl 'http://{http}/api/v1/sql?q=SELECT%20*%20FROM%20blocks%20LIMIT%203'");
    println!("  curl http://{http}/ready");
}

async fn status_lines(http: SocketAddr, stats: &headframe_stratum::StatsHandle, miner: &MinerHandle) {
    let mut before = (Instant::now(), miner.stats().hashes);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pool = stats.snapshot();
        let hashes = miner.stats().hashes;
        let rate = (hashes - before.1) as f64 / before.0.elapsed().as_secs_f64();
        before = (Instant::now(), hashes);
        let asked = Instant::now();
        let sql = match ask(http, STAGES[0].1).await {
            Ok((rows, why)) => {
                let fresh = why.map_or_else(|| "all that JetStream has".to_owned(), |why| format!("incomplete: {why}"));
                format!("{rows} rows in SQL, {fresh}, in {} ms", asked.elapsed().as_millis())
            }
            Err(error) => format!("no answer in SQL: {error:#}"),
        };
        let line = format!(
            "height {} · shares {} · blocks {} · {rate:.0} H/s · {sql}{}",
            pool.height,
            pool.accepted,
            pool.blocks_accepted,
            pool.unready.map(|why| format!(" · {why}")).unwrap_or_default(),
        );
        let mut out = std::io::stdout();
        // A closed pipe must not end the demo.
        let _ = if out.is_terminal() { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }
}

async fn counts(http: SocketAddr) -> anyhow::Result<Vec<i64>> {
    let mut counts = Vec::new();
    for (stage, statement) in STAGES {
        counts.push(ask(http, statement).await.with_context(|| format!("counting {stage}"))?.0);
    }
    Ok(counts)
}

/// A number, and why it is not of all that JetStream has acknowledged, if so.
async fn ask(http: SocketAddr, statement: &str) -> anyhow::Result<(i64, Option<String>)> {
    let body = serde_json::json!({"sql": statement, "format": "json"});
    let answer = reqwest::Client::new().post(format!("http://{http}/api/v1/sql")).json(&body).send().await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    let number = answer["rows"][0]["n"].as_i64().with_context(|| format!("no number in {answer}"))?;
    let streams = answer["meta"]["streams"].as_array().into_iter().flatten();
    let why = streams.filter_map(|stream| stream["reason"].as_str()).next();
    Ok((number, why.map(str::to_owned)))
}
