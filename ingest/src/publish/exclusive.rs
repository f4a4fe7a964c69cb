//! A stream that one writer derives from others: each message says which one it follows, so that
//! nothing is written twice.
//!
//! Facts about money must not be doubled by a repetition, a zombie or a second process. Every
//! message carries the sequence it expects to follow, and JetStream refuses it once the stream went
//! on. An answer that got lost is asked for again under the same message id, which is this writer's
//! alone: equal rows of another writer are another fact, and one of the two loses.

use std::fmt;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError as AckError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use headframe_schemas::stream::subject;
use headframe_schemas::{Record, Stream, message as header};
use tokio::time::Instant;

use crate::nats::Nats;
use crate::nats::provision::{
    ProvisionError, StreamIdentity, StreamSettings, inspect_stream, provision_stream,
};
use crate::publish::PublishError;
use crate::publish::error::{Verdict, judge};

/// How long an open question is asked again before the caller hears of it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why rows were not, or are not known to be, appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was stored: the stream went on without this writer, or is not what it was.
    #[error("cannot append to stream {stream} after sequence {expected}: {}", conflict_text(.stream,
        *.found, *.lost))]
    Conflict {
        /// Which stream.
        stream: &'static str,
        /// The last sequence this writer knew.
        expected: u64,
        /// The last sequence there is.
        found: u64,
        /// Whether it was created anew, or has lost what it had acknowledged. Then reading it again
        /// does not help.
        lost: bool,
    },
    /// The rows may be stored or not.
    #[error(
        "appending to stream {stream} after sequence {expected}: no answer ({reason}); the rows \
         may or may not be stored, ask again before anything else"
    )]
    Unknown {
        /// Which stream.
        stream: &'static str,
        /// The last sequence this writer knew.
        expected: u64,
        /// The last failure.
        reason: String,
    },
    /// Nothing was stored, and nobody else wrote either.
    #[error(transparent)]
    Refused(#[from] PublishError),
    /// The stream cannot be made or looked at.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

/// The writing end of a derived stream.
pub struct ExclusiveAppender {
    nats: Nats,
    stream: &'static dyn Stream,
    writer: String,
    identity: StreamIdentity,
    last: u64,
    written: u64,
    settle_timeout: Duration,
    pending: Option<Pending>,
}

impl fmt::Debug for ExclusiveAppender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ExclusiveAppender({} after {}, {})",
            self.stream.name(),
            self.last,
            self.writer
        )
    }
}

/// A message whose outcome is not known yet.
#[derive(Debug, Clone)]
struct Pending {
    subject: String,
    id: String,
    payload: Bytes,
    /// The sequence it must follow.
    follows: u64,
    /// In the stream that was created then, nanoseconds since 1970.
    created_ns: i64,
    /// Attempts begun so far: only the answer to a first one can be a last word.
    attempts: u32,
}

/// What one attempt, or a look into the stream, tells of a message.
enum Outcome {
    Stored(u64),
    Conflict { found: u64, lost: bool },
    Refused(PublishError),
    Open(String),
}

impl ExclusiveAppender {
    /// Creates the stream if it is missing and takes its end as known. Whoever opens it must then
    /// learn what it holds up to [`Self::last_seq`] before appending: what the table of the stream
    /// says, once it has committed that far.
    pub async fn open(
        nats: Nats,
        stream: &'static dyn Stream,
        settings: &StreamSettings,
    ) -> Result<Self, AppendError> {
        let identity = provision_stream(&nats.js, stream, settings).await?;
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let writer = format!("appender.{started:x}{:08x}", rand::random::<u32>());
        let last = identity.last_seq;
        Ok(Self {
            nats,
            stream,
            writer,
            identity,
            last,
            written: 0,
            settle_timeout: SETTLE_TIMEOUT,
            pending: None,
        })
    }

    /// The same writer, which gives an open question up sooner or later than after 30 s.
    #[must_use]
    pub fn with_settle_timeout(mut self, settle_timeout: Duration) -> Self {
        self.settle_timeout = settle_timeout;
        self
    }

    /// The last sequence this writer knows of; 0 for an empty stream.
    pub fn last_seq(&self) -> u64 {
        self.last
    }

    /// Which incarnation of the stream was opened, and how far it reached then.
    pub fn identity(&self) -> &StreamIdentity {
        &self.identity
    }

    /// Bytes of rows that one message takes.
    pub fn max_message_bytes(&self) -> usize {
        self.nats.max_message_bytes()
    }

    /// How many of the first rows fit into one message together: as many as there are, or fewer,
    /// but never none.
    pub fn rows_that_fit<R: Record>(&self, rows: &[R]) -> Result<usize, AppendError> {
        let (mut size, limit) = (0, self.max_message_bytes());
        for (index, row) in rows.iter().enumerate() {
            size += encode(std::slice::from_ref(row))?.len();
            if size > limit {
                return if index > 0 {
                    Ok(index)
                } else {
                    Err(self.too_large(size))
                };
            }
        }
        Ok(rows.len())
    }

    /// Appends rows of one key as one message, so that all of them are stored or none, and answers
    /// its sequence.
    ///
    /// After [`AppendError::Unknown`] every call but [`Self::settle`] answers the same until
    /// that has found out. A call that is dropped half way leaves the same state behind. After
    /// [`AppendError::Conflict`] each append fails until [`Self::refresh`].
    pub async fn append<R: Record>(&mut self, rows: &[R]) -> Result<u64, AppendError> {
        self.require_settled()?;
        let key = rows
            .first()
            .map(Record::key)
            .ok_or_else(|| PublishError::Encode("there are no rows".to_owned()))?;
        if let Some(other) = rows.iter().map(Record::key).find(|other| *other != key) {
            return Err(PublishError::Encode(format!(
                "rows of {key:?} and of {other:?} cannot be one message"
            ))
            .into());
        }
        let payload = encode(rows)?;
        if payload.len() > self.max_message_bytes() {
            return Err(self.too_large(payload.len()));
        }
        self.written += 1;
        let id = format!("{}/{}", self.writer, self.written);
        let (subject, created_ns) = (subject(self.stream, key), self.identity.created_ns);
        self.pending = Some(Pending {
            subject,
            id,
            payload,
            follows: self.last,
            created_ns,
            attempts: 0,
        });
        Ok(self.settle().await?.unwrap_or(self.last))
    }

    /// Finds out what became of the message whose outcome is open: its sequence once it is
    /// certainly stored, `None` when there is no such message. It is sent again if need be, under
    /// the same id and for the same place.
    pub async fn settle(&mut self) -> Result<Option<u64>, AppendError> {
        let stream = self.stream.name();
        let until = Instant::now() + self.settle_timeout;
        while let Some(pending) = &mut self.pending {
            let expected = pending.follows;
            let online = self.nats.is_connected();
            let outcome = if online {
                pending.attempts = pending.attempts.saturating_add(1);
                let pending = pending.clone();
                publish_pending(&self.nats, stream, &pending).await
            } else if pending.attempts == 0 && Instant::now() >= until {
                Outcome::Refused(PublishError::Busy { stream })
            } else {
                Outcome::Open("there is no connection".to_owned())
            };
            match outcome {
                Outcome::Open(reason) if Instant::now() >= until => {
                    return Err(AppendError::Unknown {
                        stream,
                        expected,
                        reason,
                    });
                }
                Outcome::Open(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Outcome::Stored(seq) => {
                    (self.last, self.pending) = (seq, None);
                    return Ok(Some(seq));
                }
                Outcome::Conflict { found, lost } => {
                    self.pending = None;
                    metrics::counter!("headframe_chronicle_conflicts_total", "stream" => stream)
                        .increment(1);
                    return Err(AppendError::Conflict {
                        stream,
                        expected,
                        found,
                        lost,
                    });
                }
                Outcome::Refused(error) => {
                    self.pending = None;
                    return Err(error.into());
                }
            }
        }
        Ok(None)
    }

    /// Takes the stream's present end as known, after a conflict. What was written up to there must
    /// be learned first or next.
    pub async fn refresh(&mut self) -> Result<u64, AppendError> {
        self.require_settled()?;
        self.last = self.verify().await?;
        Ok(self.last)
    }

    /// The stream's present end, of the stream that was opened. One that was created anew since, or
    /// that ends before what this writer knows, is a [`AppendError::Conflict`] that is `lost`.
    pub async fn verify(&self) -> Result<u64, AppendError> {
        let (stream, expected) = (self.stream.name(), self.last);
        let found = inspect_stream(&self.nats.js, self.stream).await?;
        let same = |now: &StreamIdentity| {
            now.created_ns == self.identity.created_ns && now.last_seq >= expected
        };
        match found {
            Some(now) if same(&now) => Ok(now.last_seq),
            other => {
                let found = other.map_or(0, |now| now.last_seq);
                Err(AppendError::Conflict {
                    stream,
                    expected,
                    found,
                    lost: true,
                })
            }
        }
    }

    fn require_settled(&self) -> Result<(), AppendError> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let reason = "an earlier message is not settled".to_owned();
        Err(AppendError::Unknown {
            stream: self.stream.name(),
            expected: pending.follows,
            reason,
        })
    }

    fn too_large(&self, size: usize) -> AppendError {
        let reason = format!(
            "{size} bytes of rows, the limit is {}",
            self.max_message_bytes()
        );
        PublishError::TooLarge {
            stream: self.stream.name(),
            reason,
        }
        .into()
    }
}

fn encode<R: Record>(rows: &[R]) -> Result<Bytes, PublishError> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row)
            .map_err(|error| PublishError::Encode(error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text.into())
}

/// Who took the place, in words.
fn conflict_text(stream: &str, found: u64, lost: bool) -> String {
    match lost {
        true => format!(
            "it was created anew or has lost messages that it had acknowledged, and ends at \
             {found}; restore it, or decide with `headframe adopt {stream}`"
        ),
        false => format!(
            "it goes on to {found}, written by somebody else; read it again first, and let only \
             one process write it"
        ),
    }
}

async fn publish_pending(nats: &Nats, stream: &'static str, pending: &Pending) -> Outcome {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, pending.id.as_str());
    headers.insert(header::CONTENT_TYPE, header::NDJSON);
    let message = PublishMessage::build()
        .payload(pending.payload.clone())
        .headers(headers)
        .expected_last_sequence(pending.follows);
    let error = match nats.publish_once(pending.subject.clone(), message).await {
        // A repeated id is answered with the sequence of the first one, and nobody else has our
        // ids.
        Ok(ack) => return Outcome::Stored(ack.sequence),
        Err(error) => error,
    };
    match code(&error) {
        Some(
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
        ) => find_in_stream(nats, stream, pending).await,
        // An attempt of ours is being stored at this moment.
        Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT) => Outcome::Open(error.to_string()),
        _ => match judge(stream, &error) {
            Verdict::Final(error) if pending.attempts == 1 => Outcome::Refused(error),
            Verdict::Final(error) => Outcome::Open(error.to_string()),
            Verdict::NoStream => Outcome::Open("no stream answers".to_owned()),
            Verdict::Open(reason) => match nats
                .take_denied()
                .filter(|denied| denied.contains(pending.subject.as_str()))
            {
                Some(reason) if pending.attempts == 1 => {
                    Outcome::Refused(PublishError::Denied { stream, reason })
                }
                _ => Outcome::Open(reason),
            },
        },
    }
}

/// The place is taken: by whom? The leader is asked, not a replica that may lag.
async fn find_in_stream(nats: &Nats, stream: &'static str, pending: &Pending) -> Outcome {
    let wanted = pending.follows + 1;
    let handle = match nats.js.get_stream(stream).await {
        Ok(handle) => handle,
        Err(error) => return Outcome::Open(error.to_string()),
    };
    let info = handle.cached_info();
    let (found, created) = (
        info.state.last_sequence,
        info.created.unix_timestamp_nanos(),
    );
    let lost = created != i128::from(pending.created_ns) || found < pending.follows;
    if lost || found < wanted {
        // It is not the stream we knew, or shorter than that, so that no attempt of ours can have
        // been taken.
        return Outcome::Conflict { found, lost };
    }
    match handle.get_raw_message(wanted).await {
        Ok(stored)
            if stored
                .headers
                .get(NATS_MESSAGE_ID)
                .is_some_and(|id| id.as_str() == pending.id) =>
        {
            Outcome::Stored(wanted)
        }
        Ok(_) => Outcome::Conflict { found, lost },
        Err(error)
            if error.kind() == RawMessageErrorKind::NoMessageFound && pending.attempts == 1 =>
        {
            Outcome::Conflict { found, lost }
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
            Outcome::Open(format!(
                "message {wanted}, which would tell, has left the stream; start again from the \
                 table"
            ))
        }
        Err(error) => Outcome::Open(error.to_string()),
    }
}

/// JetStream's own code for a refusal; the client knows one kind for two of them.
fn code(error: &AckError) -> Option<ErrorCode> {
    if error.kind() == PublishErrorKind::WrongLastSequence {
        return Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE);
    }
    let reply = std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()?;
    Some(reply.error_code())
}
