//! Reads the messages of a client, each within a size and a time, and notices when it hangs up.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::wire::postgres::message::{self, MAX_STARTUP_BYTES, Malformed, Message, Startup};

/// Bytes that are read ahead while a statement runs; a client that sends more is not read until the
/// statement has ended.
const AHEAD_BYTES: usize = 64 * 1024;
/// Bytes asked of the socket at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// Why no message can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The client is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message is too large to be read.
    #[error("a message of {0} bytes is larger than postgres.max_message_kib allows")]
    TooLarge(usize),
    /// A message that began did not end in time, or the log-in did not.
    #[error("a message did not come in time")]
    Slow,
    /// The client was silent for as long as a session may be.
    #[error("the session was silent for longer than postgres.idle_timeout_s")]
    Idle,
}

/// The side of a connection that is read.
pub(super) struct MessageReader<R> {
    stream: R,
    buffer: Vec<u8>,
    max_bytes: usize,
    message_timeout: Duration,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Messages have at most so many bytes, and so much time from their first to their last.
    /// `buffer` holds what was read of the stream before.
    pub(super) fn new(
        stream: R,
        buffer: Vec<u8>,
        max_bytes: usize,
        message_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            buffer,
            max_bytes,
            message_timeout,
        }
    }

    /// The next start-up packet.
    pub(super) async fn startup(&mut self, deadline: Instant) -> Result<Startup, ReadError> {
        loop {
            if let Some((head, _)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                // Whatever is no PostgreSQL client begins with letters, which is a large number.
                if !(8..=MAX_STARTUP_BYTES).contains(&length) {
                    return Err(ReadError::TooLarge(length));
                }
                if self.buffer.len() >= length {
                    let startup = message::read_startup(&self.buffer[4..length])?;
                    self.buffer.drain(..length);
                    return Ok(startup);
                }
            }
            self.fill(deadline, ReadError::Slow).await?;
        }
    }

    /// The next message. Its first byte may take until `idle`, its last one as long as messages
    /// may.
    pub(super) async fn message(&mut self, idle: Instant) -> Result<Message, ReadError> {
        let mut begun: Option<Instant> = None;
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
            if self.buffer.is_empty() {
                self.fill(idle, ReadError::Idle).await?;
            } else {
                let begun = *begun.get_or_insert_with(Instant::now);
                self.fill(begun + self.message_timeout, ReadError::Slow)
                    .await?;
            }
        }
    }

    /// A message that is wholly there.
    fn take_message(&mut self) -> Result<Option<Message>, ReadError> {
        let Some(([kind, length @ ..], _)) = self.buffer.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < 4 || length > self.max_bytes {
            return Err(ReadError::TooLarge(length));
        }
        let Some(body) = self.buffer.get(5..=length) else {
            return Ok(None);
        };
        let message = message::read_message(*kind, body)?;
        self.buffer.drain(..=length);
        if self.buffer.is_empty() && self.buffer.capacity() > AHEAD_BYTES {
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }

    async fn fill(&mut self, deadline: Instant, late: ReadError) -> Result<(), ReadError> {
        self.buffer.reserve(CHUNK_BYTES);
        match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(late),
        }
    }

    /// Resolves when the client has closed the connection, and keeps what it sends until then for
    /// later. It may be dropped at any time.
    pub(super) async fn hung_up(&mut self) {
        while self.buffer.len() < AHEAD_BYTES {
            self.buffer.reserve(CHUNK_BYTES);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }
}
