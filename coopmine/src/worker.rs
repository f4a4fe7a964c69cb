//! A worker: hashes what the coordinator leases to it, and tells it what it finds.
//!
//! The hashing is the miner's of the stratum crate. While the coordinator is away the worker goes
//! on with the leases it has, which nobody else gets, and hands its results over when it is back.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headframe_stratum::miner::backoff::retry_delay;
use headframe_stratum::miner::hashing_threads::{FoundShare, HashingThreads, ThreadPlan};
use headframe_stratum::randomx::{RandomxSettings, Seeds};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::cluster::PROTOCOL_VERSION;
use crate::config::{ConfigError, WorkerConfig};
use crate::proto::client::CoopMineClient;
use crate::proto::messages::{
    RegisterRequest, RegisterResponse, StreamJobsRequest, UnregisterRequest,
};
use crate::tls::TlsError;
use connection::CoordinatorConnection;
use hashing::Hashing;

mod commands;
mod connection;
mod hashing;
mod sensors;
mod session;

/// Results that wait for the coordinator.
const FOUND_QUEUE: usize = 64;
/// How long the coordinator may take to hear that the worker goes.
const GOODBYE: Duration = Duration::from_millis(300);

/// Why a worker does not start.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The threads.
    #[error("cannot start the hashing threads: {0}")]
    Threads(std::io::Error),
    /// The coordinator will not have it, whenever it comes.
    #[error("{0}")]
    Refused(String),
}

/// How a session with the coordinator ended.
enum SessionEnd {
    /// Try again.
    Lost(String),
    /// The coordinator said to end.
    Shutdown,
    /// No later try would be better.
    Refused(String),
}

/// A worker, to be run.
pub struct Worker {
    config: WorkerConfig,
    connection: CoordinatorConnection,
    /// The session in force, for the goodbye.
    session: Mutex<Option<(CoopMineClient, u64)>>,
}

impl Worker {
    /// A worker whose configuration is good.
    pub fn new(config: WorkerConfig) -> Result<Self, WorkerError> {
        let config = config.completed()?;
        let connection = CoordinatorConnection::new(&config.coordinator)?;
        Ok(Self {
            config,
            connection,
            session: Mutex::new(None),
        })
    }

    /// Mines until `stop`, or until the coordinator says to end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let mining = &self.config.mining;
        let seeds = Seeds::with(&RandomxSettings {
            mode: mining.mode,
            huge_pages: mining.huge_pages,
            build_threads: 0,
        });
        let seeds = Arc::new(seeds.with_build_nice(mining.nice));
        tracing::info!(threads = mining.threads, mode = seeds.choice().mode.as_str(),
            reason = %seeds.choice().reason, "hashing");
        let hashes = Arc::new(AtomicU64::new(0));
        let (sender, mut found) = mpsc::channel(FOUND_QUEUE);
        let plan = ThreadPlan {
            threads: mining.threads,
            nice: mining.nice,
            pin: mining.pin,
        };
        let threads = HashingThreads::start(plan, hashes.clone(), sender);
        let threads = threads.map_err(WorkerError::Threads)?;
        let mut tasks = JoinSet::new();
        let (builder, stopped) = (seeds.clone(), stop.clone());
        tasks.spawn(async move { builder.build_datasets(stopped).await });
        let hashing = Hashing::new(threads, seeds, hashes);
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.serve(&hashing, &mut found) => ended,
            never = hashing.follow_memory() => match never {},
        };
        stop.cancel();
        // A thread that is handing a result over must not wait for a reader that is gone.
        drop(found);
        tokio::join!(hashing.stop(), self.say_goodbye());
        // A dataset being built is given up as soon as its builder sees the stop.
        while tasks.join_next().await.is_some() {}
        ended
    }

    /// Tells the coordinator that the worker goes, if it hears it soon.
    async fn say_goodbye(&self) {
        let session = self.lock().take();
        let Some((client, session)) = session else {
            return;
        };
        let worker_id = self.config.worker.id.clone();
        let goodbye = client.unregister(UnregisterRequest { worker_id, session });
        // It will find out by itself, too.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(CoopMineClient, u64)>> {
        // It is replaced whole, so a panic elsewhere does not spoil it.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One session after the other.
    async fn serve(
        &self,
        hashing: &Hashing,
        found: &mut mpsc::Receiver<FoundShare>,
    ) -> Result<(), WorkerError> {
        let mut failures = 0_u32;
        // Results whose end is not known; they outlive a session.
        let mut open = Vec::new();
        loop {
            let ended = match self.register().await {
                Ok((client, taken)) => {
                    failures = 0;
                    tracing::info!(cluster = %taken.cluster_name, "registered");
                    *self.lock() = Some((client.clone(), taken.session));
                    let session = session::Session::new(&self.config, client, taken, hashing);
                    session.run(found, &mut open).await
                }
                Err(ended) => ended,
            };
            match ended {
                SessionEnd::Shutdown => {
                    tracing::info!("the coordinator says to end");
                    return Ok(());
                }
                SessionEnd::Refused(reason) => return Err(WorkerError::Refused(reason)),
                SessionEnd::Lost(reason) => {
                    failures = failures.saturating_add(1);
                    self.connection.call_next();
                    tracing::warn!(%reason, "no coordinator; trying again");
                }
            }
            tokio::time::sleep(retry_delay(failures, rand::random())).await;
        }
    }

    async fn register(&self) -> Result<(CoopMineClient, RegisterResponse), SessionEnd> {
        let config = &self.config;
        let client = self.connection.connect().await?;
        let request = RegisterRequest {
            worker_id: config.worker.id.clone(),
            worker_name: config.worker.name.clone(),
            protocol: PROTOCOL_VERSION,
            algos: headframe_stratum::miner::ALGOS.map(str::to_owned).to_vec(),
            threads: u32::try_from(config.mining.threads).unwrap_or(u32::MAX),
            agent: concat!("coopmine/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        match client.register(request).await {
            Ok(taken) => Ok((client, taken)),
            Err(status) => Err(self.connection.explain(&status)),
        }
    }
}

/// How a failed call ends the session.
fn ended_by(status: &Status) -> SessionEnd {
    let said = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => SessionEnd::Refused(said),
        _ => SessionEnd::Lost(said),
    }
}

fn stream_request(worker: &str, session: u64) -> StreamJobsRequest {
    StreamJobsRequest {
        worker_id: worker.to_owned(),
        session,
    }
}
