//! How the rooms are wired together: what a process with given roles starts, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use headframe_ingest::{
    ManagedServer, Nats, Publisher, ServerConfig, find_nats_server, http, provision_stream,
};
use headframe_pipelines::payment::PayerStateHandle;
use headframe_pipelines::signature::SigningKey;
use headframe_pipelines::{Context, StreamHandle, pipeline};
use headframe_query_engine::{DeltaTables, Engine, Source, SqlReports, StreamSource};
use headframe_query_front::{BoundServer, Engines, Probe, Server, Services};
use headframe_schemas::{Stream, Table, stream, table};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{Lake, SinkError, SnapshotReader, TableWriter};
use headframe_stratum::chain::coinbase_tag::CoinbaseKey;
use headframe_stratum::{DurableFacts, Spooler, StatsHandle, Stratum, StratumConfig};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};

mod acknowledged;
pub mod bans;
mod faults;
mod follower;
pub mod host_usage;
mod payer;
mod payment_service;
mod probes;
pub mod unproven_blocks;

use acknowledged::Acknowledged;
use faults::{Faults, Work};
use follower::Follower;
use host_usage::ProcfsMonitor;
use payment_service::StreamPaymentService;
use probes::{NatsProbe, PaymentProbe, PoolProbe, StorageProbe, StreamProbe, WorkProbe};

/// Everything a process runs.
pub struct System {
    /// Where health is told, and where SQL is answered when this process does.
    pub http: std::net::SocketAddr,
    /// When this process runs one.
    pub pool: Option<Pool>,
    tasks: JoinSet<anyhow::Result<()>>,
    nats_server: Option<ManagedServer>,
    doors: CancellationToken,
    pipelines: CancellationToken,
    drain: Duration,
}

/// A pool that listens, as its own process sees it.
pub struct Pool {
    /// Where miners connect.
    pub address: std::net::SocketAddr,
    /// Its figures.
    pub stats: StatsHandle,
    /// Its RandomX memories, for a miner in the same process.
    pub seeds: Arc<headframe_stratum::randomx::Seeds>,
    /// What miners may pin, unless TLS is off.
    pub tls_fingerprint: Option<String>,
}

/// What the roles share.
struct Parts {
    config: Config,
    nats: Nats,
    publisher: Publisher,
    faults: Faults,
    /// What the payer does, when this process runs it.
    payer: PayerStateHandle,
    /// Where tables are needed: their place, and each stream's rows in this process.
    tables: Option<(Lake, Vec<Feed>)>,
}

/// One stream in this process.
#[derive(Clone)]
struct Feed {
    handle: Arc<StreamHandle>,
    acknowledged: Arc<Acknowledged>,
}

/// Runs the configured roles until Ctrl-C or SIGTERM.
pub async fn up(config: Config) -> anyhow::Result<()> {
    let roles = config.role_list();
    let mut system = Box::pin(System::start(config)).await?;
    tracing::info!(address = %system.http, roles, "up");
    let ended = tokio::select! {
        () = stop_signal() => None,
        ended = system.tasks.join_next() => ended,
    };
    system.stop().await;
    match ended {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

impl System {
    /// Starts the roles. Everything is checked and bound before anything works, and doors open when
    /// what they need is there.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        config.validate()?;
        config.stratum.tls = config.stratum.tls.in_folder(&config.data_dir.join("tls"));
        config
            .stratum
            .defence
            .bans_file
            .get_or_insert_with(|| config.data_dir.join("stratum/bans.ndjson"));
        let recorder = recorder();
        let nats_server = start_nats(&mut config).await?;
        let parts = Parts::open(config).await?;
        let mut system = Self {
            http: parts.config.query.listen,
            pool: None,
            tasks: JoinSet::new(),
            nats_server,
            doors: CancellationToken::new(),
            pipelines: CancellationToken::new(),
            drain: parts.config.drain(),
        };
        let pool = match parts.runs(Role::Stratum) {
            true => Some(parts.pool().await?),
            false => None,
        };
        system.pool = pool.as_ref().map(|(bound, _)| Pool {
            address: bound.local_addr(),
            stats: bound.stats(),
            seeds: bound.seeds(),
            tls_fingerprint: bound.tls_fingerprint().map(str::to_owned),
        });
        let mut services =
            parts.services(system.pool.as_ref().map(|pool| &pool.stats), recorder)?;
        if let Some((bound, _)) = &pool {
            let unproven = unproven_blocks::router(bound.unproven_blocks());
            services.routes = services
                .routes
                .merge(bans::router(bound.bans()))
                .merge(unproven);
        }
        let bound = Server::bind(parts.config.query.clone(), services).await?;
        system.http = bound.address();
        if let Some((lake, feeds)) = &parts.tables {
            if parts.runs(Role::Pipelines) {
                system.spawn_pipelines(&parts, lake, feeds);
            } else if parts.runs(Role::Query) {
                system.spawn_followers(&parts, lake, feeds);
            }
            if parts.runs(Role::Maintenance) {
                system.spawn_maintenance(&parts, lake);
            }
            if parts.runs(Role::Payments) {
                let payer = payer::open(&parts.config, lake, &parts.nats, parts.payer.clone())?;
                let stop = system.pipelines.clone();
                system.tasks.spawn(async move {
                    payer.run(stop).await;
                    Ok(())
                });
            }
        }
        system.spawn_doors(bound, pool);
        Ok(system)
    }

    fn spawn_pipelines(&mut self, parts: &Parts, lake: &Lake, feeds: &[Feed]) {
        let (config, settings) = (parts.config.pipelines.clone(), parts.config.streams.clone());
        let keys = parts.config.data_dir.join("keys");
        let context = Context {
            nats: parts.nats.clone(),
            lake: lake.clone(),
            config,
            settings,
            keys,
        };
        for feed in feeds {
            for pipeline in pipeline::ALL
                .iter()
                .filter(|pipeline| pipeline.takes(feed.handle.stream))
            {
                let kind = Work::of_pipeline(pipeline.name());
                let (of, faults, stop) = (
                    feed.handle.stream.name(),
                    parts.faults.clone(),
                    self.pipelines.clone(),
                );
                let work =
                    pipeline.run(context.clone(), feed.handle.clone(), self.pipelines.clone());
                self.tasks.spawn(async move {
                    if let Err(fault) = work.await
                        && !fault.is_shutdown()
                    {
                        faults.note(kind, of, &fault.to_string());
                        // The other pipelines go on; readiness tells of this one until an operator
                        // has decided.
                        stop.cancelled().await;
                    }
                    Ok(())
                });
            }
        }
    }

    fn spawn_followers(&mut self, parts: &Parts, lake: &Lake, feeds: &[Feed]) {
        for feed in feeds {
            let Feed {
                handle,
                acknowledged,
            } = feed.clone();
            let follower = Follower {
                nats: parts.nats.clone(),
                lake: lake.clone(),
                handle,
                acknowledged,
                faults: parts.faults.clone(),
            };
            let stop = self.pipelines.clone();
            self.tasks.spawn(async move {
                follower.run(stop).await;
                Ok(())
            });
        }
    }

    fn spawn_maintenance(&mut self, parts: &Parts, lake: &Lake) {
        for table in table::all() {
            let (lake, faults, stop) = (lake.clone(), parts.faults.clone(), self.pipelines.clone());
            let config = parts.config.maintenance.of_table(&table.name);
            self.tasks.spawn(async move {
                let name = table.name.clone();
                if let Err(error) = maintain(&lake, table, config, &stop).await {
                    faults.note(Work::Maintenance, &name, &error.to_string());
                    stop.cancelled().await;
                }
                Ok(())
            });
        }
    }

    fn spawn_doors(
        &mut self,
        http: BoundServer,
        pool: Option<(headframe_stratum::BoundPool, Spooler)>,
    ) {
        let stop = self.doors.clone();
        self.tasks
            .spawn(async move { http.run(stop).await.context("the HTTP server stopped") });
        if let Some((pool, spooler)) = pool {
            let stop = self.doors.clone();
            self.tasks.spawn(async move {
                // The spooler ends when the pool has let go of it, with every row answered.
                tokio::join!(pool.run(stop), spooler.run());
                Ok(())
            });
        }
    }

    /// Closes the doors, lets the pipelines commit what they hold, and stops nats-server last.
    pub async fn stop(mut self) {
        self.doors.cancel();
        self.pipelines.cancel();
        let drained = tokio::time::timeout(self.drain, async {
            while self.tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            self.tasks.abort_all();
        }
        if let Some(server) = self.nats_server {
            server.shutdown().await;
        }
    }
}

impl Parts {
    async fn open(config: Config) -> anyhow::Result<Self> {
        let lake = match config.needs_tables() {
            true => Some(Lake::open(&config.lake_url(), &config.lake.options)?),
            false => None,
        };
        let nats = Nats::connect(&config.nats).await?;
        for stream in stream::ALL {
            provision_stream(&nats.js, *stream, &config.streams).await?;
        }
        let publisher = Publisher::new(nats.clone(), "headframe", config.publisher.clone());
        let faults = Faults::default();
        let tables = match lake {
            Some(lake) => {
                let feeds = feeds(&lake, &nats, &config, &faults).await?;
                Some((lake, feeds))
            }
            None => None,
        };
        Ok(Self {
            config,
            nats,
            publisher,
            faults,
            payer: PayerStateHandle::default(),
            tables,
        })
    }

    /// The pool, and what makes its facts durable.
    async fn pool(&self) -> anyhow::Result<(headframe_stratum::BoundPool, Spooler)> {
        let key = self.config.data_dir.join("keys/blocks.key");
        let config = StratumConfig {
            coinbase_key: Some(CoinbaseKey::open(&key)?),
            terms: self.config.payouts.terms(),
            ..self.config.stratum.clone()
        };
        let folder = self.config.data_dir.join("stratum/spool");
        let (facts, spooler) = DurableFacts::open(self.publisher.clone(), &config.spool, &folder)?;
        Ok((Stratum::bind(config, Arc::new(facts)).await?, spooler))
    }

    fn runs(&self, role: Role) -> bool {
        self.config.roles.contains(&role)
    }

    /// What the HTTP server needs: health always, SQL and the ingest door in the query role.
    fn services(
        &self,
        pool: Option<&StatsHandle>,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Services> {
        let host_monitor = Arc::new(ProcfsMonitor::new(self.config.data_dir.clone()));
        let mut services = Services {
            metrics,
            host_monitor: Some(host_monitor),
            ..Services::default()
        };
        services.health.push(Arc::new(NatsProbe(self.nats.clone())));
        if let Some(pool) = pool {
            services.ready.push(Arc::new(PoolProbe(pool.clone())));
        }
        if self.runs(Role::Pipelines) {
            // A key that cannot be used ends the pipeline with its own words; here it is only not
            // shown.
            services.payout_key = SigningKey::open(&self.config.data_dir.join("keys/payouts.key"))
                .ok()
                .map(|key| key.public_hex());
        }
        let Some((lake, feeds)) = &self.tables else {
            return Ok(services);
        };
        services.health.push(Arc::new(StorageProbe(lake.clone())));
        services.ready.extend(self.work_probes());
        if self.runs(Role::Payments) {
            services
                .ready
                .push(Arc::new(PaymentProbe(self.payer.clone())));
        }
        if self.runs(Role::Query) || self.runs(Role::Pipelines) {
            services
                .ready
                .extend(feeds.iter().map(|feed| self.stream_probe(feed)));
        }
        if self.runs(Role::Query) {
            let source = |feed: &Feed| -> Arc<dyn Source> {
                let tables = Arc::new(DeltaTables::open(lake, feed.handle.stream));
                Arc::new(StreamSource::new(
                    feed.handle.stream,
                    feed.handle.tail.clone(),
                    tables,
                    feed.acknowledged.clone(),
                ))
            };
            let engine = Arc::new(Engine::new(
                self.config.query.clone(),
                feeds.iter().map(source).collect(),
                vec![(lake.object_store_url(), lake.store().clone())],
            )?);
            services.engines = Some(Engines {
                sql: engine.clone(),
                reports: Arc::new(SqlReports::new(&self.config.query, engine)),
            });
            services.payment_service = Some(Arc::new(self.payment_service()));
            services.routes = http::router(self.publisher.clone(), self.config.ingest.clone());
        }
        Ok(services)
    }

    fn payment_service(&self) -> StreamPaymentService {
        let config = self.config.payments.clone();
        // What is wrong with the wallet's settings was told at the start.
        let wallet = config.wallet.open().ok().flatten();
        let payer = self.runs(Role::Payments).then(|| self.payer.clone());
        StreamPaymentService {
            config,
            publisher: self.publisher.clone(),
            wallet,
            payer,
        }
    }

    fn work_probes(&self) -> Vec<Arc<dyn Probe>> {
        let kinds: [(Role, &'static str, &'static [Work]); 3] = [
            (
                Role::Pipelines,
                "pipelines",
                &[Work::RawTable, Work::Rollups, Work::Payouts],
            ),
            (Role::Maintenance, "maintenance", &[Work::Maintenance]),
            (Role::Query, "tails", &[Work::Tail]),
        ];
        let wanted = kinds.into_iter().filter(|(role, ..)| self.runs(*role));
        wanted
            .map(|(_, name, kinds)| {
                Arc::new(WorkProbe {
                    name,
                    kinds,
                    faults: self.faults.clone(),
                }) as Arc<dyn Probe>
            })
            .collect()
    }

    fn stream_probe(&self, feed: &Feed) -> Arc<dyn Probe> {
        let patience = Duration::from_secs(30)
            .max(Duration::from_millis(self.config.pipelines.commit_ms) * 10);
        let commit = self.runs(Role::Pipelines).then_some(patience);
        Arc::new(StreamProbe::new(
            self.nats.clone(),
            feed.handle.clone(),
            feed.acknowledged.clone(),
            commit,
        ))
    }
}

/// Keeps the figures that `/metrics` shows; times as histograms, which can be added up over
/// processes.
fn recorder() -> Option<PrometheusHandle> {
    const SECONDS: [f64; 14] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ];
    let times = Matcher::Suffix("_seconds".to_owned());
    // A second system in one process, as tests have it, shares the figures of the first.
    PrometheusBuilder::new()
        .set_buckets_for_metric(times, &SECONDS)
        .ok()?
        .install_recorder()
        .ok()
}

/// Starts nats-server when this process is to supervise it, and says in the configuration where it
/// is.
async fn start_nats(config: &mut Config) -> anyhow::Result<Option<ManagedServer>> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make data_dir {}", config.data_dir.display()))?;
    if !config.managed_nats {
        return Ok(None);
    }
    let wanted = ServerConfig {
        port: config.nats_port,
        ..ServerConfig::new(find_nats_server()?, config.data_dir.join("nats"))
    };
    let server = ManagedServer::start(wanted).await?;
    server.url().clone_into(&mut config.nats.url);
    Ok(Some(server))
}

async fn feeds(
    lake: &Lake,
    nats: &Nats,
    config: &Config,
    faults: &Faults,
) -> anyhow::Result<Vec<Feed>> {
    let mut feeds = Vec::new();
    for stream in stream::ALL {
        let snapshot = SnapshotReader::open(lake, Table::raw(*stream))
            .refresh()
            .await?;
        let base = snapshot.binding.map_or(0, |binding| binding.base);
        let handle = StreamHandle::new(*stream, snapshot.offset.unwrap_or(base), &config.pipelines);
        handle.set_base(base);
        let acknowledged = Arc::new(Acknowledged::new(
            nats.clone(),
            lake,
            *stream,
            faults.clone(),
        ));
        feeds.push(Feed {
            handle,
            acknowledged,
        });
    }
    Ok(feeds)
}

async fn maintain(
    lake: &Lake,
    table: Table,
    config: MaintenanceConfig,
    stop: &CancellationToken,
) -> Result<(), SinkError> {
    loop {
        match Maintenance::open(lake, table.clone(), config.clone()).await {
            Ok(Some(owner)) => return owner.run(stop.clone()).await,
            Ok(None) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(table = %table.name, %error, "upkeep cannot begin, trying again")
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(config.every) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Continues a table from the stream there is now, after its offset. Messages that are lost stay
/// lost.
pub async fn adopt(mut config: Config, stream: &str) -> anyhow::Result<()> {
    let Some(stream): Option<&'static dyn Stream> = stream::find(stream) else {
        bail!("there is no stream {stream:?}")
    };
    let lake = Lake::open(&config.lake_url(), &config.lake.options)?;
    let managed = start_nats(&mut config).await?;
    let nats = Nats::connect(&config.nats).await?;
    let identity = provision_stream(&nats.js, stream, &config.streams).await?;
    let mut writer =
        TableWriter::open_to_rebind(&lake, Table::raw(stream), CancellationToken::new()).await?;
    let binding = writer
        .rebind(identity.created_ns, identity.first_seq.max(1))
        .await?;
    println!(
        "table {} continues from stream sequence {} with base {}",
        stream.name(),
        identity.first_seq.max(1),
        binding.base
    );
    if let Some(server) = managed {
        server.shutdown().await;
    }
    Ok(())
}
