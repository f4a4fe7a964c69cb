//! How the crates are wired together: what a process with given roles starts, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::ManagedServer;
use headframe_query_front::Server;
use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::worker::SqlWorkers;
use headframe_stratum::{BoundPool, StatsHandle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};

pub mod accounts;
mod acknowledged;
pub mod bans;
mod compliance;
mod components;
mod data_folder;
mod descriptors;
mod faults;
mod first_admin;
mod follower;
mod forward;
pub mod host_usage;
mod http;
mod local_stream;
mod metrics;
mod nats_server;
mod payer;
mod payment_service;
mod photos;
mod pool_chain;
mod pool_terms;
mod probes;
mod registry;
mod request_log;
mod signals;
mod sources;
mod sql_workers;
mod tasks;
pub mod unproven_blocks;

use components::Components;
pub use nats_server::start_nats_server;
pub use signals::stop_signal;

/// What a service logs when `HEADFRAME_LOG` does not say.
pub const DEFAULT_LOG: &str = "info,async_nats=warn,buoyant_kernel=warn,deltalake_core=warn";

/// Everything a process runs.
pub struct Service {
    /// Where the HTTP server listens: health always, SQL when this process answers it.
    pub http: std::net::SocketAddr,
    /// The same as programs write it.
    pub http_url: String,
    /// When this process runs one.
    pub pool: Option<RunningPool>,
    tasks: JoinSet<anyhow::Result<()>>,
    nats_server: Option<ManagedServer>,
    /// What runs typed SQL, in the role query.
    sql_workers: Option<Arc<SqlWorkers>>,
    /// Users and service tokens.
    accounts: Option<Accounts>,
    /// Ends what takes in miners and requests.
    stop_accepting: CancellationToken,
    /// Ends pipelines, maintenance, payments and followers.
    stop_working: CancellationToken,
    drain: Duration,
}

/// A pool that listens, as its own process sees it.
pub struct RunningPool {
    /// Where miners connect.
    pub address: std::net::SocketAddr,
    /// What it counts.
    pub stats: StatsHandle,
    /// Its RandomX memories, for a miner in the same process.
    pub seeds: Arc<headframe_stratum::randomx::Seeds>,
    /// What miners may pin, unless TLS is off.
    pub tls_fingerprint: Option<String>,
}

impl RunningPool {
    fn from_bound(bound: &BoundPool) -> Self {
        Self {
            address: bound.local_addr(),
            stats: bound.stats(),
            seeds: bound.seeds(),
            tls_fingerprint: bound.tls_fingerprint().map(str::to_owned),
        }
    }
}

/// Runs the configured roles until Ctrl-C or SIGTERM, or until one of them ends by itself.
pub async fn run_until_stopped(config: Config) -> anyhow::Result<()> {
    let roles = config.role_list();
    let mut service = Box::pin(Service::start(config)).await?;
    tracing::info!(address = %service.http, roles, "up");
    service.offer_first_admin().await;
    let ended = tokio::select! {
        signal = stop_signal() => {
            tracing::info!(signal, "a signal was received; stopping");
            None
        }
        ended = service.tasks.join_next() => {
            tracing::error!("a task of this process ended by itself; stopping the others");
            ended
        }
    };
    service.stop().await;
    match ended {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

impl Service {
    /// Starts the roles. Everything is checked and bound before anything works, and miners and
    /// requests are let in when what they need is there.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        config.validate()?;
        config.stratum.tls = config.stratum.tls.in_folder(&config.data_dir.join("tls"));
        config
            .stratum
            .defence
            .bans_file
            .get_or_insert_with(|| config.data_dir.join("stratum/bans.ndjson"));
        let metrics = metrics::install_recorder();
        let nats_server = start_nats_server(&mut config).await?;
        let components = Box::pin(Components::open(config)).await?;
        let mut service = Self {
            http: components.config.query.listen,
            http_url: String::new(),
            pool: None,
            tasks: JoinSet::new(),
            nats_server,
            sql_workers: None,
            accounts: None,
            stop_accepting: CancellationToken::new(),
            stop_working: CancellationToken::new(),
            drain: components.config.drain(),
        };
        let pool = match components.runs(Role::Stratum) {
            true => Some(components.bind_pool().await?),
            false => None,
        };
        service.pool = pool
            .as_ref()
            .map(|(bound, _)| RunningPool::from_bound(bound));
        let coordinator = components.bind_coordinator().await?;
        let stats = service.pool.as_ref().map(|pool| &pool.stats);
        let mut services = http::services(&components, stats, metrics)?;
        let fingerprint = service
            .pool
            .as_ref()
            .and_then(|pool| pool.tls_fingerprint.as_deref());
        services.pool_terms = pool_terms::pool_terms(&components.config, fingerprint);
        services.accounts = Some(service.open_accounts(&components).await?);
        services.request_log = Some(service.start_request_log(&components));
        if components.runs(Role::Query) {
            service.open_mine(&components, &mut services).await?;
        }
        if let Some((bound, _)) = &pool {
            services.handlers.extend(bans::handlers(bound.bans()));
            services
                .handlers
                .extend(unproven_blocks::handlers(bound.unproven_blocks()));
        }
        let sources = http::sources(&components);
        if !sources.is_empty() {
            services.live_tails = http::live_tails(&components);
            services.place_key = Some(http::place_key(&components)?);
            services.engines =
                Some(service.start_engines(&components, sources, &mut services.ready)?);
        }
        service.spawn_forwarders(&components, &mut services)?;
        let bound = Server::bind(http::query_config(&components), services).await?;
        service.http = bound.address();
        service.http_url = bound.url();
        service.spawn_workers(&components)?;
        let accounts = bound.process_accounts();
        service.spawn_http(bound);
        if let Some((bound, spooler)) = pool {
            service.spawn_pool(bound, spooler);
        }
        service.spawn_coordinator(coordinator, accounts);
        Ok(service)
    }

    /// Lets nobody in any more, lets the pipelines commit what they hold, and stops nats-server
    /// last.
    pub async fn stop(mut self) {
        self.stop_accepting.cancel();
        self.stop_working.cancel();
        let drained = tokio::time::timeout(self.drain, async {
            while self.tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            let (seconds, tasks) = (self.drain.as_secs(), self.tasks.len());
            tracing::warn!(
                seconds,
                tasks,
                "some tasks did not end in time and are dropped"
            );
            self.tasks.abort_all();
        }
        if let Some(workers) = self.sql_workers {
            workers.shutdown().await;
        }
        if let Some(server) = self.nats_server {
            server.shutdown().await;
        }
        tracing::info!("the process ends");
    }
}
