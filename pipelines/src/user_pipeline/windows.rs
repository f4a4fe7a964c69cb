//! A step of a pipeline with windows: what its messages close is evaluated, each window once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::error::Result as EngineResult;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, SessionContext, ident};
use headframe_schemas::Tier;
use headframe_schemas::rollup::bin_sql;
use headframe_sinks::{DataFile, Snapshot, SnapshotTable};

use crate::fault::PipelineFault;
use crate::user_pipeline::bisect::{relation, single_rows, with_schema};
use crate::user_pipeline::closing::{Closing, InputRow, Windows};
use crate::user_pipeline::output::{Places, good_rows, refused, refused_input};
use crate::user_pipeline::plan::{WINDOW_COLUMNS, input_schema};
use crate::user_pipeline::session::{EvaluationError, Evaluator, with_relation};
use crate::user_pipeline::{Step, UserPipeline};

/// A step ends behind a message after which it has evaluated so many windows.
const MAX_WINDOWS: usize = 1_000;
/// Evaluations that looking for the rows on which a window fails may take.
const MAX_EVALUATIONS: usize = 2_000;
/// The relation of the input's good rows, for questions of our own.
const ROWS: &str = "rows";

/// A look at the input from which the windows of a step are evaluated.
pub(super) struct WindowStep<'a> {
    pub(super) pipeline: &'a UserPipeline,
    pub(super) windows: Windows,
    pub(super) evaluator: &'a Evaluator,
    pub(super) snapshot: Arc<Snapshot>,
    /// Windows are closed up to here, in microseconds since 1970.
    pub(super) closed_us: i64,
}

/// What has come of the windows so far.
#[derive(Default)]
struct Made {
    rows: Vec<RecordBatch>,
    bytes: usize,
    windows: usize,
    refused: u64,
}

impl WindowStep<'_> {
    /// What comes of the input's messages with `after < seq <= last`, or of the first of them.
    pub(super) async fn run(&self, after: i64, last: i64) -> Result<Step, PipelineFault> {
        let rows = self.input_rows(after, last).await?;
        let done = self.windows.close(self.closed_us, &rows);
        let (Some(first), Some(newest)) = (done.closings.first(), done.closings.last()) else {
            return Ok(Step {
                late: done.late,
                ..Step::through(last)
            });
        };
        let starts = self.starts(first.from_us, newest).await?;
        let mut made = Made::default();
        for closing in &done.closings {
            let mut row = 0;
            for (start_us, first_seq) in &starts {
                let is_closed = (closing.from_us..closing.to_us).contains(start_us);
                // A window without a row in time has nothing to say.
                if is_closed && *first_seq <= closing.seq {
                    row = self.window(*start_us, closing, row, &mut made).await?;
                }
            }
            let is_full = made.windows >= MAX_WINDOWS || made.bytes >= self.pipeline.memory_bytes;
            if is_full && closing.seq < newest.seq {
                return Ok(made.step(closing.seq, closing.late, closing.to_us));
            }
        }
        Ok(made.step(last, done.late, newest.to_us))
    }

    /// What decides about windows in the good rows of these messages, in their order.
    async fn input_rows(&self, after: i64, last: i64) -> Result<Vec<InputRow>, PipelineFault> {
        let table = SnapshotTable::new(self.snapshot.clone()).with_range(Some(after), Some(last));
        let columns = ["seq", "event_time", "ingest_time"];
        let rows = self.good(table).and_then(|rows| {
            let rows = rows.select(columns.map(ident).to_vec())?;
            rows.sort(vec![ident("seq").sort(true, false)])
        });
        let mut found = Vec::new();
        for batch in self.collect(rows).await? {
            let integers = |index: usize| self.integers(batch.column(index));
            let (seqs, events, ingests) = (integers(0)?, integers(1)?, integers(2)?);
            let (seqs, events, ingests) = (
                seqs.as_primitive::<Int64Type>(),
                events.as_primitive::<Int64Type>(),
                ingests.as_primitive::<Int64Type>(),
            );
            found.extend((0..batch.num_rows()).map(|at| InputRow {
                seq: seqs.value(at),
                event_us: events.value(at),
                ingest_us: ingests.value(at),
            }));
        }
        Ok(found)
    }

    /// The windows from `from_us` until the end of the newest closing that have rows, each with the
    /// first message that it has one of; in the order of time.
    async fn starts(
        &self,
        from_us: i64,
        newest: &Closing,
    ) -> Result<Vec<(i64, i64)>, PipelineFault> {
        let rows = self.rows_between(from_us, newest.to_us, newest.seq);
        let tier = Tier {
            name: "",
            seconds: self.windows.width_us / 1_000_000,
        };
        let sql = format!(
            "SELECT {}, min(seq) FROM {ROWS} GROUP BY 1 ORDER BY 1",
            bin_sql("event_time", tier)
        );
        let failed = || PipelineFault::query("looking for windows", self.pipeline.name);
        let state = rows
            .and_then(|rows| with_relation(self.evaluator.session(), ROWS, rows.into_view()))
            .map_err(failed())?;
        let plan = state.create_logical_plan(&sql).await.map_err(failed())?;
        let mut found = Vec::new();
        for batch in self.evaluator.run_own(&state, &plan).await? {
            let (starts, seqs) = (
                self.integers(batch.column(0))?,
                self.integers(batch.column(1))?,
            );
            let starts = starts.as_primitive::<Int64Type>().values().iter();
            let seqs = seqs.as_primitive::<Int64Type>().values().iter();
            found.extend(starts.copied().zip(seqs.copied()));
        }
        Ok(found)
    }

    /// Evaluates a window, whose first row has this index; answers the index after its last.
    async fn window(
        &self,
        start_us: i64,
        closing: &Closing,
        row: i32,
        made: &mut Made,
    ) -> Result<i32, PipelineFault> {
        let failed = || PipelineFault::query("running the SELECT", self.pipeline.name);
        let input = self.input(start_us, closing.seq).map_err(failed())?;
        let (answer, bad) = match self.evaluator.evaluate(input.clone()).await {
            Ok(answer) => (Ok(answer), Vec::new()),
            Err(EvaluationError::Fault(fault)) => return Err(fault),
            Err(EvaluationError::Rows(reason)) => self.without_bad_rows(&input, reason).await?,
        };
        made.windows += 1;
        made.refused += bad.len() as u64;
        for row in bad {
            made.push(row);
        }
        let schema = self.pipeline.table.table().schema();
        let place = |row: i32, rows| Places::of_message(closing.seq, row, closing.ingest_us, rows);
        let written = PipelineFault::plan::<String>;
        let mut next = row;
        match answer {
            Ok(batches) => {
                for batch in batches {
                    let rows = batch.num_rows();
                    let own = self.pipeline.table.columns.len();
                    let batch = good_rows(&schema, &batch, own, place(next, rows));
                    made.push(batch.map_err(written("writing rows", self.pipeline.name))?);
                    next = next.saturating_add(i32::try_from(rows).unwrap_or(i32::MAX));
                }
            }
            Err(reason) => {
                let payload = format!("{{\"window_start_us\":{start_us}}}");
                let refused = refused(&schema, place(next, 1), &reason, payload.as_bytes());
                made.push(refused.map_err(written("writing rows", self.pipeline.name))?);
                made.refused += 1;
                next = next.saturating_add(1);
            }
        }
        Ok(next)
    }

    /// The answer over the rows on which the SELECT does not fail, with refused rows in place of
    /// the others. Where the failure is of no single row, the whole window is refused.
    async fn without_bad_rows(
        &self,
        input: &Arc<dyn TableProvider>,
        reason: String,
    ) -> Result<(Result<Vec<RecordBatch>, String>, Vec<RecordBatch>), PipelineFault> {
        let Some(rows) = self.in_memory(input).await? else {
            return Ok((Err(reason), Vec::new()));
        };
        let Some(bad) = single_rows(self.evaluator, &rows, MAX_EVALUATIONS).await? else {
            return Ok((Err(reason), Vec::new()));
        };
        let indices: BTreeSet<usize> = bad.iter().map(|bad| bad.index).collect();
        let good = (0..rows.num_rows()).filter(|at| !indices.contains(at));
        let good: UInt64Array = good.map(|at| at as u64).collect();
        let failed = || PipelineFault::plan("refusing rows", self.pipeline.name);
        let rest = take_record_batch(&rows, &good).map_err(failed())?;
        let schema = self.pipeline.table.table().schema();
        let refused = bad.iter().map(|bad| {
            let row = rows.slice(bad.index, 1);
            refused_input(&schema, &row, &bad.reason)
        });
        let refused = refused.collect::<Result<Vec<_>, String>>();
        let refused = refused.map_err(PipelineFault::plan("refusing rows", self.pipeline.name))?;
        if rest.num_rows() == 0 {
            return Ok((Ok(Vec::new()), refused));
        }
        match self.evaluator.evaluate(relation(rest)?).await {
            Ok(answer) => Ok((Ok(answer), refused)),
            Err(EvaluationError::Fault(fault)) => Err(fault),
            // One refusal of the window says it all.
            Err(EvaluationError::Rows(reason)) => Ok((Err(reason), Vec::new())),
        }
    }

    /// The rows of a window in their order; `None` when they are more than the memory holds.
    async fn in_memory(
        &self,
        input: &Arc<dyn TableProvider>,
    ) -> Result<Option<RecordBatch>, PipelineFault> {
        let session = SessionContext::new_with_state(self.evaluator.session().clone());
        let rows = session.read_table(input.clone()).and_then(|rows| {
            let place = ["seq", "row"].map(|name| ident(name).sort(true, false));
            rows.sort(place.to_vec())
        });
        let batches = match self.collect(rows).await {
            Ok(batches) => batches,
            Err(fault) if fault.is_transient() => return Err(fault),
            Err(_) => return Ok(None),
        };
        let schema = input_schema(self.pipeline.stream, true);
        let batches = batches.iter().map(|batch| with_schema(&schema, batch));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let rows = concat_batches(&schema, &batches);
        rows.map(Some)
            .map_err(PipelineFault::plan("reading the input", self.pipeline.name))
    }

    /// The relation `input` of a window that this message closed.
    fn input(&self, start_us: i64, seq: i64) -> EngineResult<Arc<dyn TableProvider>> {
        let end_us = start_us + self.windows.width_us;
        let rows = self.rows_between(start_us, end_us, seq)?;
        let schema: SchemaRef = input_schema(self.pipeline.stream, false);
        let own = schema.fields().iter().map(|field| ident(field.name()));
        let bounds = [start_us, end_us].into_iter().zip(WINDOW_COLUMNS);
        let bounds = bounds.map(|(us, column)| time(us).alias(column.name));
        let columns: Vec<Expr> = own.chain(bounds).collect();
        Ok(rows.select(columns)?.into_view())
    }

    /// The good rows with `from_us <= event_time < to_us` of the messages through `seq`, from those
    /// files that can have any.
    fn rows_between(&self, from_us: i64, to_us: i64, seq: i64) -> EngineResult<DataFrame> {
        let may_hold = |file: &&Arc<DataFile>| {
            let times = file.ranges.get("event_time");
            times.is_none_or(|(low, high)| *low < to_us && *high >= from_us)
                && file.seq_range().is_none_or(|(low, _)| low <= seq)
        };
        let files = self.snapshot.files.iter().filter(may_hold).cloned();
        let snapshot = Snapshot {
            files: files.collect(),
            ..self.snapshot.as_ref().clone()
        };
        let table = SnapshotTable::new(Arc::new(snapshot)).with_range(None, Some(seq));
        let event_time = || ident("event_time");
        let within = event_time().gt_eq(time(from_us));
        let within = within.and(event_time().lt(time(to_us)));
        self.good(table)?.filter(within)
    }

    fn good(&self, table: SnapshotTable) -> EngineResult<DataFrame> {
        let session = SessionContext::new_with_state(self.evaluator.session().clone());
        let rows = session.read_table(Arc::new(table))?;
        rows.filter(ident("reject_reason").is_null())
    }

    async fn collect(
        &self,
        rows: EngineResult<DataFrame>,
    ) -> Result<Vec<RecordBatch>, PipelineFault> {
        let failed = PipelineFault::query("reading the input", self.pipeline.name);
        let plan = rows.map_err(failed)?.into_unoptimized_plan();
        self.evaluator
            .run_own(self.evaluator.session(), &plan)
            .await
    }

    /// Integers or times as integers, times in microseconds.
    fn integers(&self, values: &ArrayRef) -> Result<ArrayRef, PipelineFault> {
        let plain = match values.data_type() {
            DataType::Timestamp(..) => {
                cast(values, &DataType::Timestamp(TimeUnit::Microsecond, None))
            }
            _ => Ok(values.clone()),
        };
        plain
            .and_then(|plain| cast(&plain, &DataType::Int64))
            .map_err(PipelineFault::plan("reading the input", self.pipeline.name))
    }
}

impl Made {
    fn push(&mut self, rows: RecordBatch) {
        self.bytes += rows.get_array_memory_size();
        self.rows.push(rows);
    }

    fn step(self, last: i64, late: u64, closed_us: i64) -> Step {
        Step {
            rows: self.rows,
            refused: self.refused,
            windows: self.windows as u64,
            late,
            closed_us: Some(closed_us),
            ..Step::through(last)
        }
    }
}

/// A time as SQL writes it.
fn time(us: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(
        Some(us),
        Some("UTC".into()),
    ))
}
