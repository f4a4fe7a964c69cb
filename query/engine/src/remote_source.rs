//! A stream as a worker sees it: it opens the tables itself and has the newest rows from the front.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use async_trait::async_trait;
use headframe_ingest::{DecodedRows, Tail as KeptTail};
use headframe_query_front::worker::client::{Answer, Failure};
use headframe_query_front::worker::wire::{self, Kind};
use headframe_query_front::{At, QueryError};
use headframe_schemas::{Rollup, Stream, Table};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::error::from_datafusion;
use crate::live_rows::{KeptRows, LiveHead, LiveRequest};
use crate::source::{Live, Source, SourceError, Stored, Tail};
use crate::stream_source::Tables;
use crate::union::seqs;

/// Rows of a stream that nobody asked about for this long are let go with the next statement.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The rows that a worker got from the front, by stream, so that the next statement needs only
/// newer ones. As many bytes as the front holds of the streams asked about lately.
#[derive(Default)]
pub struct KeptTails {
    tails: Mutex<HashMap<&'static str, StreamTail>>,
}

struct StreamTail {
    generation: u64,
    tail: Arc<KeptTail>,
    used_at: Instant,
}

/// One stream, whose tables the worker opens itself.
pub struct RemoteSource {
    stream: &'static dyn Stream,
    tables: Arc<dyn Tables>,
    front: PathBuf,
    kept: Arc<KeptTails>,
}

impl RemoteSource {
    /// A stream whose newest rows come from this socket and are kept in `kept`.
    pub fn new(
        stream: &'static dyn Stream,
        tables: Arc<dyn Tables>,
        front: PathBuf,
        kept: Arc<KeptTails>,
    ) -> Self {
        Self {
            stream,
            tables,
            front,
            kept,
        }
    }

    async fn fetch(&self, wait: Duration) -> Result<Live, Failure> {
        let kept = self.kept.rows_of(self.stream.name());
        let (mut head, batches) = self.receive(wait, kept).await?;
        let tail = match self.kept.add(self.stream.name(), &head, &batches)? {
            Some(tail) => tail,
            // What these rows follow was let go or replaced meanwhile.
            None => {
                let batches;
                (head, batches) = self.receive(wait, None).await?;
                whole(&head, &batches)?
            }
        };
        Ok(Live {
            acknowledged: head.acknowledged.map_err(|why| self.unavailable(why)),
            tail: Tail {
                truncated: head.truncated,
                generation: head.generation,
                ..tail.view().into()
            },
        })
    }

    async fn receive(
        &self,
        wait: Duration,
        kept: Option<KeptRows>,
    ) -> Result<(LiveHead, Vec<RecordBatch>), Failure> {
        let request = LiveRequest {
            stream: self.stream.name().to_owned(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            kept,
        };
        let mut socket = UnixStream::connect(&self.front).await?;
        wire::write_frame(&mut socket, Kind::Request, &wire::to_json(&request)?).await?;
        let mut answer = Answer::new(BufReader::new(socket));
        let head = answer.head().await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await? {
            batches.push(batch);
        }
        if batches.is_empty() {
            // Sequences without rows are held as well.
            let schema = Table::raw(self.stream).schema();
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok((head, batches))
    }

    fn unavailable(&self, why: String) -> SourceError {
        SourceError::Unavailable {
            action: "reading the newest rows",
            stream: self.stream.name().to_owned(),
            why,
        }
    }
}

impl KeptTails {
    /// What is kept of a stream.
    fn rows_of(&self, stream: &str) -> Option<KeptRows> {
        let tails = self.lock();
        let kept = tails.get(stream)?;
        Some(KeptRows {
            generation: kept.generation,
            through: kept.tail.through(),
        })
    }

    /// Adds an answer to what is kept; `None` when it does not continue it.
    fn add(
        &self,
        stream: &'static str,
        head: &LiveHead,
        batches: &[RecordBatch],
    ) -> Result<Option<Arc<KeptTail>>, QueryError> {
        let mut tails = self.lock();
        tails.retain(|name, kept| *name == stream || kept.used_at.elapsed() < KEPT_FOR);
        if let Some(kept) = tails.get_mut(stream)
            && kept.generation == head.generation
            && kept.tail.through() >= head.from
        {
            kept.used_at = Instant::now();
            kept.tail.committed(head.after);
            push(&kept.tail, head, batches)?;
            return Ok(Some(kept.tail.clone()));
        }
        if head.from != head.after {
            return Ok(None);
        }
        let tail = whole(head, batches)?;
        let kept = StreamTail {
            generation: head.generation,
            tail: tail.clone(),
            used_at: Instant::now(),
        };
        tails.insert(stream, kept);
        Ok(Some(tail))
    }

    /// A tail is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, StreamTail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tail of an answer that follows nothing.
fn whole(head: &LiveHead, batches: &[RecordBatch]) -> Result<Arc<KeptTail>, QueryError> {
    // The front bounds what it holds.
    let tail = KeptTail::new(head.after, usize::MAX);
    push(&tail, head, batches)?;
    Ok(Arc::new(tail))
}

/// Adds the rows of an answer, each sequence as a whole.
fn push(tail: &KeptTail, head: &LiveHead, batches: &[RecordBatch]) -> Result<(), QueryError> {
    let mut pieces: Vec<RecordBatch> = Vec::with_capacity(batches.len());
    for batch in batches {
        match pieces.last_mut() {
            // A message's rows may be cut into two frames.
            Some(last) if last_seq(last)? == first_seq(batch)? => {
                let joined = concat_batches(&batch.schema(), [&*last, batch]);
                *last = joined.map_err(|error| QueryError::internal(error.to_string()))?;
            }
            _ => pieces.push(batch.clone()),
        }
    }
    let mut first = head.from + 1;
    let count = pieces.len();
    for (index, batch) in pieces.into_iter().enumerate() {
        let last = match last_seq(&batch)? {
            // Sequences without rows, as of repeated messages, may follow.
            _ if index + 1 == count => head.through,
            Some(seq) => seq,
            None => continue,
        };
        tail.push(&DecodedRows {
            first,
            last,
            batch,
            duplicates: 0,
            rejected: 0,
        });
        first = last + 1;
    }
    Ok(())
}

fn first_seq(batch: &RecordBatch) -> Result<Option<i64>, QueryError> {
    Ok(seqs(batch).map_err(from_datafusion)?.first().copied())
}

fn last_seq(batch: &RecordBatch) -> Result<Option<i64>, QueryError> {
    Ok(seqs(batch).map_err(from_datafusion)?.last().copied())
}

#[async_trait]
impl Source for RemoteSource {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    async fn live(&self, wait: Duration) -> Live {
        match self.fetch(wait).await {
            Ok(live) => live,
            // Without the front's rows the answer is what the tables hold, and says so.
            Err(failure) => {
                let why = match failure {
                    Failure::Told(error) => error.message,
                    Failure::Lost => "the connection to the front broke".to_owned(),
                };
                Live {
                    acknowledged: Err(self.unavailable(why)),
                    tail: Tail::empty(),
                }
            }
        }
    }

    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        self.tables.raw(at).await
    }

    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        self.tables.rollup(rollup, at).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicI64, Ordering};

    use arrow::array::{ArrayData, ArrayRef, AsArray, Int64Array, make_array, new_null_array};
    use arrow::compute::cast;
    use arrow::datatypes::TimestampMicrosecondType;
    use headframe_schemas::stream::shares::Shares;
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::live_rows::LiveRowsServer;
    use crate::stream_source::{LastSeq, StreamSource};

    /// No query of these tests opens a table.
    struct NoTables;

    #[async_trait]
    impl Tables for NoTables {
        async fn raw(&self, _: At) -> Result<Stored, SourceError> {
            unreachable!()
        }
        async fn rollup(&self, _: &'static dyn Rollup, _: At) -> Result<Stored, SourceError> {
            unreachable!()
        }
    }

    #[derive(Default)]
    struct Last(AtomicI64);

    #[async_trait]
    impl LastSeq for Last {
        async fn last_seq(&self) -> Result<i64, String> {
            Ok(self.0.load(Ordering::Relaxed))
        }
    }

    /// A front's tail and a worker that reads it through a socket.
    struct Both {
        front: Arc<KeptTail>,
        last: Arc<Last>,
        worker: RemoteSource,
        stop: CancellationToken,
        folder: tempfile::TempDir,
        pushed: i64,
        pushes: i64,
    }

    impl Both {
        fn start(capacity: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("live.sock");
            let front = Arc::new(KeptTail::new(0, capacity));
            let last = Arc::new(Last::default());
            let source =
                StreamSource::new(&Shares, front.clone(), Arc::new(NoTables), last.clone());
            let server = LiveRowsServer::bind(&socket, vec![Arc::new(source)]).unwrap();
            let stop = CancellationToken::new();
            tokio::spawn(server.run(stop.clone()));
            let worker = RemoteSource::new(&Shares, Arc::new(NoTables), socket, Arc::default());
            Self {
                front,
                last,
                worker,
                stop,
                folder,
                pushed: 0,
                pushes: 0,
            }
        }

        /// Messages with `rows` rows each.
        fn push(&mut self, messages: i64, rows: usize) {
            let (first, last) = (self.pushed + 1, self.pushed + messages);
            self.pushes += 1;
            let seqs = (first..=last).flat_map(|seq| std::iter::repeat_n(seq, rows));
            self.front.push(&DecodedRows {
                first,
                last,
                batch: shares(seqs.collect(), self.pushes),
                duplicates: 0,
                rejected: 0,
            });
            self.pushed = last;
            self.last.0.store(last, Ordering::Relaxed);
        }

        async fn check(&self) {
            let live = self.worker.live(Duration::ZERO).await;
            let view = self.front.view();
            assert_eq!(live.acknowledged.unwrap(), self.pushed);
            let tail = live.tail;
            assert_eq!(
                (tail.after, tail.through, tail.truncated),
                (view.after, view.through, view.truncated)
            );
            assert_eq!(
                all_rows(&tail.batches, view.after),
                all_rows(&view.batches, view.after)
            );
        }
    }

    /// Rows with these sequences that were ingested at this time; every other column is null or
    /// zero.
    fn shares(seqs: Vec<i64>, ingested: i64) -> RecordBatch {
        let schema = Table::raw(&Shares).schema();
        let rows = seqs.len();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let kind = field.data_type();
            match field.name().as_str() {
                "seq" => Arc::new(Int64Array::from(seqs.clone())),
                "ingest_time" => {
                    let times = Int64Array::from(vec![ingested; rows]);
                    cast(&times, kind).unwrap()
                }
                _ if field.is_nullable() => new_null_array(kind, rows),
                _ => {
                    let zeros = ArrayData::new_null(kind, rows).into_builder();
                    make_array(zeros.nulls(None).build().unwrap())
                }
            }
        });
        RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
    }

    /// The sequence and the time of each row.
    fn all_rows(batches: &[RecordBatch], after: i64) -> Vec<(i64, i64)> {
        let rows = batches.iter().flat_map(|batch| {
            let times = batch.column_by_name("ingest_time").unwrap();
            let times = times.as_primitive::<TimestampMicrosecondType>().values();
            let seqs = seqs(batch).unwrap().iter();
            let rows = seqs.copied().zip(times.iter().copied());
            rows.collect::<Vec<_>>()
        });
        rows.filter(|(seq, _)| *seq > after).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { messages: i64, rows: usize },
        Commit { back: i64 },
        Reset,
        Look { together: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_i64..50, 0_usize..4)
                .prop_map(|(messages, rows)| Step::Push { messages, rows }),
            1 => (0_i64..80).prop_map(|back| Step::Commit { back }),
            1 => Just(Step::Reset),
            3 => (1_usize..4).prop_map(|together| Step::Look { together }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_worker_sees_exactly_the_fronts_rows(
            steps in prop::collection::vec(step(), 1..40),
            roomy in any::<bool>(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let capacity = if roomy { 1 << 30 } else { 40_000 };
                let mut both = Both::start(capacity);
                for step in steps {
                    match step {
                        Step::Push { messages, rows } => both.push(messages, rows),
                        Step::Commit { back } => {
                            both.front.committed((both.pushed - back).max(0));
                        }
                        Step::Reset => {
                            both.front.reset(both.pushed / 2);
                            both.pushed /= 2;
                            both.last.0.store(both.pushed, Ordering::Relaxed);
                        }
                        Step::Look { together } => {
                            let looks = (0..together).map(|_| both.check());
                            futures::future::join_all(looks).await;
                        }
                    }
                }
                both.check().await;
                both.stop.cancel();
                drop(both.folder);
            });
        }
    }

    #[tokio::test]
    async fn only_rows_that_the_worker_lacks_are_sent() {
        let mut both = Both::start(1 << 30);
        both.push(100, 2);
        both.check().await;
        both.push(3, 2);
        let kept = both.worker.kept.rows_of("shares");
        assert_eq!(kept.map(|kept| kept.through), Some(100));
        let received = both.worker.receive(Duration::ZERO, kept).await;
        let Ok((head, batches)) = received else {
            panic!("the front answers")
        };
        assert_eq!((head.from, head.through), (100, 103));
        let sent: Vec<i64> = all_rows(&batches, 0).iter().map(|row| row.0).collect();
        assert_eq!(sent, [101, 101, 102, 102, 103, 103]);
        both.stop.cancel();
    }
}
