//! The writing half of a connection, with the patience a reader deserves, and its last moments.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::disconnect::Disconnect;
use super::stream::StreamWriter;

/// How long the last bytes of a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a miner is sent, line by line.
pub(crate) struct LineWriter {
    socket: StreamWriter,
    patience: Duration,
}

impl LineWriter {
    /// Gives up a line that the miner does not read within `patience`.
    pub(crate) fn new(socket: StreamWriter, patience: Duration) -> Self {
        Self { socket, patience }
    }

    /// Sends a whole line. Nearly always the socket takes it at once; the clock and the memory for
    /// waiting are for the rest.
    pub(crate) async fn send(&mut self, line: &str) -> Result<(), Disconnect> {
        let mut rest = line.as_bytes();
        match poll_fn(|context| Poll::Ready(self.poll_send(context, &mut rest))).await {
            Poll::Ready(sent) => sent.map_err(Disconnect::broken),
            Poll::Pending => Box::pin(self.wait(rest)).await,
        }
    }

    async fn wait(&mut self, mut rest: &[u8]) -> Result<(), Disconnect> {
        let patience = self.patience;
        let sent = poll_fn(|context| self.poll_send(context, &mut rest));
        match tokio::time::timeout(patience, sent).await {
            Ok(sent) => sent.map_err(Disconnect::broken),
            Err(_) => Err(Disconnect::Stalled),
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, rest: &mut &[u8]) -> Poll<io::Result<()>> {
        while !rest.is_empty() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *rest = &rest[count..];
        }
        // Over TLS a written line is a sent line only after this; over plain TCP it costs nothing.
        Pin::new(&mut self.socket).poll_flush(context)
    }

    /// Whether the miner came over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.socket, StreamWriter::Tls(_))
    }

    /// Says that nothing more will come. A connection that is gone already cannot be told.
    pub(crate) async fn close(&mut self) {
        let _ = tokio::time::timeout(CLOSE_TIME, self.socket.shutdown()).await;
    }
}

/// How far a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ShutdownPhase {
    /// It mines.
    Not,
    /// The pool stops: nothing new is heard, what is in flight is answered.
    Finishing,
    /// It was told where to go, and has until then.
    SentOff(Instant),
    /// Its time is over: what is in flight is answered, and then it ends.
    Over,
}

impl ShutdownPhase {
    /// When its time is over, once it has one.
    pub(crate) fn until(self) -> Option<Instant> {
        match self {
            ShutdownPhase::SentOff(until) => Some(until),
            ShutdownPhase::Not | ShutdownPhase::Finishing | ShutdownPhase::Over => None,
        }
    }
}
