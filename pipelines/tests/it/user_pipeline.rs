//! Pipelines of the users' own over a raw table that the test writes, without NATS.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_pipelines::user_pipeline::Runner;
use headframe_pipelines::{PipelineFault, UserPipeline, UserPipelineConfig};
use headframe_schemas::stream::sensors::Sensors;
use headframe_schemas::{Table, UserTable};
use headframe_sinks::{Lake, SeqRange, SnapshotReader, SnapshotTable, StreamBinding, TableWriter};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

mod failures;
mod plan;
mod windows;

/// 2026-03-01 11:00 UTC, in microseconds since 1970.
const START_US: i64 = 1_772_362_800_000_000;
const SECOND: i64 = 1_000_000;

/// A configuration with the keys that every one has.
fn config(sql: &str) -> UserPipelineConfig {
    UserPipelineConfig {
        name: "hot_sites".to_owned(),
        input: "sensors".to_owned(),
        table: None,
        stream: None,
        window: None,
        lateness: None,
        sql: sql.to_owned(),
        read: None,
        retention_days: 730,
        memory_mib: 64,
        timeout_s: 60,
    }
}

/// The same over windows of a minute, whose rows are waited for ten seconds.
fn minutes(sql: &str) -> UserPipelineConfig {
    UserPipelineConfig {
        window: Some("1m".to_owned()),
        lateness: Some("10s".to_owned()),
        ..config(sql)
    }
}

/// A reading, so many microseconds after [`START_US`].
fn reading(after_us: i64, site: &str, value: f64) -> Value {
    json!({"event_time": START_US + after_us, "site": site, "sensor": "s",
        "quantity": "temperature_c", "value": value})
}

/// A raw table that the test fills, and the outputs beside it.
struct World {
    /// Removed with the test.
    _folder: tempfile::TempDir,
    lake: Lake,
    raw: TableWriter,
    decoder: Decoder,
    seq: i64,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
        let binding = StreamBinding {
            created_ns: 1,
            base: 0,
        };
        let table = Table::raw(&Sensors);
        let raw = TableWriter::open(&lake, table, binding, CancellationToken::new());
        Self {
            _folder: folder,
            raw: raw.await.unwrap(),
            lake,
            decoder: Decoder::new(&Sensors, 0, DecoderState::default()),
            seq: 0,
        }
    }

    /// Commits messages of these rows, stored a day after [`START_US`].
    async fn append(&mut self, messages: &[Vec<Value>]) {
        self.append_at(messages, START_US + 86_400 * SECOND).await;
    }

    async fn append_at(&mut self, messages: &[Vec<Value>], stored_us: i64) {
        let first = self.seq + 1;
        let mut decoded = Vec::new();
        for rows in messages {
            self.seq += 1;
            let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
            decoded.push(Message {
                seq: self.seq as u64,
                time_ns: stored_us * 1_000,
                payload: lines.join("\n").into(),
                ..Message::default()
            });
        }
        let rows = self.decoder.decode(&decoded).batch;
        let range = SeqRange {
            first,
            last: self.seq,
        };
        self.raw.commit(range, &[rows]).await.unwrap();
    }

    async fn open(&self, config: &UserPipelineConfig) -> Result<Runner, PipelineFault> {
        let pipeline = Arc::new(UserPipeline::plan(config).unwrap());
        Runner::open(pipeline, &self.lake, &CancellationToken::new()).await
    }

    /// Runs a pipeline until it has read everything.
    async fn run(&self, config: &UserPipelineConfig) -> Result<(), PipelineFault> {
        let mut runner = self.open(config).await?;
        while runner.step().await? {}
        Ok(())
    }

    /// The answer of a question about the output, as lines without blanks.
    async fn ask(&self, config: &UserPipelineConfig, question: &str) -> Vec<String> {
        let table: UserTable = UserPipeline::plan(config).unwrap().table;
        let session = SessionContext::new();
        self.lake.register(session.runtime_env().as_ref());
        let reader = SnapshotReader::open(&self.lake, table.table());
        let snapshot = reader.refresh().await.unwrap();
        let table = Arc::new(SnapshotTable::new(snapshot));
        session.register_table("t", table).unwrap();
        let answer = session.sql(question).await.unwrap();
        lines(&answer.collect().await.unwrap())
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|line| line.split_whitespace().collect::<String>())
        .collect()
}
