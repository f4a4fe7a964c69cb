//! Puts rows into streams and returns when JetStream holds them durably.
//!
//! One task per stream gathers the rows of concurrent callers into messages, keeps several messages
//! in flight, and repeats a message under the same id after any failure that leaves its fate open.
//! A caller that goes away takes nothing with it: its rows are already part of a message whose
//! composition never changes.
//!
//! Four parts batch, retry and confirm: this publisher, [`exclusive`], the pool's spool with
//! [`sequenced`], and the payouts' writer. What they share is one attempt and the size of a
//! message, and both are methods of [`Nats`]. A core for all four would be more code, since they
//! differ in what a lost answer means: the publisher sends on and repeats under the same id, the
//! spool moves the rows to the disk, the appender asks the stream who was first and stops, and the
//! payouts' writer is a caller of the appender.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use headframe_schemas::stream::subject;
use headframe_schemas::{Record, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::nats::Nats;

mod batch;
mod error;
pub mod exclusive;
mod message;
mod sequenced;
mod stream_publisher;

pub use error::PublishError;
use message::{Body, Job};
pub use sequenced::SequencedBatch;

/// How rows are gathered into messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublisherConfig {
    /// A message is closed at this many rows.
    pub max_rows: usize,
    /// A message is closed at this many bytes.
    pub max_bytes: usize,
    /// A message is closed at this age in milliseconds; at once when nothing is in flight.
    pub linger_ms: u64,
    /// Messages sent and not yet acknowledged, per stream.
    pub in_flight: usize,
    /// Rows and batches waiting, per stream; beyond it callers wait.
    pub queue: usize,
    /// Bytes waiting or in flight, over all streams; beyond it callers wait.
    pub queue_bytes: usize,
    /// How long a message is repeated before its callers are told that its fate is unknown, in
    /// seconds. Must stay below the stream's duplicate window, or JetStream itself could store it
    /// twice (the decoder would still drop the second).
    pub deadline_s: u64,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            max_rows: 5_000,
            max_bytes: 512 * 1024,
            linger_ms: 3,
            in_flight: 32,
            queue: 16_384,
            queue_bytes: 64 * 1024 * 1024,
            deadline_s: 60,
        }
    }
}

impl PublisherConfig {
    /// Refuses what cannot work with streams of this duplicate window. The reason names the key.
    pub fn validate(&self, duplicate_window_s: u64) -> Result<(), String> {
        let positive = [
            ("max_rows", self.max_rows as u64),
            ("max_bytes", self.max_bytes as u64),
            ("in_flight", self.in_flight as u64),
            ("queue", self.queue as u64),
            ("deadline_s", self.deadline_s),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("publisher.{key} is 0; it must be at least 1"));
        }
        if self.linger_ms > 10_000 {
            return Err(format!(
                "publisher.linger_ms is {}; it must be at most 10000, for every caller waits that \
                 long",
                self.linger_ms
            ));
        }
        if self.queue_bytes < self.max_bytes {
            return Err(format!(
                "publisher.queue_bytes is {}; it must not be less than publisher.max_bytes",
                self.queue_bytes
            ));
        }
        if self.deadline_s >= duplicate_window_s {
            return Err(format!(
                "publisher.deadline_s is {}; it must be less than streams.duplicate_window_s",
                self.deadline_s
            ));
        }
        Ok(())
    }
}

/// Proof that JetStream holds a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The sequence of the row's message in the stream; of several messages, the highest.
    pub seq: u64,
    /// Whether JetStream had the message already, from an earlier attempt whose answer was lost.
    pub duplicate: bool,
}

/// Publishes rows. Clones share the queues; the tasks end after the last clone is dropped and its
/// rows are settled.
#[derive(Debug, Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nats: Nats,
    config: PublisherConfig,
    producer: Arc<str>,
    /// One permit a byte that waits or is being sent.
    byte_permits: Arc<Semaphore>,
    queues: Mutex<HashMap<&'static str, mpsc::Sender<Job>>>,
}

impl Publisher {
    /// A publisher. `name` says who we are; an epoch unique to this run is appended, so that row
    /// numbers start afresh.
    ///
    /// Must be called inside a Tokio runtime. Streams must have been provisioned.
    pub fn new(nats: Nats, name: &str, config: PublisherConfig) -> Self {
        let clean: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            .take(64)
            .collect();
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let producer = format!("{clean}.{started:x}{:08x}", rand::random::<u32>());
        let byte_permits = Arc::new(Semaphore::new(
            config.queue_bytes.clamp(1, Semaphore::MAX_PERMITS),
        ));
        let queues = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                nats,
                config,
                producer: producer.into(),
                byte_permits,
                queues,
            }),
        }
    }

    /// The producer id of this run, as it stands in the `producer` column.
    pub fn producer(&self) -> &str {
        &self.inner.producer
    }

    /// The connection it publishes on.
    pub fn nats(&self) -> &Nats {
        &self.inner.nats
    }

    /// The configuration.
    pub fn config(&self) -> &PublisherConfig {
        &self.inner.config
    }

    /// The share of the queue's bytes that is taken, 0 to 1.
    pub fn load(&self) -> f64 {
        let free = self.inner.byte_permits.available_permits();
        1.0 - free as f64 / self.inner.config.queue_bytes.max(1) as f64
    }

    /// Publishes one typed row.
    pub async fn record<R: Record>(&self, record: &R) -> Result<Receipt, PublishError> {
        let line =
            serde_json::to_vec(record).map_err(|error| PublishError::Encode(error.to_string()))?;
        self.line(R::STREAM, record.key(), line.into()).await
    }

    /// Publishes one row given as a JSON object. `key` is the value of its stream's key column: the
    /// pool or the site.
    pub async fn line(
        &self,
        stream: &'static dyn Stream,
        key: &str,
        line: Bytes,
    ) -> Result<Receipt, PublishError> {
        let line = if line.contains(&b'\n') {
            without_newlines(&line)
        } else {
            line
        };
        self.enqueue(
            stream,
            subject(stream, key),
            Body::Lines {
                text: line,
                rows: 1,
            },
            None,
        )
        .await
    }

    /// Publishes a batch with the stream's columns, and `producer` and `producer_seq` when it has
    /// them.
    ///
    /// It becomes one message per key and size limit; when the answer is an error, some of them may
    /// be stored.
    pub async fn batch(
        &self,
        stream: &'static dyn Stream,
        batch: RecordBatch,
    ) -> Result<Receipt, PublishError> {
        let receipts = self.messages(stream, &batch).await?;
        let last = Receipt {
            seq: 0,
            duplicate: true,
        };
        Ok(receipts.into_iter().fold(last, |last, next| Receipt {
            seq: last.seq.max(next.seq),
            duplicate: last.duplicate && next.duplicate,
        }))
    }

    /// Publishes a batch and answers the receipt of each message it became.
    pub(crate) async fn messages(
        &self,
        stream: &'static dyn Stream,
        batch: &RecordBatch,
    ) -> Result<Vec<Receipt>, PublishError> {
        if batch.num_rows() == 0 {
            return Err(PublishError::Encode("the batch has no rows".to_owned()));
        }
        let hard = self.inner.nats.max_message_bytes();
        let parts = batch::split(stream, batch, self.inner.config.max_bytes.min(hard), hard)?;
        let sends = parts.into_iter().map(|part| {
            let body = Body::Arrow {
                bytes: part.bytes,
                rows: part.rows,
            };
            self.enqueue(stream, part.subject, body, None)
        });
        futures::future::try_join_all(sends).await
    }

    /// Publishes lines that the decoder will reject, many a message, so that they appear among the
    /// dead letters.
    pub(crate) async fn bad_lines(
        &self,
        stream: &'static dyn Stream,
        lines: Vec<Bytes>,
    ) -> Result<Vec<Receipt>, PublishError> {
        let limit = self.inner.config.max_bytes;
        let mut sends = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        let mut rows = 0;
        for line in &lines {
            if rows > 0 && (text.len() + line.len() >= limit || rows >= self.inner.config.max_rows)
            {
                let body = Body::Lines {
                    text: std::mem::take(&mut text).into(),
                    rows,
                };
                sends.push(self.enqueue(stream, subject(stream, "refused"), body, None));
                rows = 0;
            }
            if rows > 0 {
                text.push(b'\n');
            }
            text.extend_from_slice(&without_newlines(line));
            rows += 1;
        }
        if rows > 0 {
            sends.push(self.enqueue(
                stream,
                subject(stream, "refused"),
                Body::Lines {
                    text: text.into(),
                    rows,
                },
                None,
            ));
        }
        futures::future::try_join_all(sends).await
    }

    /// Keeps a row that was refused at HTTP ingest, so that it appears among the dead letters.
    /// `identity` is the producer and number its sender gave it, if any. Bytes beyond what one
    /// message takes are cut off, and the reason says so.
    pub async fn refused(
        &self,
        stream: &'static dyn Stream,
        raw: Bytes,
        reason: &str,
        identity: Option<(String, i64)>,
    ) -> Result<Receipt, PublishError> {
        let limit = self.inner.nats.max_message_bytes().saturating_sub(8 * 1024);
        let mut reason: String = reason
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(500)
            .collect();
        let cut = raw.len() > limit;
        if cut {
            reason.push_str(&format!(
                " (only the first {limit} of {} bytes are kept)",
                raw.len()
            ));
        }
        let bytes = if cut { raw.slice(..limit) } else { raw };
        self.enqueue(
            stream,
            subject(stream, "refused"),
            Body::Refused { bytes, reason },
            identity,
        )
        .await
    }

    async fn enqueue(
        &self,
        stream: &'static dyn Stream,
        subject: String,
        body: Body,
        identity: Option<(String, i64)>,
    ) -> Result<Receipt, PublishError> {
        let inner = &self.inner;
        let size = body.size().clamp(1, inner.config.queue_bytes.max(1));
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        let (reply, answer) = oneshot::channel();
        let job = |permit| Job {
            subject,
            body,
            identity,
            reply,
            permit,
        };
        let admitted = match inner.byte_permits.clone().try_acquire_many_owned(permits) {
            // Usually there is space, and then nothing needs a clock.
            Ok(permit) => match self.queue(stream).try_send(job(permit)) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(job)) => {
                    self.wait_for(async move |queue| queue.send(job).await.ok(), stream)
                        .await
                }
                Err(TrySendError::Closed(_)) => Err(PublishError::Stopped {
                    stream: stream.name(),
                }),
            },
            Err(_) => {
                let byte_permits = inner.byte_permits.clone();
                let queue = async move |queue: mpsc::Sender<Job>| {
                    queue
                        .send(job(byte_permits.acquire_many_owned(permits).await.ok()?))
                        .await
                        .ok()
                };
                self.wait_for(queue, stream).await
            }
        };
        admitted?;
        // Once queued, the answer always comes: its publisher gives each message a deadline.
        answer.await.unwrap_or(Err(PublishError::Stopped {
            stream: stream.name(),
        }))
    }

    /// Waits for a place in a stream's queue, with the deadline of a message.
    async fn wait_for(
        &self,
        queue: impl AsyncFnOnce(mpsc::Sender<Job>) -> Option<()>,
        stream: &'static dyn Stream,
    ) -> Result<(), PublishError> {
        let wait = Duration::from_secs(self.inner.config.deadline_s);
        match tokio::time::timeout(wait, queue(self.queue(stream))).await {
            Err(_) => Err(PublishError::Busy {
                stream: stream.name(),
            }),
            Ok(None) => Err(PublishError::Stopped {
                stream: stream.name(),
            }),
            Ok(Some(())) => Ok(()),
        }
    }

    fn queue(&self, stream: &'static dyn Stream) -> mpsc::Sender<Job> {
        let inner = &self.inner;
        let mut queues = inner.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let (sender, receiver) = mpsc::channel(inner.config.queue.max(1));
            tokio::spawn(stream_publisher::run(
                inner.nats.clone(),
                inner.config.clone(),
                inner.producer.clone(),
                stream.name(),
                receiver,
            ));
            sender
        };
        queues.entry(stream.name()).or_insert_with(start).clone()
    }
}

/// A line break inside a JSON object is white space or an error; as a blank it stays what it was
/// and stays one line.
fn without_newlines(line: &[u8]) -> Bytes {
    line.iter()
        .map(|&byte| {
            if byte == b'\n' || byte == b'\r' {
                b' '
            } else {
                byte
            }
        })
        .collect::<Vec<u8>>()
        .into()
}
