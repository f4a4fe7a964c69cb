//! The stream `anomalies` as its one writer sees it: what it holds, and the next rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::prelude::{SessionConfig, SessionContext, col, lit};
use headframe_ingest::ExclusiveAppender;
use headframe_schemas::stream::anomalies::{Anomalies, Anomaly};
use headframe_schemas::{Table, codec};
use headframe_sinks::{Snapshot, SnapshotReader, SnapshotTable};

use crate::anomaly::Transition;
use crate::fault::PipelineFault;
use crate::pipeline::Context;
use crate::pipeline::derived::wait_until_committed;

/// The writing end, and the table.
pub(super) struct Output {
    appender: ExclusiveAppender,
    table: SnapshotReader,
    session: SessionContext,
    /// What is added to a sequence of the stream to get the table's.
    base: i64,
}

impl Output {
    /// Opens the stream and waits until its table holds all of it.
    pub(super) async fn open(context: &Context) -> Result<Self, PipelineFault> {
        let nats = context.nats.clone();
        let appender = ExclusiveAppender::open(nats, &Anomalies, &context.settings).await?;
        let table = SnapshotReader::open(&context.lake, Table::raw(&Anomalies));
        wait_until_committed(&appender, &table).await?;
        let base = table
            .refresh()
            .await?
            .binding
            .map_or(0, |binding| binding.base);
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        context.lake.register(session.runtime_env().as_ref());
        Ok(Self {
            appender,
            table,
            session,
            base,
        })
    }

    /// The sequence of the table of the newest row that was written.
    pub(super) fn written_through(&self) -> i64 {
        self.base + i64::try_from(self.appender.last_seq()).unwrap_or(i64::MAX)
    }

    /// Appends rows in their order, in as many messages as sites follow each other and as they
    /// need.
    pub(super) async fn append(&mut self, mut rows: &[Anomaly]) -> Result<(), PipelineFault> {
        check_acceptable(rows)?;
        while let Some(first) = rows.first() {
            let of_site = rows.iter().take_while(|row| row.site == first.site).count();
            let fitting = self.appender.rows_that_fit(&rows[..of_site])?;
            let (now, later) = rows.split_at(fitting);
            self.appender.append(now).await?;
            metrics::counter!("headframe_anomaly_rows_total").increment(now.len() as u64);
            rows = later;
        }
        Ok(())
    }

    /// The rows of a source after a sequence of the table, in their order.
    pub(super) async fn rows_after(
        &self,
        source: &str,
        after: i64,
    ) -> Result<Vec<Anomaly>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", "anomalies");
        let snapshot = self.table.refresh().await?;
        let rows = self.good_rows(&snapshot, Some(after)).and_then(|rows| {
            rows.filter(col("source").eq(lit(source)))?.sort(vec![
                col("seq").sort(true, true),
                col("row").sort(true, true),
            ])
        });
        let batches = rows.map_err(error())?.collect().await.map_err(error())?;
        Ok(decode(&batches))
    }

    /// The newest sequence of a source that a row of it names.
    pub(super) async fn last_input(&self, source: &str) -> Result<Option<i64>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", "anomalies");
        let snapshot = self.table.refresh().await?;
        let rows = self.good_rows(&snapshot, None).and_then(|rows| {
            rows.filter(col("source").eq(lit(source)))?
                .aggregate(Vec::new(), vec![max(col("input_seq")).alias("input_seq")])
        });
        let batches = rows.map_err(error())?.collect().await.map_err(error())?;
        let last = |batch: &RecordBatch| {
            let column = batch
                .column_by_name("input_seq")?
                .as_primitive_opt::<Int64Type>()?;
            (batch.num_rows() > 0 && column.is_valid(0)).then(|| column.value(0))
        };
        Ok(batches.iter().find_map(last))
    }

    /// The beginnings of a source that no row ends.
    pub(super) async fn open_rows(&self, source: &str) -> Result<Vec<Anomaly>, PipelineFault> {
        let mut open: Vec<Anomaly> = Vec::new();
        for row in self.rows_after(source, i64::MIN).await? {
            match row.transition == Transition::Opened.as_str() {
                true => open.push(row),
                false => open.retain(|begun| {
                    (&begun.site, &begun.signal, &begun.detector, begun.since)
                        != (&row.site, &row.signal, &row.detector, row.since)
                }),
            }
        }
        Ok(open)
    }

    fn good_rows(
        &self,
        snapshot: &Arc<Snapshot>,
        after: Option<i64>,
    ) -> datafusion::common::Result<datafusion::prelude::DataFrame> {
        let table = SnapshotTable::new(snapshot.clone()).with_range(after, None);
        let rows = self.session.read_table(Arc::new(table))?;
        rows.filter(col("reject_reason").is_null())
    }
}

/// Whether the table will take these rows: one that it refused would be found missing by the next
/// start.
fn check_acceptable(rows: &[Anomaly]) -> Result<(), PipelineFault> {
    let fault = || PipelineFault::plan("writing rows", "anomalies");
    let lines = rows
        .iter()
        .map(serde_json::to_vec)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault()(error.to_string()))?;
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    match codec::decode_ndjson(&Anomalies, &lines).rejects.first() {
        Some(reject) => Err(fault()(format!(
            "a row would be refused: {}",
            reject.reason
        ))),
        None => Ok(()),
    }
}

fn decode(batches: &[RecordBatch]) -> Vec<Anomaly> {
    let rows = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).filter_map(move |row| anomaly(batch, row)));
    rows.collect()
}

fn anomaly(batch: &RecordBatch, row: usize) -> Option<Anomaly> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .filter(|column| column.is_valid(row))
    };
    let text = |name: &str| Some(column(name)?.as_string_view_opt()?.value(row).to_owned());
    let float = |name: &str| {
        let floats = column(name)?.as_primitive_opt::<Float64Type>()?;
        Some(floats.value(row))
    };
    let time = |name: &str| {
        let times = column(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(times.value(row))
    };
    Some(Anomaly {
        event_time: time("event_time")?,
        site: text("site")?,
        source: text("source")?,
        signal: text("signal")?,
        detector: text("detector")?,
        transition: text("transition")?,
        since: time("since")?,
        value: float("value"),
        expected: float("expected"),
        deviation: float("deviation"),
        lower: float("lower"),
        upper: float("upper"),
        score: float("score")?,
        reason: text("reason"),
        input_seq: column("input_seq")?
            .as_primitive_opt::<Int64Type>()?
            .value(row),
    })
}
