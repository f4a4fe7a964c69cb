//! A worker without a coordinator: it mines at pools by itself, and says on standard output what
//! happens.
//!
//! It is what `headframe mine` and `coopmine worker --pool` run.

use std::sync::Arc;
use std::time::Instant;

use headframe_stratum::miner::endpoint::PoolEndpoint;
use headframe_stratum::miner::{Miner, MinerConfig};
use headframe_stratum::randomx::{RandomxSettings, Seeds};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, MiningSection, WorkerConfig};
use crate::status_line::print_line;
use show::Show;

mod show;

/// Why a worker without a coordinator does not start, or ends.
#[derive(Debug, Error)]
pub enum StandaloneError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No pool was named.
    #[error("there is no pool to mine at")]
    NoPool,
    /// The hashing threads.
    #[error("cannot start mining: {0}")]
    Start(#[from] std::io::Error),
    /// The pool will not have the first login, whenever it comes.
    #[error("{0}")]
    Refused(String),
    /// A task that panicked.
    #[error("mining ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Where to mine, as whom and how.
#[derive(Debug, Clone)]
pub struct StandaloneConfig {
    /// The pools, the best first: others are used while it is away.
    pub pools: Vec<PoolEndpoint>,
    /// Wallet address, optionally with `.worker` and `+difficulty`.
    pub login: String,
    /// Most pools want `x`.
    pub password: String,
    /// The worker's name, if it is not in the login.
    pub rig: Option<String>,
    /// Threads, memory and the like.
    pub mining: MiningSection,
}

impl StandaloneConfig {
    /// What a worker's configuration says, where it has a pool.
    pub fn of_worker(config: WorkerConfig) -> Result<Self, StandaloneError> {
        let config = config.completed()?;
        let pool = config.pool.ok_or(StandaloneError::NoPool)?;
        Ok(Self {
            pools: pool.endpoints()?,
            login: pool.wallet,
            password: pool.password,
            rig: Some(config.worker.name),
            mining: config.mining,
        })
    }
}

/// Mines until `stop`, or until the first login is refused for good. It ends within a second.
pub async fn mine(
    config: StandaloneConfig,
    stop: &CancellationToken,
) -> Result<(), StandaloneError> {
    let (started, stop) = (Instant::now(), stop.child_token());
    let mining = &config.mining;
    let seeds = Seeds::with(&RandomxSettings {
        mode: mining.mode,
        huge_pages: mining.huge_pages,
        build_threads: 0,
    });
    let seeds = Arc::new(seeds.with_build_nice(mining.nice));
    let threads = mining.thread_count();
    let mut pools = config.pools.into_iter();
    let pool = pools.next().ok_or(StandaloneError::NoPool)?;
    let choice = seeds.choice();
    print_line(&format!(
        "mining at {pool} with {threads} threads in {} mode ({}); Ctrl-C ends",
        choice.mode.as_str(),
        choice.reason
    ));
    let miner = MinerConfig {
        pool: pool.to_string(),
        login: config.login,
        pass: config.password,
        rigid: config.rig,
        threads,
    };
    let (miner, handle) = Miner::new(miner, seeds.clone());
    let miner = miner.with_fallbacks(pools.collect());
    let miner = miner.with_nice(mining.nice).with_pin(mining.pin);
    let (miner, events) = miner.with_events();
    let mut tasks = JoinSet::new();
    tasks.spawn(miner.run(stop.clone()));
    let (builder, stopped) = (seeds.clone(), stop.clone());
    tasks.spawn(async move {
        builder.build_datasets(stopped).await;
        Ok(())
    });
    let mut show = Show::new(seeds, handle);
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(ended) => ended.map_err(StandaloneError::from),
            Err(error) => Err(error.into()),
        },
        ended = show.run(events) => ended,
    };
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    show.end(started);
    ended
}
