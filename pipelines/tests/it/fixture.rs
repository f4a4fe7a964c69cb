//! A nats-server, a lake behind a store that fails on purpose, and the pipelines of a stream as one
//! process runs them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, find_nats_server,
    inspect_stream, provision_stream,
};
use headframe_pipelines::pipeline::raw_table::RawTable;
use headframe_pipelines::pipeline::rollups::Rollups;
use headframe_pipelines::{
    Context, Pipeline, PipelineConfig, PipelineFault, StreamHandle, pipeline,
};
use headframe_schemas::{Rollup, Stream, Table, rollup};
use headframe_sinks::{Lake, SnapshotReader, SnapshotTable};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failing_store::FailingStore;

pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub store: Arc<FailingStore>,
    pub publisher: Publisher,
    context: Context,
    server: ManagedServer,
}

/// The pipelines of one stream, running.
pub struct Running {
    pub handle: Arc<StreamHandle>,
    stop: CancellationToken,
    work: JoinSet<Result<(), PipelineFault>>,
}

impl Fixture {
    pub async fn new(stream: &'static dyn Stream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
        let server = ManagedServer::start(config).await.unwrap();
        let nats = Nats::connect(&server.client_config()).await.unwrap();
        provision_stream(&nats.js, stream, &Default::default())
            .await
            .unwrap();
        let plain = Lake::open(
            folder.path().join("tables").to_str().unwrap(),
            &HashMap::new(),
        )
        .unwrap();
        let store = Arc::new(FailingStore::new(plain.store().clone()));
        let lake = Lake::with_store(store.clone(), plain.url().clone());
        let publisher = Publisher::new(nats.clone(), "test", PublisherConfig::default());
        let config = PipelineConfig {
            commit_ms: 20,
            rollup_ms: 20,
            ..PipelineConfig::default()
        };
        let context = Context {
            nats,
            lake,
            config,
            anomalies: Default::default(),
            settings: Default::default(),
            keys: folder.path().join("keys"),
        };
        Self {
            folder,
            store,
            publisher,
            context,
            server,
        }
    }

    /// Starts every pipeline of the stream.
    pub async fn run(&self, stream: &'static dyn Stream) -> Running {
        self.run_some(stream, |_| true).await
    }

    /// Starts the raw table of the stream and its rollups, and nothing that looks at the clock.
    pub async fn run_tables(&self, stream: &'static dyn Stream) -> Running {
        let tables = [RawTable.name(), Rollups.name()];
        self.run_some(stream, |pipeline| tables.contains(&pipeline.name()))
            .await
    }

    async fn run_some(
        &self,
        stream: &'static dyn Stream,
        wanted: impl Fn(&dyn Pipeline) -> bool,
    ) -> Running {
        let snapshot = SnapshotReader::open(&self.context.lake, Table::raw(stream))
            .refresh()
            .await
            .unwrap();
        let handle = StreamHandle::new(stream, snapshot.offset.unwrap_or(0), &self.context.config);
        let (stop, mut work) = (CancellationToken::new(), JoinSet::new());
        for pipeline in pipeline::ALL
            .iter()
            .filter(|pipeline| pipeline.takes(stream) && wanted(**pipeline))
        {
            work.spawn(pipeline.run(self.context.clone(), handle.clone(), stop.clone()));
        }
        Running { handle, stop, work }
    }

    /// Starts one rollup, whether the program knows it or not.
    pub async fn run_rollup(&self, rollup: &'static dyn Rollup) -> Running {
        let handle = StreamHandle::new(rollup.stream(), 0, &self.context.config);
        let (stop, mut work) = (CancellationToken::new(), JoinSet::new());
        work.spawn(pipeline::rollups::run(
            rollup,
            self.context.clone(),
            handle.clone(),
            stop.clone(),
        ));
        Running { handle, stop, work }
    }

    /// The last sequence of a stream.
    pub async fn last_seq(&self, stream: &dyn Stream) -> u64 {
        let found = inspect_stream(&self.context.nats.js, stream).await;
        found.unwrap().unwrap().last_seq
    }

    /// Starts the raw table of a stream alone; makes the stream where it is missing.
    pub async fn run_raw(&self, stream: &'static dyn Stream) -> Running {
        provision_stream(&self.context.nats.js, stream, &Default::default())
            .await
            .unwrap();
        let handle = StreamHandle::new(stream, 0, &self.context.config);
        let (stop, mut work) = (CancellationToken::new(), JoinSet::new());
        work.spawn(RawTable.run(self.context.clone(), handle.clone(), stop.clone()));
        Running { handle, stop, work }
    }

    /// The answer of a question about the stored table alone, as text.
    pub async fn ask(&self, table: Table, question: &str) -> String {
        let rows = rows(&self.context.lake, table, question).await;
        pretty_format_batches(&rows).unwrap().to_string()
    }

    /// The same as a JSON array of objects, absent values left out.
    pub async fn json(&self, table: Table, question: &str) -> String {
        let rows = rows(&self.context.lake, table, question).await;
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        rows.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    /// The first column of the answer, which is text.
    pub async fn strings(&self, table: Table, question: &str) -> Vec<String> {
        let rows = rows(&self.context.lake, table, question).await;
        let of = |batch: &RecordBatch| -> Vec<String> {
            let texts = batch.column(0).as_string_view();
            texts.iter().flatten().map(str::to_owned).collect()
        };
        rows.iter().flat_map(of).collect()
    }

    /// How far the stored tables of the stream are complete: the raw one, then its rollups.
    pub async fn offsets(&self, stream: &'static dyn Stream) -> Vec<Option<i64>> {
        let tables = std::iter::once(Table::raw(stream)).chain(
            rollup::for_stream(stream.name()).map(|rollup: &dyn Rollup| Table::rollup(rollup)),
        );
        let mut offsets = Vec::new();
        for table in tables {
            offsets.push(
                SnapshotReader::open(&self.context.lake, table)
                    .refresh()
                    .await
                    .unwrap()
                    .offset,
            );
        }
        offsets
    }

    /// Waits until one table is complete through `seq`.
    pub async fn until_through(&self, table: Table, seq: u64) {
        let reader = SnapshotReader::open(&self.context.lake, table);
        until(&format!("a table complete through {seq}"), async || {
            reader.refresh().await.unwrap().offset >= Some(seq as i64)
        })
        .await;
    }

    /// Waits until raw table and rollups are complete through `seq`.
    pub async fn until_complete(&self, stream: &'static dyn Stream, seq: u64) {
        until(&format!("every table complete through {seq}"), async || {
            let offsets = self.offsets(stream).await;
            offsets.iter().all(|offset| *offset >= Some(seq as i64))
        })
        .await;
    }

    /// What its pipelines work with.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// A connection to its server.
    pub fn nats(&self) -> Nats {
        self.context.nats.clone()
    }

    pub async fn end(self) {
        self.server.shutdown().await;
    }
}

impl Running {
    /// As SIGTERM does: what is held is committed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(done) = self.work.join_next().await {
            done.unwrap().unwrap();
        }
    }

    /// As `kill -9` does, as far as a task can be killed.
    pub async fn kill(mut self) {
        self.work.shutdown().await;
    }

    /// Waits for the fault that ends one of the pipelines.
    pub async fn fault(&mut self) -> PipelineFault {
        self.work.join_next().await.unwrap().unwrap().unwrap_err()
    }
}

/// The answer of a question about a stored table alone, the relation `t`.
pub async fn rows(lake: &Lake, table: Table, question: &str) -> Vec<RecordBatch> {
    let session = SessionContext::new();
    lake.register(session.runtime_env().as_ref());
    let snapshot = SnapshotReader::open(lake, table).refresh().await.unwrap();
    let table = Arc::new(SnapshotTable::new(snapshot));
    session.register_table("t", table).unwrap();
    session
        .sql(question)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap()
}

/// Waits for a fact, and looks more and more seldom.
pub async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(240);
    let mut pause = Duration::from_millis(2);
    loop {
        let sent_at = Instant::now();
        if fact().await {
            return;
        }
        assert!(Instant::now() < deadline, "{what}");
        // Asking is not to take the processor from what is waited for.
        let longest = (3 * sent_at.elapsed()).max(Duration::from_millis(50));
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(longest);
    }
}
