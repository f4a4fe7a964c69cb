//! The rows of a pipeline's table as rows of a stream, each once.
//!
//! The table is the outbox: what it holds is sent in order, and how far that has come is kept in
//! JetStream after the rows are acknowledged. A row's number is its place in the table, `seq` and
//! `row`, so that what is sent again after a crash or a lost answer carries the same number, by
//! which whoever decodes the stream drops it. What comes of the stream then (its table, live
//! subscriptions, rollups, rules) is no business of the pipeline.

use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use datafusion::prelude::{SessionContext, col, ident};
use futures::{StreamExt, pin_mut};
use headframe_ingest::registry::{Bucket, BucketSettings, WatchEvent};
use headframe_ingest::{Nats, Publisher};
use headframe_schemas::{Kind, Stream, WritePermission, stream};
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};
use serde::{Deserialize, Serialize};

use crate::fault::PipelineFault;
use crate::user_pipeline::UserPipeline;
use crate::user_pipeline::session::Evaluator;
use crate::user_pipeline::step_end::step_end;

/// Rows of the table that are sent at once, about.
const STEP_ROWS: i64 = 10_000;
/// Rows that one message of the input can make, with a number each.
const ROWS_PER_SEQ: i64 = 1 << 24;

/// Sends the rows of one pipeline's table.
pub(super) struct Onward {
    pipeline: Arc<UserPipeline>,
    stream: &'static dyn Stream,
    table: SnapshotReader,
    publisher: Publisher,
    bucket: Bucket,
    key: String,
    sent: Option<Sent>,
}

/// How far the table has been sent, and the revision of that value.
#[derive(Debug, Clone, Copy)]
struct Sent {
    through: i64,
    revision: u64,
}

/// The same as it is kept.
#[derive(Serialize, Deserialize)]
struct SentValue {
    through_seq: i64,
}

/// The stream of this name, where the SELECT's columns make rows of it that a reader of the input
/// may see. The error names the key.
pub(super) fn target(
    name: &str,
    input: &dyn Stream,
    columns: &[headframe_schemas::user_table::UserColumn],
) -> Result<&'static dyn Stream, String> {
    let takes = |stream: &dyn Stream| stream.write_permission() == WritePermission::Producer;
    let Some(stream) = stream::find(name).filter(|stream| takes(*stream)) else {
        let names = stream::ALL.iter().filter(|stream| takes(**stream));
        let names: Vec<&str> = names.map(|stream| stream.name()).collect();
        return Err(format!(
            "stream is {name:?}, to which no pipeline writes; it may be {}",
            names.join(", ")
        ));
    };
    if stream.name() == input.name() {
        return Err(format!(
            "stream is {name:?}, which is its input; a pipeline does not read what it wrote"
        ));
    }
    if input.read_permission() != stream.read_permission() {
        return Err(format!(
            "stream is {name:?}, which may be read by others than {}; name no stream",
            input.name()
        ));
    }
    for column in columns {
        let Some(found) = stream.columns().iter().find(|own| own.name == column.name) else {
            return Err(format!(
                "stream: {name} has no column {}; leave it out of the SELECT, or rename it with AS",
                column.name
            ));
        };
        if !fits(column.kind, found.kind) {
            return Err(format!(
                "stream: the column {} is {:?} in {name} and {:?} in the SELECT; CAST it",
                column.name, found.kind, column.kind
            ));
        }
    }
    let missing = stream
        .columns()
        .iter()
        .find(|own| own.required && !columns.iter().any(|column| column.name == own.name));
    match missing {
        Some(column) => Err(format!(
            "stream: a row of {name} needs the column {}, which the SELECT does not have",
            column.name
        )),
        None => Ok(stream),
    }
}

/// Whether every value of one kind is one of another.
fn fits(from: Kind, to: Kind) -> bool {
    from == to
        || matches!(
            (from, to),
            (Kind::SmallInt, Kind::Int | Kind::Float) | (Kind::Int, Kind::Float)
        )
}

impl Onward {
    /// For a pipeline that names a stream; nothing for one that does not.
    pub(super) async fn open(
        pipeline: &Arc<UserPipeline>,
        lake: &Lake,
        nats: &Nats,
        replicas: usize,
    ) -> Result<Option<Self>, PipelineFault> {
        let Some(stream) = pipeline.stream_of_rows else {
            return Ok(None);
        };
        let settings = BucketSettings {
            name: "headframe_pipelines",
            description: "How far rows of pipelines' tables have been sent to streams.",
            max_age: None,
            max_value_bytes: 4 * 1024,
            max_bytes: 16 * 1024 * 1024,
            replicas,
        };
        let bucket = Bucket::open(nats.clone(), &settings).await;
        let name = format!("pipeline-{}", pipeline.name);
        Ok(Some(Self {
            stream,
            table: SnapshotReader::open(lake, pipeline.table.table()),
            publisher: Publisher::new(nats.clone(), &name, Default::default()),
            bucket: bucket.map_err(away(pipeline.name))?,
            key: format!("{}.{}", pipeline.name, pipeline.table.name),
            sent: None,
            pipeline: pipeline.clone(),
        }))
    }

    /// Sends what the table has more than the stream, a step at most. True when there is more.
    pub(super) async fn send(&mut self, evaluator: &Evaluator) -> Result<bool, PipelineFault> {
        let snapshot = self.table.refresh().await?;
        let Some(through) = snapshot.offset else {
            return Ok(false);
        };
        let sent = match self.sent {
            Some(sent) => sent,
            None => self.read_sent().await?,
        };
        self.sent = Some(sent);
        if through <= sent.through {
            return Ok(false);
        }
        let last = step_end(&snapshot, sent.through, through, STEP_ROWS);
        for rows in self.rows(evaluator, snapshot, (sent.through, last)).await? {
            let published = self.publisher.batch(self.stream, rows).await;
            published.map_err(|error| match error.retryable() {
                true => away(self.pipeline.name)(error),
                false => PipelineFault::plan("sending rows", self.pipeline.name)(error),
            })?;
        }
        // Known again when it is asked for, should the answer get lost.
        self.sent = None;
        let value = SentValue { through_seq: last };
        let value = serde_json::to_vec(&value)
            .map_err(PipelineFault::plan("sending rows", self.pipeline.name))?;
        let revision = self.bucket.put(&self.key, value, sent.revision).await;
        self.sent = Some(Sent {
            through: last,
            revision: revision.map_err(away(self.pipeline.name))?,
        });
        Ok(last < through)
    }

    async fn read_sent(&self) -> Result<Sent, PipelineFault> {
        let failed = || away(self.pipeline.name);
        let events = self.bucket.watch().await.map_err(failed())?;
        pin_mut!(events);
        let mut sent = Sent {
            through: 0,
            revision: 0,
        };
        while let Some(event) = events.next().await {
            match event.map_err(failed())? {
                WatchEvent::Current => return Ok(sent),
                WatchEvent::Entry(entry) if entry.key == self.key => {
                    let value = entry.value.unwrap_or_default();
                    let kept: SentValue = serde_json::from_slice(&value).map_err(
                        PipelineFault::plan("reading how far rows were sent", self.pipeline.name),
                    )?;
                    sent = Sent {
                        through: kept.through_seq,
                        revision: entry.revision,
                    };
                }
                WatchEvent::Entry(_) => {}
            }
        }
        let ended = "the bucket headframe_pipelines ended";
        Err(away(self.pipeline.name)(ended))
    }

    /// The good rows with `after < seq <= last`, in order, with their numbers.
    async fn rows(
        &self,
        evaluator: &Evaluator,
        snapshot: Arc<Snapshot>,
        (after, last): (i64, i64),
    ) -> Result<Vec<RecordBatch>, PipelineFault> {
        let failed = || PipelineFault::query("reading rows to send", self.pipeline.name);
        let session = SessionContext::new_with_state(evaluator.session().clone());
        let table = SnapshotTable::new(snapshot).with_range(Some(after), Some(last));
        let good = session
            .read_table(Arc::new(table))
            .and_then(|rows| rows.filter(col("reject_reason").is_null()))
            .and_then(|rows| {
                let order = [ident("seq"), ident("row")];
                rows.sort(order.map(|column| column.sort(true, false)).to_vec())
            });
        let plan = good.map_err(failed())?.into_unoptimized_plan();
        let batches = evaluator.run_own(evaluator.session(), &plan).await?;
        let mut numbered = Vec::new();
        for batch in batches {
            let rows = self.numbered(&batch);
            let rows = rows.map_err(PipelineFault::plan("sending rows", self.pipeline.name))?;
            if rows.num_rows() > 0 {
                numbered.push(rows);
            }
        }
        Ok(numbered)
    }

    /// Rows of the table as rows of the stream. Those without the stream's key have no subject, and
    /// stay in the table alone.
    fn numbered(&self, batch: &RecordBatch) -> Result<RecordBatch, String> {
        let column = |name: &str| {
            let found = batch.column_by_name(name);
            found
                .cloned()
                .ok_or_else(|| format!("the table has no column {name}"))
        };
        let (seqs, rows) = (column("seq")?, column("row")?);
        let (seqs, rows) = (
            seqs.as_primitive_opt::<Int64Type>()
                .ok_or("seq is no BIGINT")?,
            rows.as_primitive_opt::<Int32Type>()
                .ok_or("row is no INTEGER")?,
        );
        let numbers = seqs.values().iter().zip(rows.values()).map(|(seq, row)| {
            let row = i64::from(*row);
            let number = seq.checked_mul(ROWS_PER_SEQ)?.checked_add(row)?;
            (row < ROWS_PER_SEQ).then_some(number)
        });
        let numbers: Option<Vec<i64>> = numbers.collect();
        let numbers = numbers.ok_or("a message made more rows than can be numbered")?;
        let producer = format!("pipeline-{}", self.key);
        let producers = std::iter::repeat_n(Some(producer.as_str()), batch.num_rows());
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for own in &self.pipeline.table.columns {
            columns.push((own.name.clone(), column(&own.name)?));
        }
        let keys = column(self.stream.key())?;
        columns.extend([
            (
                "producer".to_owned(),
                Arc::new(producers.collect::<StringViewArray>()) as ArrayRef,
            ),
            (
                "producer_seq".to_owned(),
                Arc::new(Int64Array::from(numbers)),
            ),
        ]);
        let field = |(name, array): &(String, ArrayRef)| -> Field {
            let kind: DataType = array.data_type().clone();
            Field::new(name, kind, true)
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let whole = RecordBatch::try_new(Arc::new(schema), arrays).map_err(|e| e.to_string())?;
        let keyed: BooleanArray = (0..keys.len())
            .map(|row| Some(keys.is_valid(row)))
            .collect();
        let left = keyed.false_count();
        if left > 0 {
            let (pipeline, key) = (self.pipeline.name, self.stream.key());
            tracing::warn!(
                pipeline,
                rows = left,
                key,
                "rows without a key are not sent"
            );
        }
        filter_record_batch(&whole, &keyed).map_err(|error| error.to_string())
    }
}

/// What is away comes back; the same rows are sent again.
fn away<E: std::fmt::Display>(pipeline: &'static str) -> impl FnOnce(E) -> PipelineFault {
    move |error| PipelineFault::Storage {
        action: "sending rows",
        table: pipeline.to_owned(),
        why: error.to_string(),
    }
}
