//! A real miner: speaks XMRig's dialect to any pool and hashes RandomX on its own threads.
//!
//! It is what the demo mines with and what the tests judge the server by, so it takes a pool at its
//! word in exactly the way XMRig does, and refuses what would crash XMRig.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::randomx::Seeds;
use broken::Broken;
use client::{ClientConfig, ClientEvent, ClientTiming, PoolClient, ShareToSend};
use endpoint::PoolEndpoint;
pub use event::{MinerEvent, MinerJob};
use hashing_threads::{FoundShare, HashTask, HashingThreads, ThreadPlan};
use nonce_supply::NonceSupply;
use pool_message::PoolJob;

pub mod backoff;
pub mod broken;
pub mod client;
pub mod endpoint;
mod event;
pub mod hashing_threads;
pub mod nonce_supply;
pub mod pool_message;

/// What it can do, best first: RandomX over Monero's blobs, and over the headers of Bitcoin-shaped
/// chains.
pub const ALGOS: [&str; 2] = ["rx/0", "rx/opensy"];
/// Solutions waiting for the socket.
const FOUND_QUEUE: usize = 64;
/// Events that nobody has looked at yet; a pool that causes more has to wait.
const EVENTS: usize = 64;
/// How long the pool may take for its last answers, so that a miner ends within a second.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What to mine, where and as whom.
#[derive(Debug, Clone)]
pub struct MinerConfig {
    /// The pool, as [`PoolEndpoint`] reads it: `host:port`, with a scheme if it speaks TLS.
    pub pool: String,
    /// Wallet address, optionally with `.worker` and `+difficulty`.
    pub login: String,
    /// Most pools want `x`.
    pub pass: String,
    /// The worker's name, if it is not in the login.
    pub rigid: Option<String>,
    /// Hashing threads.
    pub threads: usize,
}

/// A miner's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MinerStats {
    /// Whether a login is in force.
    pub connected: bool,
    /// Hashes computed.
    pub hashes: u64,
    /// Shares the pool answered OK.
    pub accepted: u64,
    /// Shares the pool refused.
    pub rejected: u64,
    /// Shares the pool was sent and did not answer before the connection ended.
    pub unanswered: u64,
    /// Jobs received.
    pub jobs: u64,
    /// Logins that were answered well.
    pub logins: u64,
    /// The last refusal or failure, in the pool's or our words.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    connected: AtomicBool,
    hashes: Arc<AtomicU64>,
    accepted: AtomicU64,
    rejected: AtomicU64,
    unanswered: AtomicU64,
    jobs: AtomicU64,
    logins: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Reads a miner's counters.
#[derive(Debug, Clone)]
pub struct MinerHandle(Arc<Counters>);

impl MinerHandle {
    /// The counters now.
    pub fn stats(&self) -> MinerStats {
        let counters = &self.0;
        MinerStats {
            connected: counters.connected.load(Relaxed),
            hashes: counters.hashes.load(Relaxed),
            accepted: counters.accepted.load(Relaxed),
            rejected: counters.rejected.load(Relaxed),
            unanswered: counters.unanswered.load(Relaxed),
            jobs: counters.jobs.load(Relaxed),
            logins: counters.logins.load(Relaxed),
            last_error: counters
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// A miner, to be run.
pub struct Miner {
    config: MinerConfig,
    fallbacks: Vec<PoolEndpoint>,
    nice: i32,
    pin: bool,
    seeds: Arc<Seeds>,
    counters: Arc<Counters>,
    algos: Vec<String>,
    events: Option<mpsc::Sender<MinerEvent>>,
}

impl Miner {
    /// A miner over `seeds`, which it may share with a pool in the same process.
    pub fn new(config: MinerConfig, seeds: Arc<Seeds>) -> (Self, MinerHandle) {
        let counters = Arc::new(Counters::default());
        let algos = ALGOS.map(str::to_owned).to_vec();
        (
            Self {
                config,
                fallbacks: Vec::new(),
                nice: 0,
                pin: true,
                seeds,
                counters: counters.clone(),
                algos,
                events: None,
            },
            MinerHandle(counters),
        )
    }

    /// Offers other names for what it can do: RandomX, with the nonce where the job says.
    pub fn offering(mut self, algos: &[&str]) -> Self {
        self.algos = algos.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Pools to use, in this order, while the first is away.
    pub fn with_fallbacks(mut self, pools: Vec<PoolEndpoint>) -> Self {
        self.fallbacks = pools;
        self
    }

    /// Lets the hashing threads be nicer than the rest of the process.
    pub fn with_nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }

    /// Whether each hashing thread keeps to a core of its own, where there is one for each.
    pub fn with_pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Tells what happens. Whoever listens must go on listening, or let the receiver go.
    pub fn with_events(mut self) -> (Self, mpsc::Receiver<MinerEvent>) {
        let (events, received) = mpsc::channel(EVENTS);
        self.events = Some(events);
        (self, received)
    }

    /// Mines until `stop`, reconnecting as often as needed, to a pool that is away less and less
    /// often; what it was sent by then the pool may still answer for a moment. Fails only if its
    /// threads cannot be started, or if the pool's address is none.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let pools = self.pools()?;
        let (sender, mut found) = mpsc::channel(FOUND_QUEUE);
        let plan = ThreadPlan {
            threads: self.config.threads,
            nice: self.nice,
            pin: self.pin,
        };
        let threads = HashingThreads::start(plan, self.counters.hashes.clone(), sender)?;
        let (submit, submissions) = mpsc::channel(FOUND_QUEUE);
        let (sender, mut events) = mpsc::channel(EVENTS);
        let client = PoolClient::new(ClientConfig {
            pools,
            login: self.config.login.clone(),
            pass: self.config.pass.clone(),
            rigid: self.config.rigid.clone(),
            algos: self.algos.clone(),
            leases: false,
            timing: ClientTiming {
                drain_at_stop: LAST_ANSWERS,
                ..ClientTiming::default()
            },
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(client.run(submissions, sender, stop.clone()));
        let mut mining = Mining {
            miner: &self,
            threads: &threads,
            session: None,
            shares: 0,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = mining.run(&mut events, &mut found, submit) => {}
            never = threads.follow(&self.seeds) => match never {},
        }
        threads.pause();
        while let Some(event) = events.recv().await {
            self.count(&event);
        }
        self.counters.connected.store(false, Relaxed);
        // A thread that is handing a solution over must not wait for a reader that is gone.
        drop(found);
        threads.stop().await;
        Ok(())
    }

    fn pools(&self) -> std::io::Result<Vec<PoolEndpoint>> {
        let first: Result<PoolEndpoint, String> = self.config.pool.parse();
        let first = first.map_err(|reason| {
            let said = format!("the pool {:?} is no address: {reason}", self.config.pool);
            std::io::Error::new(std::io::ErrorKind::InvalidInput, said)
        })?;
        Ok(std::iter::once(first)
            .chain(self.fallbacks.iter().cloned())
            .collect())
    }

    /// Counts what the pool says, or does not say, to shares.
    fn count(&self, event: &ClientEvent) {
        let counters = &self.counters;
        match event {
            ClientEvent::Answer { refusal: None, .. } => {
                counters.accepted.fetch_add(1, Relaxed);
            }
            ClientEvent::Answer {
                refusal: Some(reason),
                ..
            } => {
                counters.rejected.fetch_add(1, Relaxed);
                self.note(reason.clone());
            }
            ClientEvent::Lost {
                unanswered: tickets,
                ..
            }
            | ClientEvent::Unanswered { tickets } => {
                let count = tickets.len() as u64;
                counters.unanswered.fetch_add(count, Relaxed);
            }
            _ => {}
        }
    }

    async fn emit(&self, event: MinerEvent) {
        if let Some(events) = &self.events {
            // Whoever let the receiver go does not want to know.
            let _ = events.send(event).await;
        }
    }

    fn note(&self, error: String) {
        *self
            .counters
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A miner at work: jobs to the threads, solutions to the pool.
struct Mining<'a> {
    miner: &'a Miner,
    threads: &'a HashingThreads,
    /// The connection that is logged in.
    session: Option<u64>,
    /// Shares sent.
    shares: u64,
}

impl Mining<'_> {
    async fn run(
        &mut self,
        events: &mut mpsc::Receiver<ClientEvent>,
        found: &mut mpsc::Receiver<FoundShare>,
        submit: mpsc::Sender<ShareToSend>,
    ) {
        let mut waiting: Option<ShareToSend> = None;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => return,
                },
                Some(found) = found.recv(), if waiting.is_none() => waiting = self.share(found),
                place = submit.reserve(), if waiting.is_some() => {
                    if let (Ok(place), Some(share)) = (place, waiting.take()) {
                        place.send(share);
                    }
                }
            }
        }
    }

    async fn hear(&mut self, event: ClientEvent) {
        self.miner.count(&event);
        let counters = &self.miner.counters;
        match event {
            ClientEvent::LoggedIn {
                session, pool, job, ..
            } => {
                self.session = Some(session);
                counters.connected.store(true, Relaxed);
                counters.logins.fetch_add(1, Relaxed);
                let summary = job.summary();
                self.miner
                    .emit(MinerEvent::LoggedIn { pool, job: summary })
                    .await;
                self.mine(job).await;
            }
            ClientEvent::Job { job, .. } => {
                self.miner.emit(MinerEvent::Job(job.summary())).await;
                self.mine(job).await;
            }
            ClientEvent::Answer { .. }
            | ClientEvent::Unanswered { .. }
            | ClientEvent::Unsent { .. }
            | ClientEvent::Leased { .. } => {}
            ClientEvent::Lost { pool, broken, .. } => self.lost(pool, &broken).await,
        }
    }

    async fn lost(&mut self, pool: String, broken: &Broken) {
        self.session = None;
        self.miner.counters.connected.store(false, Relaxed);
        self.threads.pause();
        tracing::warn!(%pool, reason = %broken, "miner lost its pool");
        self.miner.note(broken.to_string());
        self.miner.emit(broken.event(pool)).await;
    }

    async fn mine(&mut self, job: PoolJob) {
        self.miner.counters.jobs.fetch_add(1, Relaxed);
        let memory = match self.miner.seeds.memory(job.seed).await {
            Ok(memory) => memory,
            Err(error) => {
                tracing::error!(%error, "a job cannot be hashed");
                self.threads.pause();
                return self.miner.note(error.to_string());
            }
        };
        self.threads.work(HashTask {
            nonces: Arc::new(NonceSupply::whole(job.fixed_byte(), job.nicehash)),
            job_id: job.job_id,
            algo: job.algo,
            blob: job.blob,
            nonce_offset: job.nonce_offset,
            target: job.target,
            seed: job.seed,
            memory,
        });
        self.threads.fit_memory(&self.miner.seeds);
        self.miner.seeds.prepare_ahead(job.next_seed);
    }

    fn share(&mut self, found: FoundShare) -> Option<ShareToSend> {
        let session = self.session.filter(|_| self.threads.is_current(&found))?;
        self.shares += 1;
        Some(ShareToSend {
            session,
            ticket: self.shares,
            job_id: found.task.job_id.clone(),
            algo: found.task.algo.clone(),
            nonce: found.nonce,
            hash: found.hash,
        })
    }
}
