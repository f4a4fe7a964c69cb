//! The processes that run typed SQL, as this process starts them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use headframe_query_engine::{Engine, LiveRowsServer, Source, SqlReports};
use headframe_query_front::worker::{SocketFolder, SqlWorkers, WorkerProgram, WorkerSettings};
use headframe_query_front::{Engines, Probe};

use crate::config::Role;
use crate::service::Service;
use crate::service::components::Components;

impl Service {
    /// Starts what answers statements: those of pages in this process, typed ones in processes of
    /// their own.
    pub(super) fn start_engines(
        &mut self,
        components: &Components,
        sources: Vec<Arc<dyn Source>>,
        ready: &mut Vec<Arc<dyn Probe>>,
    ) -> anyhow::Result<Engines> {
        let config = &components.config.query;
        let stores = components.tables.iter();
        let stores = stores.map(|(lake, _)| (lake.object_store_url(), lake.store().clone()));
        let engine = Engine::new(config.clone(), sources.clone(), stores.collect())?;
        let (workers, live_rows) = start(components, sources.clone())?;
        ready.push(Arc::new(workers.probe()));
        self.sql_workers = Some(workers.clone());
        let stop = self.stop_accepting.clone();
        self.tasks.spawn(async move {
            let served = live_rows.run(stop).await;
            served.context("the SQL workers' source of new rows stopped")
        });
        Ok(Engines {
            sql: workers,
            reports: Arc::new(SqlReports::new(config, Arc::new(engine)).with_sources(sources)),
        })
    }
}

/// Starts the workers of the role query, and listens for their questions about the newest rows.
fn start(
    components: &Components,
    sources: Vec<Arc<dyn Source>>,
) -> anyhow::Result<(Arc<SqlWorkers>, LiveRowsServer)> {
    let config = &components.config;
    let folder = SocketFolder::make(&config.data_dir).with_context(|| {
        let data = config.data_dir.display();
        format!("cannot make a private folder for the SQL workers' sockets in {data}")
    })?;
    let live_rows = folder.socket("live-rows.sock");
    let server = LiveRowsServer::bind(&live_rows, sources)
        .with_context(|| format!("cannot listen on {}", live_rows.display()))?;
    let user_tables = components.user_pipelines.iter();
    let user_tables = user_tables.map(|pipeline| pipeline.table.clone());
    let mut query = config.query.clone();
    if query.worker_cores == 0 && config.roles.contains(&Role::Stratum) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        query.worker_cores = (cores - 1).max(1);
    }
    let settings = WorkerSettings {
        query,
        lake_url: config.lake_url(),
        lake_options: config.lake.options.clone(),
        user_tables: user_tables.collect(),
        socket: PathBuf::new(),
        live_rows,
    };
    let program = WorkerProgram {
        path: this_program()?,
        arguments: vec!["sql-worker".to_owned()],
    };
    let workers = SqlWorkers::start(program, settings, folder);
    Ok((Arc::new(workers), server))
}

/// The program that runs now, also after its file was replaced by a newer one.
fn this_program() -> anyhow::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    match running.exists() {
        true => Ok(running),
        false => std::env::current_exe().context("cannot find the program that runs"),
    }
}
