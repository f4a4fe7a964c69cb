//! From the stream to its raw table: every message once, good rows and rejected ones, with the
//! offset.
//!
//! Decoding goes on while a batch is being committed; rows are visible to live queries as soon as
//! they are decoded.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, ScalarValue};
use futures::future::BoxFuture;
use headframe_ingest::{
    DecodedRows, Decoder, DecoderState, ExpectedStream, ReadFault, ReadFrom, Reader,
    provision_stream,
};
use headframe_schemas::{GapPolicy, Stream, Table};
use headframe_sinks::StateStore;
use headframe_sinks::{SeqRange, StreamBinding, TableWriter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::pipeline::{Context, Pipeline, StreamHandle};

mod recover;

pub use recover::{state, store};

/// Every stream's raw table.
pub struct RawTable;

/// A closed range on its way to the table.
struct Batch {
    range: SeqRange,
    rows: Vec<RecordBatch>,
    state: Vec<u8>,
}

impl Pipeline for RawTable {
    fn name(&self) -> &'static str {
        "raw"
    }
    fn doc(&self) -> &'static str {
        "Writes every message of a stream into its raw table, good rows and rejected ones, \
        exactly once."
    }
    fn takes(&self, _: &dyn Stream) -> bool {
        true
    }

    fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move {
            let stream = handle.stream;
            let (writer, state) = loop {
                match open(&context, stream, &stop).await {
                    Ok(opened) => break opened,
                    Err(fault) => fault.pause(&stop).await?,
                }
            };
            handle.watch(&writer);
            let Some(binding) = writer.binding() else {
                return Err(PipelineFault::plan("opening", stream.name())(
                    "it is bound to no stream",
                ));
            };
            handle.set_base(binding.base);
            let offset = writer.offset().unwrap_or(binding.base);
            handle.commit(offset);
            let store = recover::store(&context.lake, stream);
            let (batches, closed) = mpsc::channel(1);
            let mut work: JoinSet<Result<(), PipelineFault>> = JoinSet::new();
            work.spawn(commit_all(writer, store, closed, handle.clone()));
            let source = Source {
                context,
                handle,
                binding,
                offset,
            };
            work.spawn(source.read(state, batches, stop));
            while let Some(done) = work.join_next().await {
                done.map_err(PipelineFault::plan("running a task", stream.name()))??;
            }
            Ok(())
        })
    }
}

/// Takes the table over, and what the decoder knew after its last row.
async fn open(
    context: &Context,
    stream: &'static dyn Stream,
    stop: &CancellationToken,
) -> Result<(TableWriter, DecoderState), PipelineFault> {
    let identity = provision_stream(&context.nats.js, stream, &context.settings).await?;
    let binding = StreamBinding {
        created_ns: identity.created_ns,
        base: 0,
    };
    let writer =
        TableWriter::open(&context.lake, Table::raw(stream), binding, stop.clone()).await?;
    let base = writer.binding().map_or(0, |binding| binding.base);
    let state = recover::state(&context.lake, stream, base, writer.offset()).await?;
    Ok((writer, state))
}

async fn commit_all(
    mut writer: TableWriter,
    store: StateStore,
    mut closed: mpsc::Receiver<Batch>,
    handle: Arc<StreamHandle>,
) -> Result<(), PipelineFault> {
    while let Some(batch) = closed.recv().await {
        // DecoderState ahead of the offset is never loaded, so that saving it first can do no harm.
        if let Err(error) = store.save(batch.range.last, &batch.state).await {
            tracing::warn!(stream = handle.stream.name(), %error, "state not saved, a restart \
                replays from an older one");
        }
        let rows: usize = batch.rows.iter().map(RecordBatch::num_rows).sum();
        let started = Instant::now();
        writer.commit(batch.range, &batch.rows).await?;
        handle.commit(batch.range.last);
        metrics::counter!("headframe_committed_rows_total", "table" => handle.stream.name())
            .increment(rows as u64);
        metrics::histogram!("headframe_commit_seconds", "table" => handle.stream.name())
            .record(started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The reading half.
struct Source {
    context: Context,
    handle: Arc<StreamHandle>,
    binding: StreamBinding,
    offset: i64,
}

impl Source {
    async fn read(
        self,
        state: DecoderState,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> Result<(), PipelineFault> {
        let stream = self.handle.stream;
        let mut expect = ExpectedStream {
            created_ns: Some(self.binding.created_ns),
            last_message: state.last_message.clone(),
        };
        let mut next = u64::try_from(self.offset - self.binding.base + 1).unwrap_or(1);
        let mut decoder = Decoder::new(stream, self.binding.base, state);
        let mut open = Open::new(self.offset);
        loop {
            let reader = Reader::open(
                self.context.nats.clone(),
                stream,
                ReadFrom {
                    next,
                    expect: expect.clone(),
                },
            );
            let fault = tokio::select! {
                reader = reader => match reader {
                    Ok(mut reader) => {
                        let (decoder, open) = (&mut decoder, &mut open);
                        self.follow(&mut reader, decoder, open, &batches, &stop).await
                    }
                    Err(fault) => Some(fault),
                },
                () = stop.cancelled() => None,
            };
            let Some(fault) = fault else {
                open.close(&decoder, &batches).await;
                return Ok(());
            };
            match fault {
                ReadFault::Gap { from, to, .. } if stream.gap_policy() == GapPolicy::Record => {
                    let chunk = self.gap(from, to, &fault)?;
                    self.handle.tail.push(&chunk);
                    open.add(chunk);
                    next = to + 1;
                    tracing::error!(
                        stream = stream.name(),
                        from,
                        to,
                        "messages vanished before they were read, gap recorded"
                    );
                    continue;
                }
                fault if fault.retryable() => {
                    tracing::warn!(stream = stream.name(), %fault, "cannot read, trying again");
                    // Nothing more will come soon, and what was read need not wait for it.
                    open.close(&decoder, &batches).await;
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(200)) => {}
                        () = stop.cancelled() => {}
                    }
                }
                fault => {
                    open.close(&decoder, &batches).await;
                    return Err(fault.into());
                }
            }
            next = u64::try_from(open.last - self.binding.base + 1).unwrap_or(1);
            expect.last_message = decoder.state().last_message.clone();
        }
    }

    /// Reads until shutdown (`None`) or a fault.
    async fn follow(
        &self,
        reader: &mut Reader,
        decoder: &mut Decoder,
        open: &mut Open,
        batches: &mpsc::Sender<Batch>,
        stop: &CancellationToken,
    ) -> Option<ReadFault> {
        let config = &self.context.config;
        loop {
            let due = open.since.map(|since| since + config.commit_age());
            let overdue = due.is_some_and(|due| due <= Instant::now());
            let full = open.rows >= config.commit_rows || open.bytes >= config.commit_bytes;
            let wakeup = tokio::time::sleep_until(due.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = batches.closed() => return None,
                // While the storage is slow or away the batch stays open and grows, and its rows
                // stay visible, until it is full.
                Ok(place) = batches.reserve(), if full || overdue => {
                    if let Some(batch) = open.take(decoder) {
                        place.send(batch);
                    }
                }
                () = wakeup, if due.is_some() && !overdue => {}
                messages = reader.next(), if !full => match messages {
                    Ok(messages) => {
                        let chunk = decoder.decode(&messages);
                        self.count(&chunk);
                        self.handle.tail.push(&chunk);
                        open.add(chunk);
                    }
                    Err(fault) => return Some(fault),
                },
            }
        }
    }

    fn count(&self, chunk: &DecodedRows) {
        let name = self.handle.stream.name();
        metrics::counter!("headframe_read_rows_total", "stream" => name)
            .increment(chunk.batch.num_rows() as u64);
        if chunk.rejected > 0 {
            metrics::counter!("headframe_rejected_rows_total", "stream" => name)
                .increment(chunk.rejected);
        }
        if chunk.duplicates > 0 {
            metrics::counter!("headframe_duplicate_rows_total", "stream" => name)
                .increment(chunk.duplicates);
        }
    }

    /// A rejected row in place of messages that vanished, so that the table says what it lacks.
    fn gap(&self, from: u64, to: u64, fault: &ReadFault) -> Result<DecodedRows, PipelineFault> {
        let table = Table::raw(self.handle.stream);
        let place = |seq: u64| {
            self.binding.base + i64::try_from(seq).unwrap_or(i64::MAX - self.binding.base.max(0))
        };
        let column = |field: &FieldRef| -> Result<ArrayRef, DataFusionError> {
            match field.name().as_str() {
                "seq" => ScalarValue::Int64(Some(place(to))).to_array(),
                "row" => ScalarValue::Int32(Some(0)).to_array(),
                "reject_reason" => ScalarValue::Utf8View(Some(fault.to_string())).to_array(),
                // No message has a time here; the first day of the calendar marks the partition of
                // gaps.
                "ingest_date" => ScalarValue::Date32(Some(0)).to_array(),
                _ => Ok(new_null_array(field.data_type(), 1)),
            }
        };
        let columns = table
            .schema()
            .fields()
            .iter()
            .map(column)
            .collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(PipelineFault::plan("recording a gap", &table.name))?;
        debug_assert!(table.schema().field(0).data_type() == &DataType::Int64);
        let batch = RecordBatch::try_new(table.schema(), columns)
            .map_err(PipelineFault::plan("recording a gap", &table.name))?;
        Ok(DecodedRows {
            first: place(from),
            last: place(to),
            batch,
            duplicates: 0,
            rejected: 1,
        })
    }
}

/// The batch that is still open.
struct Open {
    first: i64,
    last: i64,
    rows: usize,
    bytes: usize,
    parts: Vec<RecordBatch>,
    since: Option<Instant>,
}

impl Open {
    fn new(offset: i64) -> Self {
        Self {
            first: offset + 1,
            last: offset,
            rows: 0,
            bytes: 0,
            parts: Vec::new(),
            since: None,
        }
    }

    fn add(&mut self, chunk: DecodedRows) {
        if chunk.last < chunk.first {
            return;
        }
        self.last = chunk.last;
        self.rows += chunk.batch.num_rows();
        self.bytes += chunk.batch.get_array_memory_size();
        self.parts.push(chunk.batch);
        self.since.get_or_insert_with(Instant::now);
    }

    /// The batch to be committed, if it has any message; the next one begins.
    fn take(&mut self, decoder: &Decoder) -> Option<Batch> {
        if self.last < self.first {
            return None;
        }
        let next = Self::new(self.last);
        let full = std::mem::replace(self, next);
        let range = SeqRange {
            first: full.first,
            last: full.last,
        };
        Some(Batch {
            range,
            rows: full.parts,
            state: decoder.state().to_bytes(),
        })
    }

    /// Sends the batch to be committed. A committer that is gone has its own fault to tell.
    async fn close(&mut self, decoder: &Decoder, batches: &mpsc::Sender<Batch>) {
        if let Some(batch) = self.take(decoder) {
            let _ = batches.send(batch).await;
        }
    }
}
