//! Keeps the output of one pipeline up to its input's raw table.

use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::{Stream, Table};
use headframe_sinks::{Lake, SeqRange, SinkError, SnapshotReader, StreamBinding, TableWriter};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::pipeline::{Context, StreamHandle};
use crate::user_pipeline::onward::Onward;
use crate::user_pipeline::session::Evaluator;
use crate::user_pipeline::step_end::step_end;
use crate::user_pipeline::windows::WindowStep;
use crate::user_pipeline::{Step, UserPipeline, rows};

/// Rows of the input that a step row by row takes, about.
const STEP_ROWS: i64 = 50_000;
/// The same with windows, of which a step holds only the times.
const WINDOW_STEP_ROWS: i64 = 500_000;

/// One pipeline over the tables of a lake.
pub struct Runner {
    pipeline: Arc<UserPipeline>,
    evaluator: Evaluator,
    raw: SnapshotReader,
    writer: TableWriter,
    step_rows: i64,
}

/// Works until shutdown (`Ok`) or a fault that nobody here can decide.
pub async fn run(
    pipeline: Arc<UserPipeline>,
    context: Context,
    handle: Arc<StreamHandle>,
    stop: CancellationToken,
) -> Result<(), PipelineFault> {
    let mut runner = Runner::open(pipeline, &context.lake, &stop).await?;
    handle.watch(&runner.writer);
    let mut onward = loop {
        let replicas = context.settings.replicas;
        let opened = Onward::open(&runner.pipeline, &context.lake, &context.nats, replicas);
        match opened.await {
            Ok(onward) => break onward,
            Err(fault) => fault.pause(&stop).await?,
        }
    };
    let mut committed = handle.committed.subscribe();
    loop {
        let computed = tokio::select! {
            computed = runner.compute() => computed,
            () = stop.cancelled() => return Ok(()),
        };
        let done = match computed {
            Ok(Some((first, step))) => runner.commit(first, step).await,
            Ok(None) => Ok(false),
            Err(fault) => Err(fault),
        };
        let done = match (done, &mut onward) {
            (Ok(is_behind), Some(onward)) => tokio::select! {
                sent = onward.send(&runner.evaluator) => sent.map(|has_more| has_more || is_behind),
                () = stop.cancelled() => return Ok(()),
            },
            (done, _) => done,
        };
        match done {
            Ok(true) if !stop.is_cancelled() => continue,
            Ok(_) => {}
            Err(fault) => {
                fault.pause(&stop).await?;
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(context.config.rollup_ms)) => {}
            () = stop.cancelled() => return Ok(()),
        }
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return Ok(()) },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

impl Runner {
    /// Takes the output table over, which is made when it is not there.
    pub async fn open(
        pipeline: Arc<UserPipeline>,
        lake: &Lake,
        stop: &CancellationToken,
    ) -> Result<Self, PipelineFault> {
        let evaluator = Evaluator::new(&pipeline, lake);
        let evaluator = evaluator.map_err(PipelineFault::query("planning", pipeline.name))?;
        Ok(Self {
            writer: open_output(&pipeline, lake, stop).await?,
            raw: SnapshotReader::open(lake, Table::raw(pipeline.stream)),
            step_rows: match pipeline.windows {
                None => STEP_ROWS,
                Some(_) => WINDOW_STEP_ROWS,
            },
            evaluator,
            pipeline,
        })
    }

    /// The same, with steps of about so many rows of the input.
    pub fn with_step_rows(self, step_rows: i64) -> Self {
        Self { step_rows, ..self }
    }

    /// One step forward. True when there is more to do.
    pub async fn step(&mut self) -> Result<bool, PipelineFault> {
        match self.compute().await? {
            Some((first, step)) => self.commit(first, step).await,
            None => Ok(false),
        }
    }

    /// The next step, if the input has anything new, with the first sequence of its range.
    async fn compute(&self) -> Result<Option<(i64, Step)>, PipelineFault> {
        let snapshot = self.raw.refresh().await?;
        let Some(through) = snapshot.offset else {
            return Ok(None);
        };
        let origin = snapshot.oldest_seq() - 1;
        let after = self.writer.offset().unwrap_or(origin.min(through));
        if through <= after {
            return Ok(None);
        }
        let (pipeline, evaluator) = (self.pipeline.as_ref(), &self.evaluator);
        let last = step_end(&snapshot, after, through, self.step_rows);
        let step = match pipeline.windows {
            None => rows::step(pipeline, evaluator, snapshot, (after, last)).await?,
            Some(windows) => {
                let step = WindowStep {
                    pipeline,
                    windows,
                    evaluator,
                    snapshot,
                    closed_us: windows.closed_from(self.writer.watermark()),
                };
                step.run(after, last).await?
            }
        };
        let behind = through - step.last;
        Ok(Some((after + 1, Step { behind, ..step })))
    }

    /// Makes a step count. True when there is more to do.
    async fn commit(&mut self, first: i64, step: Step) -> Result<bool, PipelineFault> {
        let range = SeqRange {
            first,
            last: step.last,
        };
        self.writer
            .commit_closing(range, &step.rows, step.closed_us)
            .await?;
        count(self.pipeline.name, &step);
        Ok(step.behind > 0)
    }
}

/// Says what a step has come to.
fn count(pipeline: &'static str, step: &Step) {
    let rows: usize = step.rows.iter().map(|rows| rows.num_rows()).sum();
    let count = |metric: &'static str, by: u64| {
        metrics::counter!(metric, "pipeline" => pipeline).increment(by);
    };
    let refused = step.refused;
    count("headframe_pipeline_rows_total", rows as u64 - refused);
    count("headframe_pipeline_refused_rows_total", refused);
    count("headframe_pipeline_late_rows_total", step.late);
    count("headframe_pipeline_windows_total", step.windows);
    metrics::gauge!("headframe_pipeline_offset", "pipeline" => pipeline).set(step.last as f64);
    metrics::gauge!("headframe_pipeline_lag", "pipeline" => pipeline).set(step.behind as f64);
    if refused > 0 {
        tracing::warn!(
            pipeline,
            refused,
            "the SELECT fails on rows of its input; dead_letters says which and why"
        );
    }
}

/// Takes the output table over.
async fn open_output(
    pipeline: &UserPipeline,
    lake: &Lake,
    stop: &CancellationToken,
) -> Result<TableWriter, PipelineFault> {
    let binding = input_binding(pipeline.stream);
    loop {
        let table = pipeline.table.table();
        let other = |why: String| {
            let hint = "name another table for this pipeline with the key table";
            let failed = PipelineFault::plan("opening the output", &pipeline.table.name);
            Err(failed(format!("{why}; {hint}, or move the old one away")))
        };
        match TableWriter::open(lake, table, binding, stop.clone()).await {
            Ok(writer) => return Ok(writer),
            Err(SinkError::StreamRecreated { .. }) => {
                return other(format!("it was not computed from {}", pipeline.input()));
            }
            Err(SinkError::Unsupported { what, .. }) => {
                return other(format!("it does not fit the columns of the SELECT: {what}"));
            }
            Err(error) => PipelineFault::from(error).pause(stop).await?,
        }
    }
}

/// A derived table counts in its raw table's sequences. In place of a stream's creation stands
/// which raw table that is, so that an output never goes on from the sequences of another.
fn input_binding(input: &dyn Stream) -> StreamBinding {
    let hash = Sha256::digest(input.name().as_bytes());
    let number = hash
        .iter()
        .take(7)
        .fold(0, |number, byte| number << 8 | i64::from(*byte));
    StreamBinding {
        created_ns: number,
        base: 0,
    }
}
