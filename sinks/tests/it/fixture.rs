//! A lake in a temporary folder behind a failing store, and numbered rows of the sensors table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::SessionContext;
use headframe_schemas::{Table, codec, stream};
use headframe_sinks::{
    Lake, SeqRange, SinkError, SnapshotReader, SnapshotTable, StreamBinding, TableWriter,
};
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::failing_store::FailingStore;

pub const BINDING: StreamBinding = StreamBinding {
    created_ns: 7,
    base: 0,
};

pub struct Fixture {
    pub lake: Lake,
    pub store: Arc<FailingStore>,
    pub folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
        let store = Arc::new(FailingStore::new(plain.store().clone()));
        let lake = Lake::with_store(store.clone(), plain.url().clone());
        Self {
            lake,
            store,
            folder,
        }
    }

    /// The same lake in memory: no access to it needs a thread of its own.
    pub fn in_memory() -> Self {
        let fixture = Self::new();
        let store = Arc::new(FailingStore::new(Arc::new(InMemory::new())));
        let lake = Lake::with_store(store.clone(), fixture.lake.url().clone());
        Self {
            lake,
            store,
            folder: fixture.folder,
        }
    }

    pub async fn writer(&self) -> TableWriter {
        self.try_writer(BINDING).await.unwrap()
    }

    pub async fn try_writer(&self, binding: StreamBinding) -> Result<TableWriter, SinkError> {
        TableWriter::open(&self.lake, table(), binding, CancellationToken::new()).await
    }

    /// What another program commits: one line of the log at a version that must be free.
    pub fn append(&self, version: u64, line: &str) {
        let path = self
            .folder
            .path()
            .join(format!("sensors/_delta_log/{version:020}.json"));
        assert!(!path.exists());
        std::fs::write(path, line).unwrap();
    }

    /// The table's metadata as its first version has it.
    pub fn meta_data(&self) -> String {
        let entry = std::fs::read_to_string(
            self.folder
                .path()
                .join("sensors/_delta_log/00000000000000000000.json"),
        )
        .unwrap();
        entry
            .lines()
            .find(|line| line.contains("metaData"))
            .unwrap()
            .to_owned()
    }

    /// Every sequence in the table, sorted.
    pub async fn sequences(&self) -> Vec<i64> {
        self.numbers(table(), "SELECT seq FROM t ORDER BY seq")
            .await
    }

    /// The first column of what a statement says of a table, which it calls `t`.
    pub async fn numbers(&self, table: Table, sql: &str) -> Vec<i64> {
        let snapshot = SnapshotReader::open(&self.lake, table)
            .refresh()
            .await
            .unwrap();
        let session = SessionContext::new();
        self.lake.register(session.runtime_env().as_ref());
        session
            .register_table("t", Arc::new(SnapshotTable::new(snapshot)))
            .unwrap();
        let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
        rows.iter()
            .flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect()
    }
}

pub fn table() -> Table {
    Table::raw(stream::find("sensors").unwrap())
}

pub fn range(first: i64, last: i64) -> SeqRange {
    SeqRange { first, last }
}

/// One good row a sequence.
pub fn rows(first: i64, last: i64) -> Vec<RecordBatch> {
    let lines: Vec<String> = (first..=last)
        .map(|seq| {
            let time = 1_767_312_000_000_000 + seq;
            format!(
                r#"{{"seq":{seq},"row":0,"ingest_time":{time},"event_time":{time},"site":"a",
                "sensor":"s","quantity":"temperature_c","value":{seq}.5,
                "ingest_date":"2026-01-02"}}"#
            )
        })
        .collect();
    decoded(&table(), &lines.join("\n"))
}

/// Rows of a table from their JSON.
pub fn decoded(table: &Table, json: &str) -> Vec<RecordBatch> {
    let schema = table.schema();
    let reader = arrow::json::ReaderBuilder::new(schema.clone())
        .build(std::io::Cursor::new(json))
        .unwrap();
    reader
        .map(|batch| codec::conform(&schema, &batch.unwrap()).unwrap())
        .collect()
}
