//! A message whose rows were numbered by its sender, offered once.
//!
//! Whoever keeps rows on a disk of its own must be able to send them again after a crash, as the
//! same rows. So the sender names the producer and the numbers before the first attempt, and every
//! attempt carries the same: JetStream drops a repetition by the message id within its window, the
//! decoder drops it by the numbers for ever.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use headframe_schemas::Stream;
use headframe_schemas::message as header;
use headframe_schemas::stream::subject;

use super::error::{Verdict, judge};
use super::{PublishError, Publisher, Receipt};

/// Rows of one stream and one key, with their numbers.
#[derive(Clone)]
pub struct SequencedBatch {
    /// The stream they belong to.
    pub stream: &'static dyn Stream,
    /// The value of the stream's key column: the pool or the site.
    pub key: String,
    /// Who numbered them; unique to one run of one process, at most 256 bytes.
    pub producer: Arc<str>,
    /// The number of the first row; the others follow without a gap.
    pub first: i64,
    /// How many rows.
    pub rows: usize,
    /// JSON objects, each ended by a line feed.
    pub text: Bytes,
}

impl fmt::Debug for SequencedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SequencedBatch({} {} {})",
            self.stream.name(),
            self.key,
            self.id()
        )
    }
}

impl SequencedBatch {
    /// The message id: the same rows have the same, rows put together otherwise have another.
    pub fn id(&self) -> String {
        format!("{}/{}+{}", self.producer, self.first, self.rows)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.id().as_str());
        headers.insert(header::CONTENT_TYPE, header::NDJSON);
        headers.insert(header::PRODUCER, &*self.producer);
        headers.insert(header::PRODUCER_SEQ, self.first.to_string().as_str());
        headers
    }
}

impl Publisher {
    /// Offers a message once and waits for JetStream's answer, some seconds at most. Nothing is
    /// queued or repeated: after an error that leaves the fate open the caller offers the same
    /// message again, and no later one of the same rows' order before it. Without a connection
    /// nothing is sent and the answer is [`PublishError::Busy`] at once.
    pub async fn publish_once(&self, message: &SequencedBatch) -> Result<Receipt, PublishError> {
        let (nats, stream) = (&self.inner.nats, message.stream.name());
        if !nats.is_connected() {
            return Err(PublishError::Busy { stream });
        }
        let (bytes, limit) = (message.text.len(), nats.max_message_bytes());
        if bytes > limit {
            let reason = format!("{bytes} bytes, the limit is {limit}");
            return Err(PublishError::TooLarge { stream, reason });
        }
        let started = Instant::now();
        let publish = PublishMessage::build()
            .payload(message.text.clone())
            .headers(message.headers());
        let subject = subject(message.stream, &message.key);
        let error = match nats.publish_once(subject, publish).await {
            Ok(ack) => {
                return Ok(Receipt {
                    seq: ack.sequence,
                    duplicate: ack.duplicate,
                });
            }
            Err(error) => error,
        };
        Err(match judge(stream, &error) {
            Verdict::Final(error) => error,
            Verdict::NoStream => PublishError::NoStream { stream },
            Verdict::Open(reason) => PublishError::Unconfirmed {
                stream,
                seconds: started.elapsed().as_secs(),
                reason,
            },
        })
    }
}
