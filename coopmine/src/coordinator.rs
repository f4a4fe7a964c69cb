//! The coordinator: the cluster's value behind gRPC, a client of the upstream pools, and pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::Nats;
use headframe_query_front::access::process_accounts::ProcessAccounts;
use headframe_stratum::miner::broken::Broken;
use headframe_stratum::miner::client::{ClientConfig, ClientEvent, ClientTiming, PoolClient};
use headframe_stratum::miner::{ALGOS, endpoint::PoolEndpoint};
use headframe_stratum::randomx::{Mode, Seeds, Verifier};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, ClusterPolicy};
use crate::config::{ConfigError, CoordinatorConfig};
use crate::facts::{FactQueue, FactWriter, FactsError};
use crate::proto::service::CoopMineServer;
use crate::tls::TlsError;
use crate::tls::reload::ServerTls;
use calls::Calls;
use fence::FencedTerm;
use miner_port::MinerPort;
use seed_preparation::prepare;
use shared_cluster::{SharedCluster, UpstreamRequests};
use term::reopen;

mod calls;
pub mod fence;
mod hashrate;
mod listener;
mod miner_port;
mod rest;
mod seed_preparation;
pub mod shared_cluster;
mod term;

/// Events of the upstream that nobody has looked at yet.
const EVENTS: usize = 64;
/// Shares on their way to the upstream; more than the cluster lets be pending.
const SUBMISSIONS: usize = 2_048;
/// Hashes that wait for a thread.
const CHECKS: usize = 1_024;
const TICK: Duration = Duration::from_millis(500);
/// How long the facts of the end may take to be written.
const LAST_FACTS: Duration = Duration::from_secs(5);

/// Why a coordinator does not start or goes on.
#[derive(Debug, Error)]
pub enum CoordinatorError {
    /// A port.
    #[error("cannot listen on {address} for {wanted}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For what.
        wanted: &'static str,
        /// Why not.
        reason: std::io::Error,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Where facts go.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The threads that recompute hashes.
    #[error("cannot start the threads that check shares: {0}")]
    Threads(std::io::Error),
    /// A server that ended by itself.
    #[error("{0} ended: {1}")]
    Ended(&'static str, String),
}

/// A coordinator that has its ports.
pub struct Coordinator {
    config: CoordinatorConfig,
    workers: TcpListener,
    pages: TcpListener,
    miners: Option<TcpListener>,
    tls: Option<Arc<ServerTls>>,
    pools: Vec<PoolEndpoint>,
    timing: ClientTiming,
    nats: Option<Nats>,
    /// Who may do what beside whoever has the token, in a process that has accounts.
    accounts: Option<Arc<dyn ProcessAccounts>>,
}

impl Coordinator {
    /// Takes the ports, after the whole configuration was found good.
    pub async fn bind(config: CoordinatorConfig) -> Result<Self, CoordinatorError> {
        Self::bind_with(config, None).await
    }

    /// The same over a connection to NATS that there is, whose streams are made: facts go there.
    pub async fn bind_with(
        config: CoordinatorConfig,
        nats: Option<Nats>,
    ) -> Result<Self, CoordinatorError> {
        let pools = config.validate(nats.is_some())?;
        if let Some(warning) = config.warning() {
            tracing::warn!("{warning}");
        }
        let tls = &config.grpc.tls;
        let tls = tls.enabled.then(|| ServerTls::open(tls)).transpose()?;
        let workers = listen(config.grpc.listen.0, "workers").await?;
        let pages = listen(config.dashboard.listen.0, "the dashboard").await?;
        let miners = match config.miners.listen {
            Some(address) => Some(listen(address.0, "stock miners").await?),
            None => None,
        };
        Ok(Self {
            config,
            workers,
            pages,
            miners,
            tls,
            pools,
            timing: ClientTiming::default(),
            nats,
            accounts: None,
        })
    }

    /// Lets the accounts of this process read and give commands, each as its role allows.
    pub fn with_accounts(mut self, accounts: Arc<dyn ProcessAccounts>) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Other waits for the upstream.
    pub fn with_timing(mut self, timing: ClientTiming) -> Self {
        self.timing = timing;
        self
    }

    /// Where workers connect, and where the pages are.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.workers.local_addr()?, self.pages.local_addr()?))
    }

    /// Where stock miners connect.
    pub fn miners_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.miners
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()
    }

    /// Coordinates until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CoordinatorError> {
        let (facts, writer) = self.open_facts().await?;
        let writing = CancellationToken::new();
        let writer = tokio::spawn(writer.run(writing.clone()));
        let stop = stop.child_token();
        let ended = self.serve_terms(&facts, &stop).await;
        writing.cancel();
        if tokio::time::timeout(LAST_FACTS, writer).await.is_err() {
            tracing::warn!("the last rows of facts were not written in time");
        }
        ended
    }

    async fn open_facts(&self) -> Result<(FactQueue, FactWriter), FactsError> {
        let config = &self.config;
        let (cluster, miner) = (&config.cluster.id, &config.pool.wallet);
        FactWriter::open(&config.facts, self.nats.clone(), cluster, miner).await
    }

    /// Coordinates for one term.
    async fn coordinate(
        &self,
        facts: FactQueue,
        fence: Option<FencedTerm>,
        stop: CancellationToken,
    ) -> Result<(), CoordinatorError> {
        let seeds = Arc::new(Seeds::new(Mode::Light));
        let threads = self.config.check_threads.max(1);
        let verifier = Verifier::start(seeds.clone(), threads, CHECKS);
        let verifier = Arc::new(verifier.map_err(CoordinatorError::Threads)?);
        let (submit, submissions) = mpsc::channel(SUBMISSIONS);
        let (sender, events) = mpsc::channel(EVENTS);
        let client = self.client();
        let requests = UpstreamRequests {
            submit,
            refresh: client.refresher(),
            lease: client.lease_requests(),
        };
        let first = u64::from(rand::random::<u32>()) << 16;
        let cluster = Cluster::new(self.policy(), first);
        let cluster = SharedCluster::new(cluster, verifier, requests, facts, fence);
        let mut upstream: JoinSet<Result<(), CoordinatorError>> = JoinSet::new();
        let stopped = stop.clone();
        upstream.spawn(async move {
            client.run(submissions, sender, stopped).await;
            Ok(())
        });
        upstream.spawn(hear_upstream(cluster.clone(), seeds, events));
        let mut tasks = JoinSet::new();
        tasks.spawn(tick(cluster.clone()));
        let served = Served {
            workers: reopen(&self.workers)?,
            pages: reopen(&self.pages)?,
            miners: self.miners.as_ref().map(reopen).transpose()?,
            tls: self.tls.clone(),
            accounts: self.accounts.clone(),
        };
        served.start(&self.config, &cluster, &stop, &mut tasks);
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => task_end(ended),
            Some(ended) = upstream.join_next() => task_end(ended),
        };
        stop.cancel();
        cluster.change(|cluster, now| {
            cluster.upstream_lost(&[], now);
            ((), Vec::new())
        });
        // The pool answers for a while what it was sent; workers still hear it.
        while upstream.join_next().await.is_some() {}
        cluster.change(|cluster, now| ((), cluster.stop(now)));
        cluster.close();
        // Streams of jobs end with their senders; nobody waits for a worker that does not read.
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        ended
    }

    fn client(&self) -> PoolClient {
        let config = &self.config;
        PoolClient::new(ClientConfig {
            pools: self.pools.clone(),
            login: config.pool.wallet.clone(),
            pass: config.pool.password.clone(),
            rigid: Some(config.cluster.name.clone()).filter(|name| !name.is_empty()),
            algos: ALGOS.map(str::to_owned).to_vec(),
            leases: true,
            timing: self.timing,
        })
    }

    fn policy(&self) -> ClusterPolicy {
        ClusterPolicy {
            worker_timeout_ms: self.config.worker_timeout_ms(),
            outage_ms: self.config.job_timeout.as_millis(),
            max_workers: self.config.max_workers,
            ..ClusterPolicy::default()
        }
    }
}

/// How a task ended.
fn task_end(
    ended: Result<Result<(), CoordinatorError>, JoinError>,
) -> Result<(), CoordinatorError> {
    ended.unwrap_or_else(|error| Err(CoordinatorError::Ended("a task", error.to_string())))
}

/// The ports.
struct Served {
    workers: TcpListener,
    pages: TcpListener,
    miners: Option<TcpListener>,
    tls: Option<Arc<ServerTls>>,
    accounts: Option<Arc<dyn ProcessAccounts>>,
}

impl Served {
    /// Serves all of them.
    fn start(
        self,
        config: &CoordinatorConfig,
        cluster: &Arc<SharedCluster>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<Result<(), CoordinatorError>>,
    ) {
        let calls = Calls::new(cluster.clone(), config, self.tls.is_some());
        if let Some(tls) = self.tls.clone() {
            tasks.spawn(async move {
                tls.watch().await;
                Ok(())
            });
        }
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .max_concurrent_streams(64)
            .add_service(CoopMineServer::new(Arc::new(calls)));
        let incoming = listener::incoming(self.workers, self.tls, stop.clone());
        let stopped = stop.clone();
        tasks.spawn(async move {
            let served = server.serve_with_incoming_shutdown(incoming, stopped.cancelled_owned());
            let ended = |error: tonic::transport::Error| {
                CoordinatorError::Ended("the server of the workers", error.to_string())
            };
            served.await.map_err(ended)
        });
        let router = rest::router(cluster.clone(), config, self.accounts);
        let stopped = stop.clone();
        tasks.spawn(async move {
            // Who is a program of this machine is judged by where the connection comes from.
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            let served =
                axum::serve(self.pages, service).with_graceful_shutdown(stopped.cancelled_owned());
            let ended = |error: std::io::Error| {
                CoordinatorError::Ended("the server of the dashboard", error.to_string())
            };
            served.await.map_err(ended)
        });
        if let Some(miners) = self.miners {
            let port = Arc::new(MinerPort {
                cluster: cluster.clone(),
                user: config.miners.user.clone(),
            });
            let stopped = stop.clone();
            tasks.spawn(async move {
                miner_port::serve(miners, port, stopped).await;
                Ok(())
            });
        }
    }
}

async fn listen(
    address: SocketAddr,
    wanted: &'static str,
) -> Result<TcpListener, CoordinatorError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|reason| CoordinatorError::Listen {
        address,
        wanted,
        reason,
    })
}

/// What the upstream says, into the cluster.
async fn hear_upstream(
    cluster: Arc<SharedCluster>,
    seeds: Arc<Seeds>,
    mut events: mpsc::Receiver<ClientEvent>,
) -> Result<(), CoordinatorError> {
    while let Some(event) = events.recv().await {
        match event {
            ClientEvent::LoggedIn {
                session,
                pool,
                job,
                leases,
            } => {
                tracing::info!(%pool, job = %job.job_id, leases, "logged in at the pool");
                cluster.set_pool(&pool);
                prepare(&seeds, &job);
                cluster.change(|cluster, now| {
                    if leases {
                        cluster.upstream_leases(session);
                    }
                    ((), cluster.job(session, job, now))
                });
            }
            ClientEvent::Leased { session, jobs } => {
                cluster.change(|cluster, now| ((), cluster.leased(session, jobs, now)));
            }
            ClientEvent::Job { session, job } => {
                prepare(&seeds, &job);
                cluster.change(|cluster, now| ((), cluster.job(session, job, now)));
            }
            ClientEvent::Answer { ticket, refusal } => {
                if let Some(reason) = &refusal {
                    tracing::warn!(%reason, "the pool refused a share");
                }
                cluster.change(|cluster, now| ((), cluster.answered(ticket, refusal, now)));
            }
            ClientEvent::Unsent { ticket } => {
                cluster.change(|cluster, now| ((), cluster.unsent(ticket, now)));
            }
            ClientEvent::Lost {
                pool,
                broken,
                unanswered,
            } => {
                match broken {
                    Broken::Stopped => tracing::info!(%pool, "left the pool"),
                    _ => tracing::warn!(%pool, reason = %broken, "no pool"),
                }
                cluster.change(|cluster, now| {
                    cluster.upstream_lost(&unanswered, now);
                    ((), Vec::new())
                });
            }
            ClientEvent::Unanswered { tickets } => {
                cluster.change(|cluster, now| ((), cluster.unanswered(&tickets, now)));
            }
        }
    }
    Ok(())
}

async fn tick(cluster: Arc<SharedCluster>) -> Result<(), CoordinatorError> {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        cluster.change(|cluster, now| ((), cluster.tick(now)));
    }
}
