//! What callers hand in, and the message that is made of it: once sealed, a message never changes.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::{BufMut, Bytes, BytesMut};
use headframe_schemas::message as header;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::{PublishError, Receipt};

/// Rows as one caller hands them in.
#[derive(Debug)]
pub enum Body {
    /// JSON objects, a line each, without a trailing newline.
    Lines {
        /// The text.
        text: Bytes,
        /// How many lines.
        rows: usize,
    },
    /// An Arrow IPC stream.
    Arrow {
        /// The stream.
        bytes: Bytes,
        /// How many rows.
        rows: usize,
    },
    /// One refused row.
    Refused {
        /// As it came.
        bytes: Bytes,
        /// Why.
        reason: String,
    },
}

impl Body {
    /// Its bytes.
    pub fn size(&self) -> usize {
        match self {
            Body::Lines { text, .. } => text.len() + 1,
            Body::Arrow { bytes, .. } | Body::Refused { bytes, .. } => bytes.len(),
        }
    }
}

/// One caller's rows and the way back to the caller.
#[derive(Debug)]
pub struct Job {
    /// Where they go.
    pub subject: String,
    /// The rows.
    pub body: Body,
    /// Who made a refused row, and its number there.
    pub identity: Option<(String, i64)>,
    /// Where the answer goes; the caller may be gone.
    pub reply: oneshot::Sender<Result<Receipt, PublishError>>,
    /// The share of the queue's bytes, held until the answer.
    pub permit: OwnedSemaphorePermit,
}

/// The callers that wait for one message.
pub type Waiting = Vec<(
    oneshot::Sender<Result<Receipt, PublishError>>,
    OwnedSemaphorePermit,
)>;

/// Lines for one subject that are still being gathered.
#[derive(Debug)]
pub struct Open {
    text: BytesMut,
    /// Rows so far.
    pub rows: usize,
    /// When the first row came.
    pub since: Instant,
    waiting: Waiting,
}

impl Open {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            text: BytesMut::new(),
            rows: 0,
            since: now,
            waiting: Vec::new(),
        }
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Adds a caller's lines.
    pub fn add(
        &mut self,
        text: &[u8],
        rows: usize,
        reply: oneshot::Sender<Result<Receipt, PublishError>>,
        permit: OwnedSemaphorePermit,
    ) {
        self.text.put_slice(text);
        self.text.put_u8(b'\n');
        self.rows += rows;
        self.waiting.push((reply, permit));
    }
}

/// A message of fixed composition.
#[derive(Debug)]
pub struct Sealed {
    /// Rising in the order of sealing.
    pub order: u64,
    /// Where it goes.
    pub subject: String,
    /// With the message id.
    pub headers: HeaderMap,
    /// The body.
    pub payload: Bytes,
    /// Who waits for it.
    pub waiting: Waiting,
    /// When its callers are told that it failed.
    pub deadline: Instant,
    /// When it was first sent, if it was.
    pub first_sent: Option<Instant>,
    /// How often it was sent.
    pub attempt: u32,
    /// The last failure.
    pub last_error: String,
}

/// Numbers rows and messages of one producer in one stream.
#[derive(Debug)]
pub struct Sealer {
    producer: std::sync::Arc<str>,
    next_row: i64,
    next_order: u64,
}

impl Sealer {
    /// Numbers start at 1.
    pub fn new(producer: std::sync::Arc<str>) -> Self {
        Self {
            producer,
            next_row: 1,
            next_order: 0,
        }
    }

    /// Seals gathered lines.
    pub fn lines(&mut self, subject: String, open: Open, deadline: Instant) -> Sealed {
        self.seal(
            subject,
            header::NDJSON,
            open.rows,
            None,
            open.text.freeze(),
            open.waiting,
            deadline,
        )
    }

    /// Seals a job that is a message of its own.
    pub fn alone(&mut self, job: Job, deadline: Instant) -> Sealed {
        let waiting = vec![(job.reply, job.permit)];
        match job.body {
            Body::Lines { text, rows } => self.seal(
                job.subject,
                header::NDJSON,
                rows,
                None,
                text,
                waiting,
                deadline,
            ),
            Body::Arrow { bytes, rows } => self.seal(
                job.subject,
                header::ARROW,
                rows,
                None,
                bytes,
                waiting,
                deadline,
            ),
            Body::Refused { bytes, reason } => {
                let mut sealed = self.seal(
                    job.subject,
                    header::REFUSED,
                    1,
                    job.identity,
                    bytes,
                    waiting,
                    deadline,
                );
                sealed.headers.insert(header::REASON, reason.as_str());
                sealed
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn seal(
        &mut self,
        subject: String,
        content_type: &'static str,
        rows: usize,
        identity: Option<(String, i64)>,
        payload: Bytes,
        waiting: Waiting,
        deadline: Instant,
    ) -> Sealed {
        let first = self.next_row;
        // A message has far fewer rows than i64 has numbers.
        self.next_row += i64::try_from(rows).unwrap_or(i64::MAX / 2);
        let order = self.next_order;
        self.next_order += 1;
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_MESSAGE_ID,
            format!("{}/{first}", self.producer).as_str(),
        );
        headers.insert(header::CONTENT_TYPE, content_type);
        let (producer, number) = identity.unwrap_or_else(|| (self.producer.to_string(), first));
        headers.insert(header::PRODUCER, producer.as_str());
        headers.insert(header::PRODUCER_SEQ, number.to_string().as_str());
        Sealed {
            order,
            subject,
            headers,
            payload,
            waiting,
            deadline,
            first_sent: None,
            attempt: 0,
            last_error: String::new(),
        }
    }
}

impl Sealed {
    /// Answers everyone who waits.
    pub fn settle(self, result: &Result<Receipt, PublishError>) {
        for (reply, _permit) in self.waiting {
            // The caller may have gone away, which is its right.
            reply.send(result.clone()).ok();
        }
    }
}
