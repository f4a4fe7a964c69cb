//! The client's side of stratum, as XMRig has it: logins, jobs, shares, and several pools of which
//! the first that is there is used.
//!
//! It knows no hashing: jobs go out as events, shares come in with a ticket, and the pool's answer
//! to each is told under the same ticket. One connection is one session; a share is sent in the
//! session that its job came in, or not at all. A connection that is left in order stays open
//! beside the next one until the shares that it was sent are answered, or for a while.

use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::retry_delay;
use super::broken::Broken;
use super::endpoint::PoolEndpoint;
use super::pool_message::PoolJob;
use crate::work::template::Hash;
use pool_session::{Ended, PoolSession};

mod pool_session;

/// Requests for leases that the connection has not taken yet.
const LEASE_REQUESTS: usize = 64;

/// As whom to log in, and where.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The pools, the best first; there is at least one.
    pub pools: Vec<PoolEndpoint>,
    /// Wallet address, optionally with `.worker` and `+difficulty`.
    pub login: String,
    /// Most pools want `x`.
    pub pass: String,
    /// The worker's name, if it is not in the login.
    pub rigid: Option<String>,
    /// The names of what can be hashed, best first.
    pub algos: Vec<String>,
    /// Whether several machines stand behind it, so that the pool is asked for leases if it has
    /// such.
    pub leases: bool,
    /// How long to wait for what.
    pub timing: ClientTiming,
}

/// How long the client waits for what.
#[derive(Debug, Clone, Copy)]
pub struct ClientTiming {
    /// Between keepalives of a silent connection.
    pub keepalive: Duration,
    /// A pool that says nothing for so long is gone: it has been sent two keepalives by then.
    pub silence: Duration,
    /// A connection that held for so long was a good one, and the next is tried soon.
    pub settled: Duration,
    /// Failures in a row before the next pool is tried.
    pub retries: u32,
    /// How long one unit of the growing wait is: a second but in tests.
    pub retry_unit: Duration,
    /// How long a connection that is left for another waits for the answers to its shares.
    pub drain: Duration,
    /// The same when the client is stopped.
    pub drain_at_stop: Duration,
}

impl Default for ClientTiming {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(60),
            silence: Duration::from_secs(150),
            settled: Duration::from_secs(30),
            retries: 5,
            retry_unit: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            drain_at_stop: Duration::from_secs(2),
        }
    }
}

/// What happens at the pools.
#[derive(Debug)]
pub enum ClientEvent {
    /// A login was taken and the first job given.
    LoggedIn {
        /// Counts the connections of this client.
        session: u64,
        /// The pool's address.
        pool: String,
        /// What to mine.
        job: PoolJob,
        /// Whether the pool leases further jobs.
        leases: bool,
    },
    /// The pool's answer to a request for leases.
    Leased {
        /// The connection it came over.
        session: u64,
        /// Jobs beside the newest one, or the pool's words.
        jobs: Result<Vec<PoolJob>, String>,
    },
    /// Another job.
    Job {
        /// The connection it came over.
        session: u64,
        /// What to mine.
        job: PoolJob,
    },
    /// The pool's answer to a share.
    Answer {
        /// The share's.
        ticket: u64,
        /// The pool's words if it refused.
        refusal: Option<String>,
    },
    /// A share was not sent, because its connection is gone.
    Unsent {
        /// The share's.
        ticket: u64,
    },
    /// A connection ended, did not come about, or is left: no share is sent over it any more.
    Lost {
        /// The pool's address.
        pool: String,
        /// Why.
        broken: Broken,
        /// The shares whose answers are lost with it. When it is left in order there are none yet:
        /// answers may still come, and then [`ClientEvent::Unanswered`] tells the rest.
        unanswered: Vec<u64>,
    },
    /// A connection that was left has ended, and these shares were not answered.
    Unanswered {
        /// The shares'.
        tickets: Vec<u64>,
    },
}

/// A share for a pool.
#[derive(Debug, Clone)]
pub struct ShareToSend {
    /// The connection that the job came over.
    pub session: u64,
    /// What the sender knows it by.
    pub ticket: u64,
    /// The pool's name of the job.
    pub job_id: String,
    /// The job's algorithm.
    pub algo: String,
    /// As it stands in the blob.
    pub nonce: [u8; 4],
    /// The hash.
    pub hash: Hash,
}

/// A request for further jobs beside the current one.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest {
    /// The connection that the current job came over.
    pub session: u64,
    /// How many.
    pub count: usize,
}

/// A client, to be run.
#[derive(Debug)]
pub struct PoolClient {
    config: ClientConfig,
    sessions: AtomicU64,
    refresh: Arc<Notify>,
    stop: CancellationToken,
    leases: (mpsc::Sender<LeaseRequest>, mpsc::Receiver<LeaseRequest>),
}

/// What goes to the pool.
struct Requests<'a> {
    submissions: &'a mut mpsc::Receiver<ShareToSend>,
    leases: &'a mut mpsc::Receiver<LeaseRequest>,
}

/// The place in the list of pools, and what went wrong there.
#[derive(Default)]
struct Attempts {
    at: usize,
    /// Failures in a row.
    failures: u32,
    /// Failures in a row at this pool.
    failures_here: u32,
    /// Where the pool sent us.
    moved: Option<String>,
}

impl PoolClient {
    /// A client that is not connected yet.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            sessions: AtomicU64::new(0),
            refresh: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
            leases: mpsc::channel(LEASE_REQUESTS),
        }
    }

    /// Notified when the job's nonces are used up: the client logs in again, as XMRig does, and
    /// gets another.
    pub fn refresher(&self) -> Arc<Notify> {
        self.refresh.clone()
    }

    /// Where further jobs are asked for.
    pub fn lease_requests(&self) -> mpsc::Sender<LeaseRequest> {
        self.leases.0.clone()
    }

    /// Stays connected until `stop`, or until nobody listens to the events. After `stop` it sends
    /// nothing more, and ends when the shares that were sent are answered, or after a while.
    pub async fn run(
        mut self,
        mut submissions: mpsc::Receiver<ShareToSend>,
        events: mpsc::Sender<ClientEvent>,
        stop: CancellationToken,
    ) {
        self.stop = stop;
        let (_, nobody) = mpsc::channel(1);
        let mut leases = std::mem::replace(&mut self.leases.1, nobody);
        let mut left = JoinSet::new();
        let served = async {
            let requests = Requests {
                submissions: &mut submissions,
                leases: &mut leases,
            };
            self.serve(requests, &events, &mut left).await;
            while left.join_next().await.is_some() {}
            submissions.close();
            while let Some(ShareToSend { ticket, .. }) = submissions.recv().await {
                // Without a listener the client ends all the same.
                let _ = events.send(ClientEvent::Unsent { ticket }).await;
            }
        };
        tokio::select! {
            () = events.closed() => {}
            () = served => {}
        }
    }

    /// One connection after the other until the stop; those that were left are in `left`.
    async fn serve(
        &self,
        mut requests: Requests<'_>,
        events: &mpsc::Sender<ClientEvent>,
        left: &mut JoinSet<()>,
    ) {
        let mut attempts = Attempts::default();
        while let Some(endpoint) = self.endpoint(&mut attempts) {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = self.open(&endpoint) => opened,
            };
            let mut next = Some(opened);
            while let Some(opened) = next.take() {
                let ended = match opened {
                    Ok(session) => {
                        let better = self.better(attempts.at);
                        let refresh = self.refresh.notified();
                        session.run(&mut requests, events, better, refresh).await
                    }
                    Err(broken) => Ended::before(endpoint.address.clone(), broken),
                };
                attempts.note(&ended, self.config.timing.settled);
                let lost = ClientEvent::Lost {
                    pool: ended.pool,
                    broken: ended.broken,
                    unanswered: ended.unanswered,
                };
                if events.send(lost).await.is_err() {
                    return;
                }
                while left.try_join_next().is_some() {}
                if let Some(session) = ended.left {
                    left.spawn(session.drain(events.clone()));
                }
                // A better pool that is back takes over without a pause.
                next = ended.better.map(|(at, session)| {
                    attempts.at = at;
                    Ok(session)
                });
            }
            let unit = self.config.timing.retry_unit.as_secs_f64();
            let delay = retry_delay(attempts.failures, rand::rng().random());
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(delay.mul_f64(unit)) => {}
            }
        }
    }

    /// Where to connect next.
    fn endpoint(&self, attempts: &mut Attempts) -> Option<PoolEndpoint> {
        let pools = &self.config.pools;
        if attempts.failures_here >= self.config.timing.retries.max(1) {
            attempts.at = (attempts.at + 1) % pools.len().max(1);
            attempts.failures_here = 0;
        }
        let configured = pools.get(attempts.at)?;
        Some(match attempts.moved.take() {
            Some(address) => configured.moved(address),
            None => configured.clone(),
        })
    }

    async fn open(&self, endpoint: &PoolEndpoint) -> Result<PoolSession, Broken> {
        let number = self.sessions.fetch_add(1, Relaxed) + 1;
        PoolSession::open(&self.config, endpoint, number, self.stop.clone()).await
    }

    /// Calls the pools that come before the one in use until one of them takes the login; for ever
    /// when none does.
    async fn better(&self, at: usize) -> (usize, PoolSession) {
        let mut failures = 0_u32;
        loop {
            if at == 0 {
                std::future::pending::<()>().await;
            }
            failures = failures.saturating_add(1);
            let delay = retry_delay(failures, rand::rng().random());
            tokio::time::sleep(delay.mul_f64(self.config.timing.retry_unit.as_secs_f64())).await;
            for (place, endpoint) in self.config.pools.iter().enumerate().take(at) {
                match self.open(endpoint).await {
                    Ok(session) => return (place, session),
                    Err(reason) => tracing::debug!(pool = %endpoint, %reason, "still away"),
                }
            }
        }
    }
}

impl Attempts {
    fn note(&mut self, ended: &Ended, settled: Duration) {
        if ended.held >= settled || ended.better.is_some() {
            (self.failures, self.failures_here) = (0, 0);
        }
        if ended.better.is_some() {
            return;
        }
        if matches!(ended.broken, Broken::Exhausted) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        match &ended.broken {
            Broken::Moved(address) => self.moved = Some(address.clone()),
            _ => self.failures_here = self.failures_here.saturating_add(1),
        }
    }
}
