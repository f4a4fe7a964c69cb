//! A stream as a worker sees it: it opens the tables itself and has the newest rows from the front.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use headframe_query_front::worker::client::{Answer, Failure};
use headframe_query_front::worker::wire::{self, Kind};
use headframe_query_front::{At, QueryError};
use headframe_schemas::{Rollup, Stream};
use serde::de::DeserializeOwned;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::live_rows::{LiveHead, LiveRequest};
use crate::source::{Live, Source, SourceError, Stored, Tail};
use crate::stream_source::Tables;
use crate::tail_cache::{CacheAnswer, Scan, TailCache};
use crate::uncommitted_rows::{RowCounts, UncommittedRows};

/// One stream, whose tables the worker opens itself.
pub struct RemoteSource {
    stream: &'static dyn Stream,
    tables: Arc<dyn Tables>,
    front: PathBuf,
    kept: Arc<TailCache>,
}

impl RemoteSource {
    /// A stream whose newest rows come from this socket and are kept in `kept`.
    pub fn new(
        stream: &'static dyn Stream,
        tables: Arc<dyn Tables>,
        front: PathBuf,
        kept: Arc<TailCache>,
    ) -> Self {
        Self {
            stream,
            tables,
            front,
            kept,
        }
    }

    async fn connect(&self, wait: Duration) -> Result<Live, Failure> {
        let socket = UnixStream::connect(&self.front).await?;
        let mut connection = Connection(Some(BufReader::new(socket)));
        let request = LiveRequest::Open {
            stream: self.stream.name().to_owned(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let head: LiveHead = connection.ask(&request).await?;
        let rows = RemoteRows {
            stream: self.stream.name(),
            head: head.clone(),
            connection: Mutex::new(connection),
            kept: self.kept.clone(),
        };
        Ok(Live {
            acknowledged: head
                .acknowledged
                .map_err(|why| unavailable(self.stream.name(), why)),
            tail: Tail {
                rows: Arc::new(rows),
                after: head.after,
                through: head.through,
                truncated: head.truncated,
                generation: head.generation,
            },
        })
    }
}

/// The rows of one look, of which the front sends what is not kept here.
#[derive(Debug)]
struct RemoteRows {
    stream: &'static str,
    head: LiveHead,
    connection: Mutex<Connection>,
    kept: Arc<TailCache>,
}

/// A connection on which one answer is read after the other; `None` once an answer was not read to
/// its end.
#[derive(Debug)]
struct Connection(Option<BufReader<UnixStream>>);

impl Connection {
    /// What the front says to this, without rows.
    async fn ask<T: DeserializeOwned>(&mut self, request: &LiveRequest) -> Result<T, Failure> {
        Ok(self.receive(request).await?.0)
    }

    async fn receive<T: DeserializeOwned>(
        &mut self,
        request: &LiveRequest,
    ) -> Result<(T, Vec<RecordBatch>), Failure> {
        let mut socket = self.0.take().ok_or(Failure::Lost)?;
        wire::write_frame(&mut socket, Kind::Request, &wire::to_json(request)?).await?;
        let mut answer = Answer::new(socket);
        let head = answer.head().await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await? {
            batches.push(batch);
        }
        if batches.is_empty()
            && let Some(schema) = answer.schema()
        {
            // Sequences without rows are held as well.
            batches.push(RecordBatch::new_empty(schema));
        }
        self.0 = Some(answer.into_socket());
        Ok((head, batches))
    }
}

impl RemoteRows {
    fn failed(&self, failure: Failure) -> QueryError {
        unavailable(self.stream, reason(failure)).into()
    }

    async fn ask<T: DeserializeOwned>(&self, request: LiveRequest) -> Result<T, QueryError> {
        let answered = self.connection.lock().await.ask(&request).await;
        answered.map_err(|failure| self.failed(failure))
    }

    async fn receive(&self, after: i64, columns: &[usize]) -> Result<Vec<RecordBatch>, QueryError> {
        let request = LiveRequest::Columns {
            after,
            columns: columns.to_vec(),
        };
        let received = self.connection.lock().await.receive::<()>(&request).await;
        let (_, batches) = received.map_err(|failure| self.failed(failure))?;
        Ok(batches)
    }
}

#[async_trait]
impl UncommittedRows for RemoteRows {
    async fn count(&self, after: i64) -> Result<RowCounts, QueryError> {
        self.ask(LiveRequest::Count { after }).await
    }

    async fn newest_us(&self, after: i64) -> Result<Option<i64>, QueryError> {
        self.ask(LiveRequest::NewestTime { after }).await
    }

    async fn columns(&self, after: i64, columns: &[usize]) -> Result<Vec<RecordBatch>, QueryError> {
        let scan = Scan {
            stream: self.stream,
            head: &self.head,
            after,
            columns,
        };
        let (from, columns) = match self.kept.missing(&scan)? {
            CacheAnswer::Held(rows) => return Ok(rows),
            CacheAnswer::Ask { from, columns } => (from, columns),
        };
        let answer = self.receive(from, &columns).await?;
        if let Some(rows) = self.kept.add(&scan, from, &columns, &answer)? {
            return Ok(rows);
        }
        // What these rows follow was let go or replaced meanwhile.
        let from = self.head.after;
        let answer = self.receive(from, &columns).await?;
        let added = self.kept.add(&scan, from, &columns, &answer)?;
        added.ok_or_else(|| QueryError::internal("rows are behind their tables".to_owned()))
    }
}

fn unavailable(stream: &str, why: String) -> SourceError {
    SourceError::Unavailable {
        action: "reading the newest rows",
        stream: stream.to_owned(),
        why,
    }
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Told(error) => error.message,
        Failure::Lost => "the connection to the front broke".to_owned(),
    }
}

#[async_trait]
impl Source for RemoteSource {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    async fn live(&self, wait: Duration) -> Live {
        match self.connect(wait).await {
            Ok(live) => live,
            // Without the front's rows the answer is what the tables hold, and says so.
            Err(failure) => Live {
                acknowledged: Err(unavailable(self.stream.name(), reason(failure))),
                tail: Tail::empty(),
            },
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

    use arrow::array::{ArrayData, ArrayRef, Int64Array, make_array, new_null_array};
    use arrow::compute::{cast, concat_batches};
    use headframe_ingest::{DecodedRows, Tail as FrontTail, TailView};
    use headframe_schemas::Table;
    use headframe_schemas::stream::shares::Shares;
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::live_rows::LiveRowsServer;
    use crate::rows_in_memory::RowsInMemory;
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
        front: Arc<FrontTail>,
        last: Arc<Last>,
        worker: RemoteSource,
        stop: CancellationToken,
        folder: tempfile::TempDir,
        pushed: i64,
        pushes: i64,
        looks: Vec<Looked>,
    }

    /// What the worker saw, and what the front held then.
    struct Looked {
        tail: Tail,
        view: TailView,
    }

    impl Both {
        fn start(capacity: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("live.sock");
            let front = Arc::new(FrontTail::new(0, capacity));
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
                looks: Vec::new(),
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

        async fn keep_look(&mut self) {
            let live = self.worker.live(Duration::ZERO).await;
            let view = self.front.view();
            assert_eq!(live.acknowledged.unwrap(), self.pushed);
            let tail = live.tail;
            assert_eq!(
                (tail.after, tail.through, tail.truncated),
                (view.after, view.through, view.truncated)
            );
            self.looks.push(Looked { tail, view });
        }
    }

    impl Looked {
        /// Reads these columns of the rows that are `further` sequences behind the commit.
        async fn check(&self, further: i64, columns: &[usize]) {
            let after = self.view.after + further;
            let expected = RowsInMemory::new(self.view.batches.clone());
            let rows = &self.tail.rows;
            assert_eq!(
                rows.count(after).await.unwrap(),
                expected.count(after).await.unwrap()
            );
            assert_eq!(
                rows.newest_us(after).await.unwrap(),
                expected.newest_us(after).await.unwrap()
            );
            let read = rows.columns(after, columns).await.unwrap();
            let expected = expected.columns(after, columns).await.unwrap();
            assert_eq!(whole(&read, columns), whole(&expected, columns));
        }
    }

    fn whole(batches: &[RecordBatch], columns: &[usize]) -> RecordBatch {
        let schema = Table::raw(&Shares).schema().project(columns).unwrap();
        concat_batches(&Arc::new(schema), batches).unwrap()
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

    #[derive(Debug, Clone)]
    enum Step {
        Push {
            messages: i64,
            rows: usize,
        },
        Commit {
            back: i64,
        },
        Reset,
        Look,
        /// Statements read together, each of one of the newest looks, so many rows behind its
        /// commit, these columns.
        Read(Vec<(usize, i64, Vec<usize>)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let columns = prop::sample::subsequence(vec![2_usize, 0, 5, 1, 9], 1..=4);
        let read = (0_usize..3, 0_i64..30, columns);
        prop_oneof![
            3 => (1_i64..50, 0_usize..4)
                .prop_map(|(messages, rows)| Step::Push { messages, rows }),
            1 => (0_i64..80).prop_map(|back| Step::Commit { back }),
            1 => Just(Step::Reset),
            2 => Just(Step::Look),
            3 => prop::collection::vec(read, 1..4).prop_map(Step::Read),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_worker_reads_exactly_the_rows_of_each_look(
            steps in prop::collection::vec(step(), 1..40),
            roomy in any::<bool>(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let capacity = if roomy { 1 << 30 } else { 40_000 };
                let mut both = Both::start(capacity);
                both.keep_look().await;
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
                        Step::Look => both.keep_look().await,
                        Step::Read(reads) => {
                            let looks = both.looks.iter().rev();
                            let looks: Vec<&Looked> = looks.take(3).collect();
                            let reads = reads.iter().map(|(back, further, columns)| {
                                looks[back % looks.len()].check(*further, columns)
                            });
                            futures::future::join_all(reads).await;
                        }
                    }
                }
                both.keep_look().await;
                let all: Vec<usize> = (0..Table::raw(&Shares).schema().fields().len()).collect();
                for looked in &both.looks {
                    looked.check(0, &all).await;
                }
                both.stop.cancel();
                drop(both.folder);
            });
        }
    }

    #[tokio::test]
    async fn only_columns_and_rows_that_the_worker_lacks_are_sent() {
        let mut both = Both::start(1 << 30);
        both.push(100, 2);
        both.keep_look().await;
        both.looks[0].check(0, &[2, 0]).await;
        both.push(3, 2);
        both.keep_look().await;
        let tail = &both.looks[1].tail;
        let head = LiveHead {
            acknowledged: Ok(103),
            generation: tail.generation,
            after: tail.after,
            through: tail.through,
            truncated: false,
        };
        let missing = |columns: &[usize]| {
            let scan = Scan {
                stream: "shares",
                head: &head,
                after: 0,
                columns,
            };
            both.worker.kept.missing(&scan).unwrap()
        };
        let (from, columns) = (100, vec![0, 2]);
        assert_eq!(missing(&[2]), CacheAnswer::Ask { from, columns });
        let (from, columns) = (0, vec![0, 2, 5]);
        assert_eq!(missing(&[5]), CacheAnswer::Ask { from, columns });
        both.looks[1].check(0, &[2]).await;
        assert!(matches!(missing(&[2, 0]), CacheAnswer::Held(_)));
        both.stop.cancel();
    }
}
