//! Facts that are durable in JetStream or, while that is away, in the spool: the durable queue's
//! hands.
//!
//! One task owns the durable queue and carries out what it decides. Files are handled on blocking
//! threads, one work at a time.

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use headframe_ingest::{PublishError, Publisher, SequencedBatch};
use headframe_schemas::Record;
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

use super::{FactError, Facts, history};
use crate::share::Outcome;
use crate::spool::durable_queue::{
    DurableQueue, Priority, PublishFailure, QueueAction, QueuedRow, RowRefusal,
};
use crate::spool::frame;
use crate::spool::record::SpoolRecord;
use crate::spool::segments::{Segment, Segments, SpoolError};
use crate::spool::{SpoolConfig, SpoolWatch};

/// Rows that may wait to be looked at.
const QUEUE: usize = 4_096;

type Waiter = oneshot::Sender<Result<(), RowRefusal>>;

/// Facts over a publisher and a spool.
#[derive(Clone)]
pub struct DurableFacts {
    publisher: Publisher,
    rows: mpsc::Sender<QueuedRow<Waiter>>,
    watch: SpoolWatch,
}

/// What makes the facts durable; to be run. It ends when the last [`DurableFacts`] is dropped and
/// every row is answered; what is in the spool then waits there for the next start.
pub struct Spooler {
    durable_queue: DurableQueue<Waiter>,
    rows: mpsc::Receiver<QueuedRow<Waiter>>,
    publisher: Publisher,
    watch: SpoolWatch,
    offers: FuturesUnordered<BoxFuture<'static, (u64, Result<(), PublishFailure>)>>,
    segments: Arc<Mutex<Segments>>,
    /// The one work on the files that is under way.
    disk: Option<BoxFuture<'static, Done>>,
    /// Why JetStream did not take a message, as it was told last.
    complaint: String,
    started: Instant,
}

/// What was done on the disk.
enum Done {
    Append(Result<(), SpoolError>, usize),
    Read(Result<Option<Segment>, SpoolError>),
    Panic,
}

impl DurableFacts {
    /// Opens the spool in `folder`, or where the settings say. Rows of an earlier run that are
    /// still in it are sent first.
    pub fn open(
        publisher: Publisher,
        settings: &SpoolConfig,
        folder: &Path,
    ) -> Result<(Self, Spooler), SpoolError> {
        let folder = if settings.folder.as_os_str().is_empty() {
            folder
        } else {
            &settings.folder
        };
        let segments = Segments::open(folder, settings.segment_bytes())?;
        if segments.bytes() > 0 {
            tracing::info!(bytes = segments.bytes(), folder = %folder.display(), "rows of an \
                                                                                  earlier run wait \
                                                                                  in the spool");
        }
        let producer = format!("{}.pool", publisher.producer());
        let durable_queue = DurableQueue::new(settings.limits(), producer.into(), segments.bytes());
        let (sender, rows) = mpsc::channel(QUEUE);
        let watch = SpoolWatch::default();
        // Before anybody asks: rows of an earlier run count as waiting from the start.
        watch.note(&durable_queue);
        let (offers, segments, started) = (
            FuturesUnordered::new(),
            Arc::new(Mutex::new(segments)),
            Instant::now(),
        );
        let (complaint, copy) = (String::new(), publisher.clone());
        let spooler = Spooler {
            durable_queue,
            rows,
            publisher: copy,
            watch: watch.clone(),
            offers,
            segments,
            disk: None,
            complaint,
            started,
        };
        Ok((
            Self {
                publisher,
                rows: sender,
                watch,
            },
            spooler,
        ))
    }

    /// Makes a row of any stream durable.
    pub async fn record<R: Record>(&self, priority: Priority, record: &R) -> Result<(), FactError> {
        let failed = |reason: String| FactError {
            stream: R::STREAM.name(),
            reason,
        };
        let line = serde_json::to_vec(record).map_err(|error| failed(error.to_string()))?;
        let (waiter, answer) = oneshot::channel();
        let row = QueuedRow {
            stream: R::STREAM,
            key: record.key().to_owned(),
            priority,
            line,
            waiter,
        };
        let stopped = || failed("the spool's task has stopped".to_owned());
        self.rows.send(row).await.map_err(|_| stopped())?;
        answer
            .await
            .map_err(|_| stopped())?
            .map_err(|refusal| failed(refusal.to_string()))
    }
}

impl Facts for DurableFacts {
    fn share(&self, share: Share) -> BoxFuture<'_, Result<(), FactError>> {
        let priority = if share.outcome == Outcome::Accepted.as_str() {
            Priority::Normal
        } else {
            Priority::Low
        };
        async move { self.record(priority, &share).await }.boxed()
    }
    fn block(&self, block: Block) -> BoxFuture<'_, Result<(), FactError>> {
        async move { self.record(Priority::High, &block).await }.boxed()
    }
    fn block_rows(&self, pool: &str) -> BoxFuture<'_, Result<Vec<Block>, FactError>> {
        let pool = pool.to_owned();
        let read = async move {
            let state = self.watch.state();
            if state.spooling || state.bytes > 0 {
                let reason =
                    "older rows still wait in the spool, and the stream is read when they are in \
                     it"
                    .to_owned();
                return Err(FactError {
                    stream: "blocks",
                    reason,
                });
            }
            history::block_rows(self.publisher.nats(), &pool).await
        };
        read.boxed()
    }
    fn newest_height(&self, pool: &str) -> BoxFuture<'_, Result<Option<u64>, FactError>> {
        let pool = pool.to_owned();
        async move { history::newest_height(self.publisher.nats(), &pool).await }.boxed()
    }
    fn hashrate(&self, hashrate: Hashrate) -> BoxFuture<'_, Result<(), FactError>> {
        async move { self.record(Priority::Low, &hashrate).await }.boxed()
    }
    fn session(&self, session: Session) -> BoxFuture<'_, Result<(), FactError>> {
        async move { self.record(Priority::Low, &session).await }.boxed()
    }
    fn ban(&self, ban: Ban) -> BoxFuture<'_, Result<(), FactError>> {
        async move { self.record(Priority::Low, &ban).await }.boxed()
    }
    fn spool(&self) -> Option<SpoolWatch> {
        Some(self.watch.clone())
    }
}

impl Spooler {
    /// Makes rows durable until nobody can send any more.
    pub async fn run(mut self) {
        let mut incoming = Vec::new();
        let mut closed = false;
        loop {
            self.carry_out();
            if closed && self.durable_queue.is_settled() {
                return;
            }
            let now = self.started.elapsed();
            let wake = self
                .durable_queue
                .wake_at(now)
                .map(|at| at.saturating_sub(now));
            tokio::select! {
                Some((number, answer)) = self.offers.next(), if !self.offers.is_empty() => {
                    self.complain(&answer);
                    self.durable_queue.offered(self.started.elapsed(), number, answer);
                }
                done = work(&mut self.disk) => self.done(done),
                count = self.rows.recv_many(&mut incoming, 1024),
                    if !closed && self.durable_queue.has_space() => {
                    incoming.drain(..).for_each(|row| self.durable_queue.row(row));
                    if count == 0 {
                        closed = true;
                        self.durable_queue.close();
                    }
                }
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(step) = self.durable_queue.step(self.started.elapsed()) {
            match step {
                QueueAction::Answer(waiters, verdict) => {
                    for waiter in waiters {
                        // Whoever asked may have gone away; the row is kept all the same.
                        let _ = waiter.send(verdict.clone());
                    }
                }
                QueueAction::Offer(number, message) => self
                    .offers
                    .push(offer(self.publisher.clone(), number, message).boxed()),
                QueueAction::Append(records) => {
                    self.begin(move |segments| append(segments, &records))
                }
                QueueAction::Read { aside, done } => {
                    self.begin(move |segments| Done::Read(read(segments, &aside, done)))
                }
            }
        }
        self.watch.note(&self.durable_queue);
    }

    /// Starts a work on the files; the durable queue asks for one at a time.
    fn begin(&mut self, work: impl FnOnce(&mut Segments) -> Done + Send + 'static) {
        let segments = self.segments.clone();
        let work = tokio::task::spawn_blocking(move || {
            work(&mut segments.lock().unwrap_or_else(PoisonError::into_inner))
        });
        self.disk = Some(async move { work.await.unwrap_or(Done::Panic) }.boxed());
    }

    /// Tells why JetStream does not confirm, once a reason.
    fn complain(&mut self, answer: &Result<(), PublishFailure>) {
        match answer {
            Ok(()) => self.complaint.clear(),
            Err(PublishFailure::Retryable(reason) | PublishFailure::Permanent(reason))
                if *reason != self.complaint =>
            {
                tracing::warn!(reason, "jetstream did not take a message");
                self.complaint.clone_from(reason);
            }
            Err(_) => {}
        }
    }

    fn done(&mut self, done: Done) {
        self.disk = None;
        let used = self
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes();
        let logged = |error: SpoolError| {
            tracing::error!(%error, "the spool failed");
            error.to_string()
        };
        match done {
            Done::Append(result, rows) => {
                if result.is_ok() {
                    self.watch.spooled(rows);
                }
                self.durable_queue.appended(result.map_err(logged), used);
            }
            Done::Read(result) => {
                if let Ok(Some(segment)) = &result {
                    self.watch.damaged(segment.damaged);
                }
                self.durable_queue
                    .read(self.started.elapsed(), result.map_err(logged), used);
            }
            Done::Panic => self.durable_queue.broken(
                self.started.elapsed(),
                "the work on its files broke off".to_owned(),
            ),
        }
    }
}

/// Waits for the work on the files; for ever when there is none.
async fn work(disk: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match disk {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

fn append(segments: &mut Segments, records: &[SpoolRecord]) -> Done {
    let mut frames = Vec::new();
    for record in records {
        frame::encode(&record.encode(), &mut frames);
    }
    let started = Instant::now();
    let result = segments.append(&frames);
    metrics::histogram!("headframe_stratum_spool_write_seconds")
        .record(started.elapsed().as_secs_f64());
    Done::Append(
        result,
        records.iter().map(|record| record.message.rows).sum(),
    )
}

fn read(
    segments: &mut Segments,
    aside: &[(SequencedBatch, String)],
    done: Option<u64>,
) -> Result<Option<Segment>, SpoolError> {
    for (message, reason) in aside {
        tracing::error!(
            ?message,
            reason,
            "jetstream will never take these rows; they are kept in aside"
        );
        let record = SpoolRecord {
            message: message.clone(),
            offered: true,
        };
        segments.set_aside(&format!("{}.refused", message.id()), &record.encode())?;
    }
    if let Some(number) = done {
        segments.remove(number)?;
    }
    segments.oldest()
}

async fn offer(
    publisher: Publisher,
    number: u64,
    message: SequencedBatch,
) -> (u64, Result<(), PublishFailure>) {
    let answer = match publisher.publish_once(&message).await {
        Ok(_) => Ok(()),
        Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
            Err(PublishFailure::Permanent(error.to_string()))
        }
        Err(error) => Err(PublishFailure::Retryable(error.to_string())),
    };
    (number, answer)
}
