//! A source whose every fact is written down by the test: rows, where they are stored and what is
//! in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use headframe_query_engine::rows_in_memory::RowsInMemory;
use headframe_query_engine::union::newer_than;
use headframe_query_engine::{Live, Source, SourceError, Stored, StoredRows, Tail};
use headframe_query_front::At;
use headframe_schemas::{Rollup, Stream, Table, codec};
use serde_json::{Value, json};

/// Microseconds since 1970 of a Monday in 2026 at midnight: where the tests' time begins.
pub const DAY: i64 = 1_767_571_200_000_000;

/// One version of a stored table.
#[derive(Clone)]
pub struct Version {
    pub offset: Option<i64>,
    pub committed_us: i64,
    pub newest_us: Option<i64>,
    pub batches: Vec<RecordBatch>,
}

/// What the source does when asked.
#[derive(Clone)]
pub struct Script {
    /// Versions of the raw table, the last the newest.
    pub raw: Vec<Version>,
    /// Versions of the rollup's table.
    pub rollup: Vec<Version>,
    /// The tails that are seen one after the other; the last stays.
    pub tails: Vec<Tail>,
    /// What JetStream has acknowledged; an error when unknown.
    pub last_seq: Result<i64, String>,
}

pub struct Scripted {
    stream: &'static dyn Stream,
    script: Mutex<Script>,
    /// How long it takes to say what is in memory, in milliseconds.
    pub tail_ms: AtomicU64,
    /// How often the raw table was opened.
    pub opened: AtomicU64,
}

struct Rows {
    table: Table,
    batches: Vec<RecordBatch>,
}

impl StoredRows for Rows {
    fn between(&self, after: Option<i64>, through: Option<i64>) -> Arc<dyn TableProvider> {
        let mut batches = self.batches.clone();
        if let Some(after) = after {
            batches = newer_than(&batches, after).unwrap();
        }
        if let Some(through) = through {
            batches = older_than(&batches, through);
        }
        let rows = Arc::new(MemTable::try_new(self.table.schema(), vec![batches]).unwrap());
        // A view applies every filter it is given and says so, which is the hardest case for
        // whoever adds rows to it.
        let plan = LogicalPlanBuilder::scan("stored", provider_as_source(rows), None)
            .unwrap()
            .build()
            .unwrap();
        Arc::new(ViewTable::new(plan, None))
    }
}

impl Scripted {
    pub fn new(stream: &'static dyn Stream, script: Script) -> Arc<Self> {
        Arc::new(Self {
            stream,
            script: Mutex::new(script),
            tail_ms: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    fn stored(&self, table: Table, versions: &[Version], at: At) -> Result<Stored, SourceError> {
        let index = match at {
            At::Latest => versions.len().checked_sub(1),
            At::Version(version) => usize::try_from(version)
                .ok()
                .filter(|index| *index < versions.len()),
            At::Time(us) => versions
                .iter()
                .rposition(|version| version.committed_us <= us),
        };
        let Some(index) = index else {
            return Err(SourceError::NoSuchVersion {
                table: table.name,
                what: format!("{at:?}"),
            });
        };
        let version = versions[index].clone();
        Ok(Stored {
            version: index as u64,
            committed_us: version.committed_us,
            offset: version.offset,
            newest_us: version.newest_us,
            good_rows: version.batches.iter().map(good_rows).sum(),
            all_good: version.batches.iter().all(|batch| {
                use arrow::array::Array;
                batch
                    .column_by_name("reject_reason")
                    .is_some_and(|reason| reason.null_count() == batch.num_rows())
            }),
            oldest: None,
            rows: Arc::new(Rows {
                table,
                batches: version.batches,
            }),
        })
    }
}

/// How many rows of a batch were not refused.
fn good_rows(batch: &RecordBatch) -> Option<usize> {
    use arrow::array::Array;
    let reasons = batch.column_by_name("reject_reason")?;
    Some(reasons.null_count())
}

#[async_trait]
impl Source for Scripted {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    async fn live(&self, _wait: Duration) -> Live {
        let wait = Duration::from_millis(self.tail_ms.load(Ordering::Relaxed));
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
        let mut script = self.script.lock().unwrap();
        let acknowledged = script.last_seq.clone();
        let acknowledged = acknowledged.map_err(|why| SourceError::Unavailable {
            action: "reading the last sequence",
            stream: self.stream.name().to_owned(),
            why,
        });
        let tail = if script.tails.len() > 1 {
            script.tails.remove(0)
        } else {
            script.tails[0].clone()
        };
        Live { acknowledged, tail }
    }

    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let versions = self.script.lock().unwrap().raw.clone();
        self.stored(Table::raw(self.stream), &versions, at)
    }

    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        let versions = self.script.lock().unwrap().rollup.clone();
        self.stored(Table::rollup(rollup), &versions, at)
    }
}

/// Rows with `seq <= through`.
pub fn older_than(batches: &[RecordBatch], through: i64) -> Vec<RecordBatch> {
    use arrow::array::{AsArray, BooleanArray};
    use arrow::datatypes::Int64Type;
    let keep = |batch: &RecordBatch| {
        let seqs = batch
            .column_by_name("seq")
            .unwrap()
            .as_primitive::<Int64Type>();
        let mask: BooleanArray = seqs
            .iter()
            .map(|seq| seq.map(|seq| seq <= through))
            .collect();
        arrow::compute::filter_record_batch(batch, &mask).unwrap()
    };
    batches
        .iter()
        .map(keep)
        .filter(|batch| batch.num_rows() > 0)
        .collect()
}

/// One raw row as JSON, from the stream's own columns.
pub fn raw_row(seq: i64, row: i64, ingest_us: i64, own: Value) -> Value {
    let mut value = own;
    let fields = value.as_object_mut().unwrap();
    fields.insert("seq".into(), json!(seq));
    fields.insert("row".into(), json!(row));
    fields.insert("ingest_time".into(), json!(ingest_us));
    fields.insert("producer".into(), json!("test"));
    fields.insert("producer_seq".into(), json!(seq));
    value
}

/// A refused row.
pub fn bad_row(seq: i64, row: i64, ingest_us: i64, reason: &str) -> Value {
    json!({"seq": seq, "row": row, "ingest_time": ingest_us, "reject_reason": reason})
}

/// A raw table's batch of these rows. A refused row's payload is its reason's bytes with one that
/// is not UTF-8.
pub fn raw_batch(stream: &dyn Stream, rows: &[Value]) -> RecordBatch {
    let table = Table::raw(stream);
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let fields: Vec<_> = table
        .schema()
        .fields()
        .iter()
        .filter(|field| field.name() != "payload")
        .cloned()
        .collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let mut reader = arrow::json::ReaderBuilder::new(schema.clone())
        .with_batch_size(100_000)
        .build(lines.as_bytes())
        .unwrap();
    let batch = reader
        .next()
        .map_or_else(|| RecordBatch::new_empty(schema), |batch| batch.unwrap());
    let conformed = codec::conform(&table.schema(), &batch).unwrap();
    let payloads: arrow::array::BinaryViewArray = rows
        .iter()
        .map(|row| {
            row.get("reject_reason")
                .map(|reason| [reason.as_str().unwrap().as_bytes(), &[0xff]].concat())
        })
        .collect();
    let mut columns = conformed.columns().to_vec();
    columns[table.schema().index_of("payload").unwrap()] = Arc::new(payloads);
    RecordBatch::try_new(table.schema(), columns).unwrap()
}

/// A share.
pub fn share(event_us: i64, worker: &str, outcome: &str, difficulty: i64) -> Value {
    json!({
        "event_time": event_us, "pool": "p1", "miner": "m1", "worker": worker, "outcome": outcome,
        "difficulty": difficulty, "network_difficulty": 300_000, "height": 7,
    })
}

/// Everything is stored through `stored`, the rest is in memory, and nothing is missing.
pub fn split(rows: &RecordBatch, stored: i64, last: i64) -> Script {
    let batches = vec![rows.clone()];
    let newest_us = Some(DAY);
    Script {
        raw: vec![Version {
            offset: Some(stored),
            committed_us: DAY,
            newest_us,
            batches: older_than(&batches, stored),
        }],
        rollup: vec![Version {
            offset: None,
            committed_us: DAY,
            newest_us: None,
            batches: vec![],
        }],
        tails: vec![Tail {
            rows: Arc::new(RowsInMemory::new(newer_than(&batches, stored).unwrap())),
            after: stored,
            through: last,
            truncated: false,
            generation: 1,
        }],
        last_seq: Ok(last),
    }
}

/// Ten shares with the sequences 1 to 10, one a second, of the workers `a` and `b` in turn.
pub fn ten_shares() -> RecordBatch {
    let rows: Vec<Value> = (1..=10)
        .map(|n| {
            let time = DAY + n * 1_000_000;
            raw_row(
                n,
                0,
                time,
                share(
                    time,
                    if n % 2 == 0 { "a" } else { "b" },
                    "accepted",
                    1_000 * n,
                ),
            )
        })
        .collect();
    raw_batch(&headframe_schemas::stream::shares::Shares, &rows)
}

/// One batch of all.
pub fn whole(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).unwrap()
}
