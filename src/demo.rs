//! `headframe demo`: the whole way of a share on real parts, with one status line and a report at the end.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headframe_stratum::miner::{Miner, MinerConfig, MinerHandle};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::daemon::Daemon;
use crate::system::{System, stop_signal};

/// A block every few hundred hashes: some seconds for one thread in light mode.
const NETWORK_DIFFICULTY: u64 = 600;
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
}

/// Runs it. An error when a stage produced no rows within the time given.
pub async fn run(demo: Demo) -> anyhow::Result<()> {
    let started = Instant::now();
    println!("starting monerod (regtest), nats-server, pool, pipelines and SQL in {}", demo.data.display());
    let daemon = Daemon::start(&demo.data.join("monerod"), NETWORK_DIFFICULTY).await?;
    let mut config = Config { data_dir: demo.data.clone(), ..Config::default() };
    config.roles = vec![Role::Stratum, Role::Pipelines, Role::Maintenance, Role::Query];
    config.query.listen = demo.listen;
    config.stratum.listen = demo.stratum;
    config.stratum.wallet = WALLET.to_owned();
    config.stratum.daemon_url.clone_from(&daemon.url);
    config.stratum.start_difficulty = SHARE_DIFFICULTY;
    config.stratum.vardiff.min_difficulty = SHARE_DIFFICULTY;
    config.stratum.hashrate_interval_s = 10;
    let system = match System::start(config).await {
        Ok(system) => system,
        Err(error) => {
            daemon.stop().await;
            return Err(error);
        }
    };
    let shown = show(&demo, &system, started).await;
    println!("\nstopping: the pipelines commit what they hold");
    system.stop().await;
    daemon.stop().await;
    shown
}

async fn show(demo: &Demo, system: &System, started: Instant) -> anyhow::Result<()> {
    let http = system.http.context("the SQL server is not there")?;
    let (pool, stats, seeds) = system.pool.as_ref().context("the pool is not there")?;
    let login = format!("{WALLET}.demo");
    let config = MinerConfig { pool: pool.to_string(), login, pass: "x".to_owned(), rigid: None, threads: 1 };
    let (miner, handle) = Miner::new(config, seeds.clone());
    let stop = CancellationToken::new();
    let mining = tokio::spawn(miner.run(stop.clone()));
    println!("miners connect to {pool}, SQL is answered at http://{http}");
    println!("try in another terminal:");
    println!("  headframe sql \"SELECT worker, outcome, count(*) FROM shares GROUP BY 1, 2\"");
    println!("  headframe sql \"SELECT * FROM pool_hashrate_1m ORDER BY window_start DESC LIMIT 5\"");
    println!("  curl 'http://{http}/api/v1/sql?q=SELECT%20*%20FROM%20blocks%20LIMIT%203'");
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
    let report = report(http).await;
    stop.cancel();
    let _ = mining.await;
    let report = report?;
    println!("\nafter {} s:", started.elapsed().as_secs());
    for (stage, rows) in &report {
        println!("  {stage:<28}{rows:>10} rows");
    }
    let missing: Vec<&str> = report.iter().filter(|(_, rows)| *rows == 0).map(|(stage, _)| *stage).collect();
    if demo.for_.is_some() && !missing.is_empty() {
        bail!("no rows from: {}", missing.join(", "));
    }
    Ok(())
}

async fn status_lines(http: SocketAddr, stats: &headframe_stratum::StatsHandle, miner: &MinerHandle) {
    let mut before = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pool = stats.snapshot();
        let hashes = miner.stats().hashes;
        let rate = (hashes - before.1) as f64 / before.0.elapsed().as_secs_f64();
        before = (Instant::now(), hashes);
        let asked = Instant::now();
        let rows = count(http, "SELECT count(*) AS n FROM shares").await.map_or_else(|error| error.to_string(), |rows| rows.to_string());
        let line = format!(
            "height {} · shares {} · blocks {} · {:.0} H/s · {} rows in SQL, asked in {} ms{}",
            pool.height,
            pool.accepted,
            pool.blocks_accepted,
            rate,
            rows,
            asked.elapsed().as_millis(),
            pool.unready.map(|why| format!(" · {why}")).unwrap_or_default(),
        );
        if std::io::stdout().is_terminal() {
            print!("\r\x1b[K{line}");
        } else {
            println!("{line}");
        }
        // A closed pipe must not end the demo.
        let _ = std::io::stdout().flush();
    }
}

async fn report(http: SocketAddr) -> anyhow::Result<Vec<(&'static str, i64)>> {
    let mut report = Vec::new();
    let stages = [
        ("shares", "SELECT count(*) AS n FROM shares"),
        ("accepted shares", "SELECT count(*) AS n FROM shares WHERE outcome = 'accepted'"),
        ("blocks accepted by monerod", "SELECT count(*) AS n FROM blocks WHERE status = 'accepted'"),
        ("hashrate reports", "SELECT count(*) AS n FROM hashrate"),
        ("hashrate windows of 10 s", "SELECT count(*) AS n FROM hashrate_10s"),
        ("hashrate windows of 1 d", "SELECT count(*) AS n FROM pool_hashrate_1d"),
    ];
    for (stage, statement) in stages {
        report.push((stage, count(http, statement).await?));
    }
    Ok(report)
}

async fn count(http: SocketAddr, statement: &str) -> anyhow::Result<i64> {
    let body = serde_json::json!({"sql": statement, "format": "ndjson"});
    let answer = reqwest::Client::new().post(format!("http://{http}/api/v1/sql")).json(&body).send().await?;
    let text = answer.error_for_status()?.text().await?;
    let row: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).context("not a row")?;
    row.get("n").and_then(Value::as_i64).context("no count in the answer")
}
