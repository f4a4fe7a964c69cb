//! A real miner: speaks XMRig's dialect to any pool and hashes RandomX on its own threads.
//!
//! It is what the demo mines with and what the tests judge the server by, so it takes a pool at its
//! word in exactly the way XMRig does, and refuses what would crash XMRig.

use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::protocol::line::{LineError, LineReader};
use crate::randomx::{HashError, Seeds};
pub use event::{MinerEvent, MinerJob};
use hashing_threads::{FoundShare, HashTask, HashingThreads};
use pool_message::{PoolMessage, WireJob};

mod event;
mod hashing_threads;
mod pool_message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(60);
/// A pool that says nothing for so long is gone: it has been sent two keepalives by then.
const SILENCE: Duration = Duration::from_secs(150);
/// A connection that held for so long was a good one, and the next is tried soon.
const SETTLED: Duration = Duration::from_secs(30);
/// Seconds between two tries at most.
const LONGEST_WAIT_S: u64 = 30;
/// XMRig's own limit for a line from a pool.
const MAX_LINE: usize = 64 * 1024;
/// What it can do, best first: RandomX over Monero's blobs, and over the headers of Bitcoin-shaped
/// chains.
const ALGOS: [&str; 2] = ["rx/0", "rx/opensy"];
/// Solutions waiting for the socket.
const FOUND_QUEUE: usize = 64;
/// Events that nobody has looked at yet; a pool that causes more has to wait.
const EVENTS: usize = 64;

/// What to mine, where and as whom.
#[derive(Debug, Clone)]
pub struct MinerConfig {
    /// `host:port`.
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
    seeds: Arc<Seeds>,
    counters: Arc<Counters>,
    algos: Vec<String>,
    events: Option<mpsc::Sender<MinerEvent>>,
}

/// Why a connection to a pool ended.
#[derive(Debug, Error)]
enum Broken {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    #[error("the pool refused the login: {0}")]
    Login(String),
    #[error("the pool gives work for the algorithm {0:?}, which this miner does not have")]
    Algo(String),
    #[error("the pool sent what XMRig would not accept: {0}")]
    Protocol(&'static str),
    #[error("the pool said nothing for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the pool closed the connection")]
    Closed,
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("sending failed: {0}")]
    Send(#[from] std::io::Error),
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl Broken {
    fn event(&self) -> MinerEvent {
        match self {
            Broken::Login(reason) => MinerEvent::Refused {
                reason: reason.clone(),
                for_good: event::is_for_good(reason),
            },
            Broken::Algo(_) => MinerEvent::Refused {
                reason: self.to_string(),
                for_good: true,
            },
            Broken::Connect(_, reason) => MinerEvent::Lost(reason.clone()),
            other => MinerEvent::Lost(other.to_string()),
        }
    }
}

impl Miner {
    /// A miner over `seeds`, which it may share with a pool in the same process.
    pub fn new(config: MinerConfig, seeds: Arc<Seeds>) -> (Self, MinerHandle) {
        let counters = Arc::new(Counters::default());
        let algos = ALGOS.map(str::to_owned).to_vec();
        (
            Self {
                config,
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

    /// Tells what happens. Whoever listens must go on listening, or let the receiver go.
    pub fn with_events(mut self) -> (Self, mpsc::Receiver<MinerEvent>) {
        let (events, received) = mpsc::channel(EVENTS);
        self.events = Some(events);
        (self, received)
    }

    /// Mines until `stop`, reconnecting as often as needed, to a pool that is away less and less
    /// often. Fails only if its threads cannot be started.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let (sender, mut found) = mpsc::channel(FOUND_QUEUE);
        let threads =
            HashingThreads::start(self.config.threads, self.counters.hashes.clone(), sender)?;
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            let (started, logins) = (Instant::now(), self.counters.logins.load(Relaxed));
            let broken = tokio::select! {
                () = stop.cancelled() => break,
                broken = self.connection(&threads, &mut found) => broken,
            };
            self.counters.connected.store(false, Relaxed);
            threads.pause();
            tracing::warn!(pool = %self.config.pool, reason = %broken, "miner lost its pool");
            self.note(broken.to_string());
            let was_good =
                self.counters.logins.load(Relaxed) > logins && started.elapsed() >= SETTLED;
            failures = if was_good {
                0
            } else {
                failures.saturating_add(1)
            };
            let pause = async {
                self.emit(broken.event()).await;
                tokio::time::sleep(retry_delay(failures)).await;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = pause => {}
            }
        }
        self.counters.connected.store(false, Relaxed);
        // A thread that is handing a solution over must not wait for a reader that is gone.
        drop(found);
        threads.stop().await;
        Ok(())
    }

    /// One connection, to its end.
    async fn connection(
        &self,
        threads: &HashingThreads,
        found: &mut mpsc::Receiver<FoundShare>,
    ) -> Broken {
        match self.connect().await {
            Ok((lines, out)) => {
                let mut session = PoolSession {
                    miner: self,
                    threads,
                    out,
                    session: String::new(),
                    next_id: 2,
                    waiting: HashSet::new(),
                };
                session
                    .run(lines, found)
                    .await
                    .err()
                    .unwrap_or(Broken::Closed)
            }
            Err(broken) => broken,
        }
    }

    async fn connect(&self) -> Result<(LineReader<OwnedReadHalf>, OwnedWriteHalf), Broken> {
        let failed = |reason: String| Broken::Connect(self.config.pool.clone(), reason);
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.config.pool)).await;
        let stream = connecting
            .map_err(|_| failed("no answer".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok((LineReader::new(read), write))
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

/// A connection's state.
struct PoolSession<'a> {
    miner: &'a Miner,
    threads: &'a HashingThreads,
    out: OwnedWriteHalf,
    session: String,
    next_id: u64,
    /// Submits without an answer yet.
    waiting: HashSet<u64>,
}

impl PoolSession<'_> {
    async fn run(
        &mut self,
        mut lines: LineReader<OwnedReadHalf>,
        found: &mut mpsc::Receiver<FoundShare>,
    ) -> Result<(), Broken> {
        self.login().await?;
        let mut heard = Instant::now();
        let mut quiet_since = heard;
        loop {
            tokio::select! {
                line = lines.next(MAX_LINE) => {
                    let line = line?.ok_or(Broken::Closed)?;
                    self.handle_line(&line).await?;
                    heard = Instant::now();
                    quiet_since = heard;
                }
                () = tokio::time::sleep_until(heard + SILENCE) => return Err(Broken::Silent),
                Some(found) = found.recv() => self.submit(found).await?,
                () = tokio::time::sleep_until(quiet_since + KEEPALIVE) => {
                    quiet_since = Instant::now();
                    let id = self.id();
                    self.send(&json!({"id": id, "jsonrpc": "2.0", "method": "keepalived",
                        "params": {"id": self.session}})).await?;
                }
            }
        }
    }

    async fn login(&mut self) -> Result<(), Broken> {
        let config = &self.miner.config;
        let agent = concat!("headframe-miner/", env!("CARGO_PKG_VERSION"));
        let mut params = json!({"login": config.login, "pass": config.pass, "agent": agent,
            "algo": self.miner.algos});
        if let Some(rigid) = &config.rigid {
            params["rigid"] = json!(rigid);
        }
        self.send(&json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}))
            .await
    }

    async fn handle_line(&mut self, line: &[u8]) -> Result<(), Broken> {
        let counters = &self.miner.counters;
        match pool_message::parse(line, &self.miner.algos)? {
            PoolMessage::LoggedIn { session, job } => {
                self.session = session;
                counters.connected.store(true, Relaxed);
                counters.logins.fetch_add(1, Relaxed);
                self.miner.emit(MinerEvent::LoggedIn(job.summary())).await;
                self.mine(job).await
            }
            PoolMessage::Job(job) => {
                self.miner.emit(MinerEvent::Job(job.summary())).await;
                self.mine(job).await
            }
            PoolMessage::LoginRefused(reason) => Err(Broken::Login(reason)),
            PoolMessage::Answer { id, refusal } => {
                // An answer to a keepalive counts for nothing.
                if self.waiting.remove(&id) {
                    let counter = if refusal.is_none() {
                        &counters.accepted
                    } else {
                        &counters.rejected
                    };
                    counter.fetch_add(1, Relaxed);
                    refusal
                        .into_iter()
                        .for_each(|reason| self.miner.note(reason));
                }
                Ok(())
            }
        }
    }

    async fn mine(&mut self, job: WireJob) -> Result<(), Broken> {
        self.miner.counters.jobs.fetch_add(1, Relaxed);
        let memory = self.miner.seeds.memory(job.seed).await?;
        let WireJob {
            job_id,
            algo,
            blob,
            nonce_offset,
            target,
            ..
        } = job;
        self.threads.work(HashTask {
            job_id,
            algo,
            blob,
            nonce_offset,
            target,
            memory,
        });
        Ok(())
    }

    async fn submit(&mut self, found: FoundShare) -> Result<(), Broken> {
        if !self.threads.is_current(&found) {
            return Ok(());
        }
        let id = self.id();
        self.waiting.insert(id);
        let params = json!({
            "id": self.session,
            "job_id": found.task.job_id,
            "nonce": hex::encode(found.nonce),
            "result": hex::encode(found.hash),
            "algo": found.task.algo,
        });
        self.send(&json!({"id": id, "jsonrpc": "2.0", "method": "submit", "params": params}))
            .await
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    async fn send(&mut self, message: &Value) -> Result<(), Broken> {
        let mut line = message.to_string();
        line.push('\n');
        Ok(self.out.write_all(line.as_bytes()).await?)
    }
}

/// How long to wait before the pool is called again after so many failures in a row.
fn retry_delay(failures: u32) -> Duration {
    let seconds = 1_u64
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(LONGEST_WAIT_S)
        .clamp(1, LONGEST_WAIT_S);
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_away_is_called_less_and_less() {
        let waits =
            [0, 1, 2, 3, 4, 5, 6, 7, 70, u32::MAX].map(|failures| retry_delay(failures).as_secs());
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }
}
