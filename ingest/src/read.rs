//! Reads a stream in order, from a place, without a gap, or stops and says by name what is wrong.
//!
//! An ephemeral pull consumer without acknowledgements delivers; the offset lives in the table, not
//! in JetStream. The sequence numbers prove that nothing is missing. On every connect, before
//! anything more is handed out, the stream must prove that it still is the one that was read:
//! created at the same time, not shorter, the same message at the last place.

use std::time::{Duration, Instant};

use headframe_schemas::Stream;

use crate::lasting_state::{LastingChange, LastingState};
use crate::nats::Nats;

mod check;
pub mod decode;
pub mod duplicate_filter;
pub mod follow;
pub mod last_message;
pub mod message;
mod pull;
pub mod state;
pub mod tail;

use message::Message;
use pull::{Delivery, Pull};
use state::MessageFingerprint;

/// Where to start and what must be true of the stream.
#[derive(Debug, Clone, Default)]
pub struct ReadFrom {
    /// The first stream sequence wanted; 0 and 1 both mean the beginning.
    pub next: u64,
    /// What the stream must show.
    pub expect: ExpectedStream,
}

/// What is known of the stream from before.
#[derive(Debug, Clone, Default)]
pub struct ExpectedStream {
    /// When it was created, nanoseconds since 1970; `None` takes any, for the first time.
    pub created_ns: Option<i64>,
    /// The last message that was taken.
    pub last_message: Option<MessageFingerprint>,
}

/// How much is asked for at a time, and how long silence is believed.
#[derive(Debug, Clone)]
pub struct ReaderConfig {
    /// Messages the server may send ahead of the caller.
    pub pull_messages: usize,
    /// Bytes the server may send ahead of the caller.
    pub pull_bytes: usize,
    /// Messages in one answer of [`Reader::next`] at most.
    pub answer_messages: usize,
    /// Bytes in one answer at which it is closed.
    pub answer_bytes: usize,
    /// The server's sign of life while there is nothing to send; twice this without one is a stall.
    pub heartbeat: Duration,
    /// How long signs of life without messages are believed before the stream is asked whether it
    /// has more.
    pub progress: Duration,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            pull_messages: 16_384,
            pull_bytes: 32 * 1024 * 1024,
            answer_messages: 8_192,
            answer_bytes: 16 * 1024 * 1024,
            heartbeat: Duration::from_secs(1),
            progress: Duration::from_secs(60),
        }
    }
}

/// Why reading cannot go on. Only [`ReadFault::Nats`] passes by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// The stream was deleted and made anew: its sequences mean other messages.
    #[error(
        "stream {stream} was recreated (created at {found} ns, expected {expected} ns); its rows \
         are not those the table knows; run `headframe adopt {stream}` to continue the table from \
         the new stream"
    )]
    StreamRecreated {
        /// Which stream.
        stream: &'static str,
        /// What the table is bound to.
        expected: i64,
        /// What is there.
        found: i64,
    },
    /// The stream lost its newest messages: sequences that were read are gone or hold something
    /// else.
    #[error(
        "stream {stream} regressed at sequence {seq}: {reason}; acknowledged messages were lost; \
         restore the stream, or stop headframe and run `headframe adopt {stream}` to go on with \
         what it holds now"
    )]
    SourceRegressed {
        /// Which stream.
        stream: &'static str,
        /// The last sequence that was read.
        seq: u64,
        /// What is there instead.
        reason: String,
    },
    /// Messages vanished before they were read.
    #[error(
        "stream {stream} has no messages {from} to {to}: they were purged, deleted or expired \
         before they were read; restore the stream, or stop headframe and run `headframe adopt \
         {stream}` to go on without them"
    )]
    Gap {
        /// Which stream.
        stream: &'static str,
        /// The first missing sequence.
        from: u64,
        /// The last missing sequence.
        to: u64,
    },
    /// There is no such stream.
    #[error("stream {stream} does not exist; provision it, or restore it if it held rows")]
    StreamMissing {
        /// Which stream.
        stream: &'static str,
    },
    /// Its settings no longer carry the guarantees.
    #[error("settings of stream {stream} changed: {}", .faults.join("; "))]
    SettingsChanged {
        /// Which stream.
        stream: &'static str,
        /// Everything that is wrong.
        faults: Vec<String>,
    },
    /// JetStream cannot be asked; try again.
    #[error("cannot {attempt} stream {stream}: {reason}")]
    Nats {
        /// Which stream.
        stream: &'static str,
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl ReadFault {
    /// Whether trying again may help without anybody deciding anything.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Nats { .. })
    }

    /// One word for metrics and readiness.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StreamRecreated { .. } => "stream_recreated",
            Self::SourceRegressed { .. } => "source_regressed",
            Self::Gap { .. } => "gap",
            Self::StreamMissing { .. } => "stream_missing",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::Nats { .. } => "nats",
        }
    }
}

/// Reads one stream.
pub struct Reader {
    nats: Nats,
    stream: &'static dyn Stream,
    config: ReaderConfig,
    /// The next sequence to hand out.
    next: u64,
    created_ns: i64,
    last_message: Option<MessageFingerprint>,
    last_seq: u64,
    pull: Option<Pull>,
    /// How long to wait before the next consumer is made; zero until something failed.
    backoff: Duration,
    /// A jump was seen here; if a new consumer shows it again it is real.
    suspect: Option<u64>,
    /// Consumers are made anew and no message comes.
    interruption: LastingState,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("stream", &self.stream.name())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Checks the stream and stands ready at `from.next`.
    pub async fn open(
        nats: Nats,
        stream: &'static dyn Stream,
        from: ReadFrom,
    ) -> Result<Self, ReadFault> {
        Self::open_with(nats, stream, from, ReaderConfig::default()).await
    }

    /// [`Reader::open`] with other limits.
    pub async fn open_with(
        nats: Nats,
        stream: &'static dyn Stream,
        from: ReadFrom,
        config: ReaderConfig,
    ) -> Result<Self, ReadFault> {
        let next = from.next.max(1);
        let identity = check::check(
            &nats,
            stream,
            next,
            from.expect.created_ns,
            from.expect.last_message.as_ref(),
        )
        .await?;
        Ok(Self {
            nats,
            stream,
            config,
            next,
            created_ns: identity.created_ns,
            last_message: from.expect.last_message,
            last_seq: identity.last_seq,
            pull: None,
            backoff: Duration::ZERO,
            suspect: None,
            interruption: LastingState::default(),
        })
    }

    /// When the stream was created, nanoseconds since 1970.
    pub fn created_ns(&self) -> i64 {
        self.created_ns
    }

    /// The next sequence to come.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The stream's newest sequence when it was last asked, or the newest handed out since.
    pub fn last_seq(&self) -> u64 {
        self.last_seq.max(self.next - 1)
    }

    /// The next messages, at least one, contiguous with those before. Waits as long as there is
    /// none.
    ///
    /// May be dropped at any time without losing a message. After [`ReadFault::Nats`] it may be
    /// called again; after any other fault the reader answers the same fault until somebody
    /// decides.
    pub async fn next(&mut self) -> Result<Vec<Message>, ReadFault> {
        loop {
            if self.pull.is_none() {
                self.pull = Some(self.start().await?);
            }
            let Some(pull) = self.pull.as_mut() else {
                continue;
            };
            let delivery = pull.take(&self.nats, &self.config).await;
            let current = pull.connects() == self.nats.connects();
            if let Some(at) = pull.first_sign() {
                self.log_interruption(None, at.into_std());
            }
            match delivery {
                Delivery::Messages(messages) if current => {
                    let answer = self.accept(messages)?;
                    if !answer.is_empty() {
                        return Ok(answer);
                    }
                }
                // These came through a connection that has been replaced: the stream must be
                // checked first.
                Delivery::Messages(_) => self.pull = None,
                Delivery::Silent => self.question_silence().await?,
                Delivery::Stalled(reason) => {
                    metrics::counter!("headframe_reader_restarts_total",
                        "stream" => self.stream.name())
                    .increment(1);
                    self.log_interruption(Some(reason), Instant::now());
                    self.pull = None;
                }
            }
        }
    }

    /// One consumer that restarts says nothing to an operator; that none delivers for a while does.
    fn log_interruption(&mut self, reason: Option<&'static str>, now: Instant) {
        let stream = self.stream.name();
        match self.interruption.update(reason.is_some(), now) {
            Some(LastingChange::Lasts(lasted)) => tracing::warn!(
                stream,
                next = self.next,
                reason,
                lasted_s = lasted.as_secs_f64(),
                "no consumer delivers; new ones are made"
            ),
            Some(LastingChange::Ended(lasted)) => {
                let lasted_s = lasted.as_secs_f64();
                tracing::info!(stream, lasted_s, "a consumer delivers again");
            }
            None => {}
        }
        if let Some(reason) = reason {
            tracing::debug!(stream, next = self.next, reason, "consumer restarts");
        }
    }

    async fn start(&mut self) -> Result<Pull, ReadFault> {
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
        // Counted first: a connect that happens during the check makes the pull outdated at its
        // first message.
        let connects = self.nats.connects();
        let identity = check::check(
            &self.nats,
            self.stream,
            self.next,
            Some(self.created_ns),
            self.last_message.as_ref(),
        )
        .await?;
        self.last_seq = identity.last_seq;
        Pull::create(
            &self.nats,
            self.stream.name(),
            self.next,
            connects,
            &self.config,
        )
        .await
    }

    /// Keeps what continues the sequence. A jump is first blamed on the way here: the client may
    /// have dropped messages.
    fn accept(&mut self, messages: Vec<Message>) -> Result<Vec<Message>, ReadFault> {
        let mut answer = Vec::with_capacity(messages.len());
        for message in messages {
            if message.seq < self.next {
                continue;
            }
            if message.seq > self.next {
                if answer.is_empty() && self.suspect == Some(self.next) {
                    return Err(ReadFault::Gap {
                        stream: self.stream.name(),
                        from: self.next,
                        to: message.seq - 1,
                    });
                }
                self.suspect = Some(self.next);
                self.pull = None;
                break;
            }
            self.next += 1;
            answer.push(message);
        }
        if let Some(last) = answer.last() {
            self.last_message = Some(MessageFingerprint::from_message(last));
            self.backoff = Duration::ZERO;
            if self.suspect.is_some_and(|at| at < self.next) && self.pull.is_some() {
                self.suspect = None;
            }
        }
        Ok(answer)
    }

    /// Signs of life but no messages for long: asks the stream, and starts over when it does hold
    /// more.
    async fn question_silence(&mut self) -> Result<(), ReadFault> {
        let identity = check::check(
            &self.nats,
            self.stream,
            self.next,
            Some(self.created_ns),
            self.last_message.as_ref(),
        )
        .await?;
        self.last_seq = identity.last_seq;
        if identity.last_seq >= self.next {
            metrics::counter!("headframe_reader_stuck_total", "stream" => self.stream.name())
                .increment(1);
            tracing::error!(
                stream = self.stream.name(),
                next = self.next,
                last = identity.last_seq,
                "consumer is alive but delivers nothing"
            );
            self.pull = None;
        }
        Ok(())
    }
}
