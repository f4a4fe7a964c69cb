//! Getting the decoder's state back: from the newest intact state file, or, where that is gone,
//! from the raw table's own rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{SessionContext, col};
use futures::StreamExt;
use headframe_ingest::DecoderState;
use headframe_schemas::{Stream, Table};
use headframe_sinks::StateStore;
use headframe_sinks::{Lake, SnapshotReader, SnapshotTable};

use crate::fault::PipelineFault;

/// The version of the decoder's state: another one starts from the raw table.
const STATE: &str = "decoder-1";

/// Where the states of a raw table's decoder are kept.
pub fn store(lake: &Lake, stream: &dyn Stream) -> StateStore {
    StateStore::new(lake.table(stream.name()), STATE)
}

/// The state of the decoder of a raw table after the offset, whatever of it has to be made again
/// from the table's rows.
///
/// `base` is the table's binding: the proof of place of a stream that the table was bound to before
/// proves nothing any more.
pub async fn state(
    lake: &Lake,
    stream: &'static dyn Stream,
    base: i64,
    offset: Option<i64>,
) -> Result<DecoderState, PipelineFault> {
    let Some(offset) = offset else {
        return Ok(DecoderState::default());
    };
    let (from, mut state) = match store(lake, stream).load(offset).await? {
        Some((seq, bytes)) => (Some(seq), DecoderState::from_bytes(&bytes)?),
        None => (None, DecoderState::default()),
    };
    if state
        .last_message
        .as_ref()
        .is_some_and(|last| base + last.seq > from.unwrap_or(offset))
    {
        state.last_message = None;
    }
    if from == Some(offset) {
        return Ok(state);
    }
    tracing::warn!(
        stream = stream.name(),
        ?from,
        offset,
        "replaying the raw table to rebuild the decoder's state"
    );
    replay(lake, stream, from, offset, &mut state).await?;
    // The last message of an older state is an older message; it still proves that the stream is
    // the one that was read.
    Ok(state)
}

async fn replay(
    lake: &Lake,
    stream: &'static dyn Stream,
    from: Option<i64>,
    offset: i64,
    state: &mut DecoderState,
) -> Result<(), PipelineFault> {
    let table = Table::raw(stream);
    let name = table.name.clone();
    let error = || PipelineFault::query("replaying rows", &name);
    let snapshot = SnapshotReader::open(lake, table).refresh().await?;
    let session = SessionContext::new();
    lake.register(session.runtime_env().as_ref());
    let rows = SnapshotTable::new(snapshot).with_range(from, Some(offset));
    let rows = session.read_table(Arc::new(rows)).map_err(error())?;
    let rows = rows
        .select_columns(&["seq", "row", "producer", "producer_seq", "ingest_time"])
        .map_err(error())?;
    let rows = rows
        .filter(
            col("producer")
                .is_not_null()
                .and(col("producer_seq").is_not_null()),
        )
        .map_err(error())?;
    let rows = rows
        .sort(vec![
            col("seq").sort(true, true),
            col("row").sort(true, true),
        ])
        .map_err(error())?;
    let mut batches = rows.execute_stream().await.map_err(error())?;
    while let Some(batch) = batches.next().await {
        insert(&batch.map_err(error())?, state);
    }
    Ok(())
}

fn insert(batch: &RecordBatch, state: &mut DecoderState) {
    let producers = batch.column(2).as_string_view();
    let numbers = batch.column(3).as_primitive::<Int64Type>();
    let times = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    for row in 0..batch.num_rows() {
        let time_ns = if times.is_null(row) {
            0
        } else {
            times.value(row).saturating_mul(1_000)
        };
        state
            .seen
            .insert(producers.value(row), numbers.value(row), time_ns);
    }
}
