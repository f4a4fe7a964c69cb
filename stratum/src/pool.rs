//! The pool as root sees it: a configuration in, a bound pool out, run until told to stop.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::best_effort::{BestEffortWorker, best_effort};
use crate::blocks::ConfirmationRules;
use crate::blocks::open_blocks::SharedOpenBlocks;
use crate::blocks::operator::{BlocksHandle, Decision};
use crate::blocks::positions::BlockPositions;
use crate::blocks::watcher::{BlockWatcher, RecoverySearch};
use crate::broadcast_latency::BroadcastLatency;
use crate::chain::{Chain, ChainError, NoWorkCause, driver};
use crate::config::StratumConfig;
use crate::config_error::ConfigError;
use crate::context::PoolContext;
use crate::defence::ban_store::BanStore;
use crate::defence::{Defence, DefenceError};
use crate::facts::Facts;
use crate::net::port::Port;
use crate::net::proxy::TrustedProxies;
use crate::net::successor::Handover;
use crate::net::tls::{TlsError, TlsIdentity};
use crate::net::transport::TransportNegotiator;
use crate::randomx::{Seeds, Verifier};
use crate::server;
use crate::stats::{Counters, StatsHandle};
use crate::template_watcher::{CurrentWork, TemplateWatcher, WatchTiming};
use crate::work::late_shares::ChainTips;

/// Why a pool did not start.
#[derive(Debug, Error)]
pub enum StratumError {
    /// A key's value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port.
    #[error("cannot listen for miners on {address}: {reason}; is another pool running there?")]
    Listen {
        address: SocketAddr,
        reason: std::io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The verifier's threads.
    #[error("cannot start {threads} verifier threads: {reason}")]
    Threads {
        threads: usize,
        reason: std::io::Error,
    },
    /// The daemon's client.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Descriptors, or a file that the defence needs.
    #[error(transparent)]
    Defence(#[from] DefenceError),
}

/// Makes pools.
pub struct Stratum;

/// A pool whose ports are open and whose work has not begun.
pub struct BoundPool {
    listeners: Vec<(TcpListener, Port)>,
    pool: Arc<PoolContext>,
    template_watcher: TemplateWatcher,
    block_watcher: BlockWatcher,
    operator: BlocksHandle,
    best_effort_worker: BestEffortWorker,
}

impl Stratum {
    /// Checks the configuration and opens the port, with the daemon it names.
    pub async fn bind(
        config: StratumConfig,
        facts: Arc<dyn Facts>,
    ) -> Result<BoundPool, StratumError> {
        config.validate()?;
        let chain = driver::open(&config.chain_config())?;
        Self::bind_on(config, facts, chain).await
    }

    /// The same on any chain.
    pub async fn bind_on(
        config: StratumConfig,
        facts: Arc<dyn Facts>,
        chain: Arc<dyn Chain>,
    ) -> Result<BoundPool, StratumError> {
        config.validate()?;
        let listeners = open(config.all_ports()).await?;
        let transport = TransportNegotiator::new(
            TrustedProxies::parse(&config.trusted_proxies)?,
            TlsIdentity::load(&config.tls)?,
        );
        let fingerprint = transport
            .identity
            .as_ref()
            .map(|own| own.fingerprint.clone());
        let handover = config.successor()?.map(|to| Handover::new(to, fingerprint));
        let (verifier, seeds) = start_verifier(&config)?;
        let counters = Arc::new(Counters::default());
        if let Some(spool) = facts.spool() {
            let _ = counters.spool.set(spool);
        }
        let (best_effort, best_effort_worker) = best_effort(facts.clone(), counters.clone());
        let defence = Defence::new(
            &config.pool,
            config.max_sessions,
            &config.defence,
            best_effort.clone(),
        )?;
        let (work_sender, work) = watch::channel(CurrentWork::Nothing(NoWorkCause::DaemonSilent));
        let pool = Arc::new(PoolContext {
            name: config.pool.as_str().into(),
            tips: Mutex::new(ChainTips::new(config.late_grace_ms)),
            config,
            chain,
            verifier,
            facts,
            best_effort,
            defence,
            counters,
            work,
            blocks: SharedOpenBlocks::default(),
            broadcast_latency: Arc::new(BroadcastLatency::default()),
            wakeup: Arc::new(Notify::new()),
            tasks: TaskTracker::new(),
            instance: rand::random(),
            transport,
            sent_to_successor: AtomicU64::new(0),
            handover,
            started: Instant::now(),
        });
        let (operator, decisions) = BlocksHandle::new(pool.blocks.clone());
        Ok(BoundPool {
            template_watcher: template_watcher(&pool, seeds, work_sender),
            block_watcher: block_watcher(&pool, decisions),
            listeners,
            pool,
            operator,
            best_effort_worker,
        })
    }
}

/// The hashing threads, and the seeds they hash with.
fn start_verifier(config: &StratumConfig) -> Result<(Verifier, Arc<Seeds>), StratumError> {
    let seeds = Arc::new(Seeds::with(&config.randomx));
    let threads = config.verify_threads;
    let fairness = config.defence.verify.clone();
    let started = Verifier::start_with(seeds.clone(), threads, config.verify_queue, fairness);
    let verifier = started.map_err(|reason| StratumError::Threads { threads, reason })?;
    Ok((verifier, seeds))
}

/// Follows the chain's end and announces what to mine.
fn template_watcher(
    pool: &PoolContext,
    seeds: Arc<Seeds>,
    work: watch::Sender<CurrentWork>,
) -> TemplateWatcher {
    let config = &pool.config;
    TemplateWatcher {
        chain: pool.chain.clone(),
        seeds,
        counters: pool.counters.clone(),
        work,
        broadcast_latency: pool.broadcast_latency.clone(),
        wakeup: pool.wakeup.clone(),
        timing: WatchTiming {
            poll: Duration::from_millis(config.poll_ms),
            refresh: Duration::from_secs(config.template_refresh_s),
            grace: Duration::from_secs(config.daemon_grace_s),
        },
    }
}

/// Follows found blocks until they mature or leave the chain.
fn block_watcher(pool: &PoolContext, decisions: mpsc::Receiver<Decision>) -> BlockWatcher {
    let config = &pool.config;
    BlockWatcher {
        pool: config.pool.clone(),
        wallet: config.wallet.clone(),
        terms: config.terms_of(false),
        solo_terms: config.terms_of(true),
        blocks: pool.blocks.clone(),
        chain: pool.chain.clone(),
        facts: pool.facts.clone(),
        work: pool.work.clone(),
        rules: ConfirmationRules {
            confirmed_at: config.blocks.confirmed_at,
            matured_at: pool.chain.maturity(),
        },
        every: Duration::from_secs(config.blocks.look_s),
        search: RecoverySearch::default(),
        positions: BlockPositions::default(),
        decisions,
    }
}

/// Opens the ports; a port 0 becomes the one the system chose.
async fn open(ports: Vec<Port>) -> Result<Vec<(TcpListener, Port)>, StratumError> {
    let mut listeners = Vec::with_capacity(ports.len());
    for mut port in ports {
        let refused = |reason| StratumError::Listen {
            address: port.listen,
            reason,
        };
        let listener = TcpListener::bind(port.listen).await.map_err(refused)?;
        port.listen = listener.local_addr().map_err(refused)?;
        listeners.push((listener, port));
    }
    Ok(listeners)
}

impl BoundPool {
    /// The address miners connect to: that of `listen`.
    pub fn local_addr(&self) -> SocketAddr {
        self.listeners
            .first()
            .map_or(self.pool.config.listen, |(_, port)| port.listen)
    }

    /// All ports: `listen` first, then those of `ports` in their order.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.listeners.iter().map(|(_, port)| port)
    }

    /// SHA-256 of the certificate that miners are shown, for their `tls-fingerprint`; `None`
    /// without TLS.
    pub fn tls_fingerprint(&self) -> Option<&str> {
        self.pool
            .transport
            .identity
            .as_ref()
            .map(|identity| identity.fingerprint.as_str())
    }

    /// The pool's figures.
    pub fn stats(&self) -> StatsHandle {
        StatsHandle(self.pool.counters.clone())
    }

    /// The verifier's seeds, for a miner in the same process.
    pub fn seeds(&self) -> Arc<Seeds> {
        self.pool.verifier.seeds().clone()
    }

    /// The blocks that nothing proves to be the pool's, for the operator.
    pub fn unproven_blocks(&self) -> BlocksHandle {
        self.operator.clone()
    }

    /// The bans, for the operator.
    pub fn bans(&self) -> BanStore {
        BanStore(self.pool.defence.clone())
    }

    /// Serves miners until `stop`; then shares in flight are finished within the configured time.
    pub async fn run(self, stop: CancellationToken) {
        self.announce();
        let BoundPool {
            listeners,
            pool,
            template_watcher,
            block_watcher,
            operator: _,
            best_effort_worker,
        } = self;
        let seeds = pool.verifier.seeds().clone();
        let drained = CancellationToken::new();
        let (mut watchers, mut best_effort) = (JoinSet::new(), JoinSet::new());
        watchers.spawn(template_watcher.run(stop.clone()));
        watchers.spawn(block_watcher.run(stop.clone()));
        let (chain, wakeup, ended) = (pool.chain.clone(), pool.wakeup.clone(), stop.clone());
        watchers.spawn(async move { chain.run_background(wakeup, ended).await });
        let ended = stop.clone();
        watchers.spawn(async move { seeds.build_datasets(ended).await });
        watchers.spawn(pool.defence.clone().keep(stop.clone()));
        best_effort.spawn(best_effort_worker.run(drained.clone()));
        let patience = pool.config.drain();
        // Sessions get half of the stated time, shares in flight the third quarter, rows that
        // nobody waits for the last.
        let stopped = server::serve(listeners, pool.clone(), stop, patience / 2).await;
        pool.tasks.close();
        let remaining = |until: Duration| until.saturating_sub(stopped.elapsed());
        if tokio::time::timeout(remaining(patience * 3 / 4), pool.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = pool.tasks.len(),
                "shares were still in flight at the end of the drain time"
            );
        }
        drained.cancel();
        if tokio::time::timeout(remaining(patience), best_effort.join_next())
            .await
            .is_err()
        {
            tracing::warn!("rows were still queued at the end of the drain time");
        }
        while watchers.join_next().await.is_some() {}
        tracing::info!("stratum stopped");
    }
    /// Says in the log what miners and their owners need to know.
    fn announce(&self) {
        for port in self.ports() {
            let start_difficulty = port.fixed_difficulty.unwrap_or(port.start_difficulty);
            tracing::info!(address = %port.listen, start_difficulty, nicehash = port.nicehash,
                solo = port.solo, "stratum listens");
        }
        match &self.pool.transport.identity {
            Some(TlsIdentity {
                fingerprint,
                cert_file,
                ..
            }) => {
                tracing::info!(fingerprint, cert = %cert_file.display(), "tls on the same ports");
            }
            None => tracing::info!("tls is off"),
        }
        let seeds = self.pool.verifier.seeds();
        tracing::info!(pool = %self.pool.config.pool, randomx = ?seeds.mode(),
            reason = seeds.choice().reason, "the pool begins");
    }
}
