//! How the rooms are wired together: what a process with given roles starts, and how it stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use headframe_ingest::{ManagedServer, Nats, Publisher, ServerConfig, door, provision, server};
use headframe_pipelines::{Context, StreamHandle, pipeline};
use headframe_query::{DeltaTables, LastSeq, Probe, Server, Source, StreamSource, Wiring};
use headframe_schemas::{Stream, Table, stream, table};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{Lake, SnapshotReader, TableWriter};
use headframe_stratum::{PublisherFacts, Stratum};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};

/// Faults of pipelines by name, for readiness.
type Faults = Arc<Mutex<HashMap<String, String>>>;

/// Everything a process runs.
pub struct System {
    /// Where SQL is answered, when this process does.
    pub http: Option<std::net::SocketAddr>,
    /// The pool's bound server and figures, when this process runs one.
    pub pool: Option<(std::net::SocketAddr, headframe_stratum::StatsHandle, Arc<headframe_stratum::randomx::Seeds>)>,
    tasks: JoinSet<anyhow::Result<()>>,
    nats_server: Option<ManagedServer>,
    doors: CancellationToken,
    pipelines: CancellationToken,
}

/// Runs the configured roles until Ctrl-C or SIGTERM.
pub async fn up(config: Config) -> anyhow::Result<()> {
    config.validate()?;
    let mut system = System::start(config).await?;
    if let Some(address) = system.http {
        tracing::info!(%address, "sql is answered");
    }
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
    /// Starts the roles. Doors open only when everything they need is there.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().ok();
        std::fs::create_dir_all(&config.data_dir).with_context(|| format!("cannot make {}", config.data_dir.display()))?;
        let lake = Lake::open(&config.lake_url(), &config.lake.options)?;
        let mut nats_server = None;
        if config.managed_nats {
            let managed = ManagedServer::start(ServerConfig::new(server::find_binary()?, config.data_dir.join("nats"))).await?;
            managed.url().clone_into(&mut config.nats.url);
            nats_server = Some(managed);
        }
        let nats = Nats::connect(&config.nats).await?;
        for stream in stream::ALL {
            provision(&nats.js, *stream, &config.streams).await?;
        }
        let mut system = Self {
            http: None,
            pool: None,
            tasks: JoinSet::new(),
            nats_server,
            doors: CancellationToken::new(),
            pipelines: CancellationToken::new(),
        };
        let publisher = Publisher::new(nats.clone(), "headframe", config.publisher.clone());
        let faults = Faults::default();
        let handles = handles(&lake, &config).await?;
        if config.roles.contains(&Role::Pipelines) {
            let settings = config.streams.clone();
            let context = Context { nats: nats.clone(), lake: lake.clone(), config: config.pipelines.clone(), settings };
            system.spawn_pipelines(&context, &handles, &faults);
        } else if config.roles.contains(&Role::Query) {
            bail!("the query role needs the pipelines role in the same process for rows that are not stored yet");
        }
        if config.roles.contains(&Role::Maintenance) {
            system.spawn_maintenance(&lake, &faults);
        }
        if config.roles.contains(&Role::Query) {
            let wiring = wiring(&lake, &nats, &handles, &publisher, &config, &faults, recorder);
            let bound = Server::bind(config.query.clone(), wiring).await?;
            system.http = Some(bound.address());
            let stop = system.doors.clone();
            system.tasks.spawn(async move { bound.run(stop).await.context("the SQL server stopped") });
        }
        if config.roles.contains(&Role::Stratum) {
            system.spawn_stratum(&config, publisher).await?;
        }
        Ok(system)
    }

    fn spawn_pipelines(&mut self, context: &Context, handles: &[Arc<StreamHandle>], faults: &Faults) {
        for handle in handles {
            for pipeline in pipeline::ALL.iter().filter(|pipeline| pipeline.takes(handle.stream)) {
                let name = format!("pipeline {} of {}", pipeline.name(), handle.stream.name());
                let (work, faults) = (pipeline.run(context.clone(), handle.clone(), self.pipelines.clone()), faults.clone());
                self.tasks.spawn(async move {
                    if let Err(fault) = work.await
                        && !fault.is_shutdown()
                    {
                        note(&faults, &name, &fault.to_string());
                        // The other pipelines go on; readiness tells of this one until an operator has decided.
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                });
            }
        }
    }

    fn spawn_maintenance(&mut self, lake: &Lake, faults: &Faults) {
        for table in table::all() {
            let (lake, faults, stop) = (lake.clone(), faults.clone(), self.pipelines.clone());
            self.tasks.spawn(async move {
                let name = format!("maintenance of {}", table.name);
                if let Err(error) = maintain(&lake, table, &stop).await {
                    note(&faults, &name, &error.to_string());
                    stop.cancelled().await;
                }
                Ok(())
            });
        }
    }

    async fn spawn_stratum(&mut self, config: &Config, publisher: Publisher) -> anyhow::Result<()> {
        let bound = Stratum::bind(config.stratum.clone(), Arc::new(PublisherFacts(publisher))).await?;
        self.pool = Some((bound.local_addr(), bound.stats(), bound.seeds()));
        let stop = self.doors.clone();
        self.tasks.spawn(async move {
            bound.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Closes the doors, lets the pipelines commit what they hold, and stops nats-server last.
    pub async fn stop(mut self) {
        self.doors.cancel();
        self.pipelines.cancel();
        let drained = tokio::time::timeout(std::time::Duration::from_secs(15), async { while self.tasks.join_next().await.is_some() {} });
        if drained.await.is_err() {
            self.tasks.abort_all();
        }
        if let Some(server) = self.nats_server {
            server.shutdown().await;
        }
    }
}

async fn handles(lake: &Lake, config: &Config) -> anyhow::Result<Vec<Arc<StreamHandle>>> {
    let mut handles = Vec::new();
    for stream in stream::ALL {
        let snapshot = SnapshotReader::open(lake, Table::raw(*stream)).refresh().await?;
        let base = snapshot.binding.map_or(0, |binding| binding.base);
        let handle = StreamHandle::new(*stream, snapshot.offset.unwrap_or(base), &config.pipelines);
        handle.set_base(base);
        handles.push(handle);
    }
    Ok(handles)
}

async fn maintain(lake: &Lake, table: Table, stop: &CancellationToken) -> Result<(), headframe_sinks::SinkError> {
    let config = MaintenanceConfig::default();
    loop {
        if let Some(owner) = Maintenance::open(lake, table.clone(), config.clone()).await? {
            return owner.run(stop.clone()).await;
        }
        tokio::select! {
            () = tokio::time::sleep(config.every) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn wiring(
    lake: &Lake,
    nats: &Nats,
    handles: &[Arc<StreamHandle>],
    publisher: &Publisher,
    config: &Config,
    faults: &Faults,
    metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
) -> Wiring {
    let source = |handle: &Arc<StreamHandle>| -> Arc<dyn Source> {
        let last = Arc::new(LastAcknowledged { nats: nats.clone(), handle: handle.clone() });
        let tables = Arc::new(DeltaTables::open(lake, handle.stream));
        Arc::new(StreamSource::new(handle.stream, handle.tail.clone(), tables, last))
    };
    Wiring {
        sources: handles.iter().map(source).collect(),
        stores: vec![(lake.object_store_url(), lake.store().clone())],
        health: vec![Arc::new(NatsProbe(nats.clone())), Arc::new(StorageProbe(lake.clone()))],
        ready: vec![Arc::new(PipelineProbe(faults.clone()))],
        metrics,
        routes: door::router(publisher.clone(), config.ingest.clone()),
    }
}

fn note(faults: &Faults, name: &str, fault: &str) {
    tracing::error!(name, fault, "stopped");
    faults.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), fault.to_owned());
}

struct LastAcknowledged {
    nats: Nats,
    handle: Arc<StreamHandle>,
}

#[async_trait::async_trait]
impl LastSeq for LastAcknowledged {
    async fn last_seq(&self) -> Result<i64, String> {
        let name = self.handle.stream.name();
        let identity = provision::inspect(&self.nats.js, self.handle.stream).await.map_err(|error| error.to_string())?;
        let last = identity.ok_or_else(|| format!("stream {name} does not exist"))?.last_seq;
        i64::try_from(last).map(|last| self.handle.base() + last).map_err(|error| error.to_string())
    }
}

struct NatsProbe(Nats);

#[async_trait::async_trait]
impl Probe for NatsProbe {
    fn name(&self) -> &str {
        "nats"
    }
    async fn check(&self) -> Result<(), String> {
        self.0.client.flush().await.map_err(|error| format!("NATS does not answer: {error}"))
    }
}

struct StorageProbe(Lake);

#[async_trait::async_trait]
impl Probe for StorageProbe {
    fn name(&self) -> &str {
        "storage"
    }
    async fn check(&self) -> Result<(), String> {
        self.0.store().list_with_delimiter(None).await.map(|_| ()).map_err(|error| format!("the tables cannot be listed: {error}"))
    }
}

struct PipelineProbe(Faults);

#[async_trait::async_trait]
impl Probe for PipelineProbe {
    fn name(&self) -> &str {
        "pipelines"
    }
    async fn check(&self) -> Result<(), String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<String> = faults.iter().map(|(name, fault)| format!("{name}: {fault}")).collect();
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }
}

/// Continues a table from the stream there is now, after its offset. Messages that are lost stay lost.
pub async fn adopt(mut config: Config, stream: &str) -> anyhow::Result<()> {
    let Some(stream): Option<&'static dyn Stream> = stream::find(stream) else { bail!("there is no stream {stream:?}") };
    let lake = Lake::open(&config.lake_url(), &config.lake.options)?;
    let mut managed = None;
    if config.managed_nats {
        let server = ManagedServer::start(ServerConfig::new(server::find_binary()?, config.data_dir.join("nats"))).await?;
        server.url().clone_into(&mut config.nats.url);
        managed = Some(server);
    }
    let nats = Nats::connect(&config.nats).await?;
    let identity = provision(&nats.js, stream, &config.streams).await?;
    let mut writer = TableWriter::open_to_rebind(&lake, Table::raw(stream), CancellationToken::new()).await?;
    let binding = writer.rebind(identity.created_ns, identity.first_seq.max(1)).await?;
    println!("table {} continues from stream sequence {} with base {}", stream.name(), identity.first_seq.max(1), binding.base);
    if let Some(server) = managed {
        server.shutdown().await;
    }
    Ok(())
}
