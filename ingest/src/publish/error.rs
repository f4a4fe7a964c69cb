//! Why a row is not, or not known to be, in its stream; and how JetStream's answers are read.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind;

/// A publish that did not end in a receipt.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The row cannot be written as a message.
    #[error("cannot encode the rows: {0}")]
    Encode(String),
    /// Nothing was stored: the stream holds as much as it may.
    #[error(
        "stream {stream} is full: {reason}; rows are accepted again when old ones age out or its \
         limit is raised"
    )]
    Full {
        /// Which stream.
        stream: &'static str,
        /// JetStream's words.
        reason: String,
    },
    /// Nothing was stored: one message is larger than the server takes.
    #[error(
        "a message for stream {stream} is too large: {reason}; send smaller rows or raise \
         max_payload"
    )]
    TooLarge {
        /// Which stream.
        stream: &'static str,
        /// What is too large.
        reason: String,
    },
    /// Nothing was stored: our account may not publish there.
    #[error(
        "publishing to stream {stream} is not permitted: {reason}; grant publish on {stream}.>"
    )]
    Denied {
        /// Which stream.
        stream: &'static str,
        /// The server's words.
        reason: String,
    },
    /// Nothing was stored: no stream takes the subject.
    #[error(
        "no JetStream stream takes {stream}.>; provision it, and check that JetStream is enabled"
    )]
    NoStream {
        /// Which stream.
        stream: &'static str,
    },
    /// Nothing was stored: JetStream refused the message for another reason.
    #[error("stream {stream} refused the message: {reason}")]
    Refused {
        /// Which stream.
        stream: &'static str,
        /// JetStream's words.
        reason: String,
    },
    /// Nothing was stored: the queue stayed full, or there was no connection, until the deadline.
    #[error("stream {stream} cannot take more rows now; try again later")]
    Busy {
        /// Which stream.
        stream: &'static str,
    },
    /// The rows may be stored or not: no answer came until the deadline.
    #[error(
        "no acknowledgement from stream {stream} in {seconds} s (last: {reason}); the rows may or \
         may not be stored"
    )]
    Unconfirmed {
        /// Which stream.
        stream: &'static str,
        /// The deadline.
        seconds: u64,
        /// The last failure.
        reason: String,
    },
    /// The publisher's task is gone: the program is shutting down.
    #[error("the publisher of stream {stream} has stopped")]
    Stopped {
        /// Which stream.
        stream: &'static str,
    },
}

impl PublishError {
    /// Whether the same rows may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::NoStream { .. }
                | Self::Busy { .. }
                | Self::Unconfirmed { .. }
                | Self::Stopped { .. }
        )
    }

    /// When to try again; `None` when it is no use.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { .. } => Some(Duration::from_secs(30)),
            Self::NoStream { .. } => Some(Duration::from_secs(10)),
            Self::Busy { .. } => Some(Duration::from_secs(2)),
            Self::Unconfirmed { .. } | Self::Stopped { .. } => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// What a failed attempt means for the message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is certainly not stored and never will be.
    Final(PublishError),
    /// Nobody answers for the subject: not stored, but the server may only be starting.
    NoStream,
    /// It may be stored; ask again under the same id.
    Open(String),
}

/// Reads a failed acknowledgement.
pub(crate) fn judge(stream: &'static str, error: &jetstream::context::PublishError) -> Verdict {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Verdict::NoStream,
        PublishErrorKind::MaxPayloadExceeded => Verdict::Final(PublishError::TooLarge {
            stream,
            reason: error.to_string(),
        }),
        PublishErrorKind::Other => match std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<jetstream::Error>())
        {
            Some(reply) => judge_reply(
                stream,
                reply.code(),
                reply.error_code().0,
                &reply.to_string(),
            ),
            None => Verdict::Open(error.to_string()),
        },
        _ => Verdict::Open(error.to_string()),
    }
}

fn judge_reply(stream: &'static str, status: usize, code: u64, text: &str) -> Verdict {
    let reason = text.to_owned();
    let lower = text.to_ascii_lowercase();
    match code {
        // Store failed: a limit is a refusal, anything else (a broken disk) may pass.
        10077 if lower.contains("maximum") => Verdict::Final(PublishError::Full { stream, reason }),
        10002 | 10023 | 10047 | 10122 => Verdict::Final(PublishError::Full { stream, reason }),
        10054 => Verdict::Final(PublishError::TooLarge { stream, reason }),
        _ if (400..500).contains(&status) => {
            Verdict::Final(PublishError::Refused { stream, reason })
        }
        _ => Verdict::Open(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_open_questions() {
        let full = judge_reply("shares", 503, 10077, "maximum bytes exceeded");
        assert!(
            matches!(full, Verdict::Final(PublishError::Full { .. })),
            "{full:?}"
        );
        let disk = judge_reply("shares", 503, 10077, "no space left on device");
        assert!(matches!(disk, Verdict::Open(_)), "{disk:?}");
        let large = judge_reply("shares", 400, 10054, "message size exceeds maximum allowed");
        assert!(
            matches!(large, Verdict::Final(PublishError::TooLarge { .. })),
            "{large:?}"
        );
        let down = judge_reply("shares", 503, 10008, "temporarily unavailable");
        assert!(matches!(down, Verdict::Open(_)), "{down:?}");
    }
}
