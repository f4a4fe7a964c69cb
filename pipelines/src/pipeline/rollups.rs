//! From a raw table to the rollups of its stream: partial rows, with an offset of their own in the
//! raw table's sequences.
//!
//! The rows come from the raw table, never from the stream, so that a rollup that is behind, new or
//! made again is caught up by the code that serves it every day.

use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use headframe_schemas::rollup::{self, Rollup};
use headframe_schemas::{Stream, Table};
use headframe_sinks::{
    SeqRange, Snapshot, SnapshotReader, SnapshotTable, StreamBinding, TableWriter,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::partials;
use crate::pipeline::{Context, Pipeline, StreamHandle};

/// A derived table is bound to its raw table's sequences, not to a stream.
const DERIVED: StreamBinding = StreamBinding {
    created_ns: 0,
    base: 0,
};

/// Every rollup of a stream.
pub struct Rollups;

impl Pipeline for Rollups {
    fn name(&self) -> &'static str {
        "rollups"
    }
    fn doc(&self) -> &'static str {
        "Adds up windows of 10 s, 1 m, 1 h and 1 d from a raw table, as partial rows that late \
        rows extend."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        rollup::for_stream(stream.name()).next().is_some()
    }

    fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move {
            let mut work: JoinSet<Result<(), PipelineFault>> = JoinSet::new();
            for rollup in rollup::for_stream(handle.stream.name()) {
                work.spawn(run(rollup, context.clone(), handle.clone(), stop.clone()));
            }
            while let Some(done) = work.join_next().await {
                done.map_err(PipelineFault::plan("running a task", handle.stream.name()))??;
            }
            Ok(())
        })
    }
}

/// Keeps one rollup up to its raw table until shutdown (`Ok`) or a fault that nobody here can
/// decide.
pub async fn run(
    rollup: &'static dyn Rollup,
    context: Context,
    handle: Arc<StreamHandle>,
    stop: CancellationToken,
) -> Result<(), PipelineFault> {
    let mut writer = loop {
        match TableWriter::open(&context.lake, Table::rollup(rollup), DERIVED, stop.clone()).await {
            Ok(writer) => break writer,
            Err(error) => PipelineFault::from(error).pause(&stop).await?,
        }
    };
    handle.watch(&writer);
    let raw = SnapshotReader::open(&context.lake, Table::raw(rollup.stream()));
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.lake.register(session.runtime_env().as_ref());
    let mut committed = handle.committed.subscribe();
    loop {
        match step(
            rollup,
            &session,
            &raw,
            &mut writer,
            context.config.rollup_rows,
        )
        .await
        {
            Ok(behind) if behind && !stop.is_cancelled() => continue,
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

/// One step forward. True when there is more to do.
async fn step(
    rollup: &'static dyn Rollup,
    session: &SessionContext,
    raw: &SnapshotReader,
    writer: &mut TableWriter,
    rows: i64,
) -> Result<bool, PipelineFault> {
    let snapshot = raw.refresh().await?;
    let Some(through) = snapshot.offset else {
        return Ok(false);
    };
    let origin = snapshot.oldest_seq() - 1;
    let after = writer.offset().unwrap_or(origin.min(through));
    if through <= after {
        tell(rollup, after, through);
        return Ok(false);
    }
    let last = step_end(&snapshot, after, through, rows);
    let table = |low: Option<i64>, high: i64| {
        Arc::new(SnapshotTable::new(snapshot.clone()).with_range(low, Some(high)))
    };
    let partial = partials::compute(
        session,
        rollup,
        table(Some(after), last),
        table(None, after),
    )
    .await;
    let partial = partial.map_err(PipelineFault::query("adding up windows", &rollup.table()))?;
    writer
        .commit(
            SeqRange {
                first: after + 1,
                last,
            },
            &partial,
        )
        .await?;
    tell(rollup, last, through);
    Ok(last < through)
}

/// What `/metrics` says of how far a rollup is, and how far its raw table.
fn tell(rollup: &dyn Rollup, last: i64, through: i64) {
    let lag = (through - last).max(0);
    metrics::gauge!("headframe_rollup_offset", "table" => rollup.table()).set(last as f64);
    metrics::gauge!("headframe_rollup_lag", "table" => rollup.table()).set(lag as f64);
}

/// Where a step that takes about `rows` rows ends: at the end of a file.
fn step_end(snapshot: &Snapshot, after: i64, through: i64, rows: i64) -> i64 {
    let mut ends: Vec<(i64, i64)> = snapshot
        .files
        .iter()
        .filter_map(|file| Some((file.seq_range()?.1, file.rows)))
        .filter(|(end, _)| *end > after)
        .collect();
    ends.sort_unstable();
    let mut taken = 0;
    for (end, count) in ends {
        taken += count;
        if taken >= rows {
            return end.min(through);
        }
    }
    through
}
