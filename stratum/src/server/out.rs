//! The writing half of a connection, with the patience a reader deserves, and its last moments.

use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::session::End;
use super::wire::Writing;

/// How long the last bytes of a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a miner is sent, line by line.
pub(crate) struct Out {
    socket: Writing,
    patience: Duration,
}

impl Out {
    /// Gives up a line that the miner does not read within `patience`.
    pub(super) fn new(socket: Writing, patience: Duration) -> Self {
        Self { socket, patience }
    }

    /// Sends a whole line.
    pub(crate) async fn send(&mut self, line: &str) -> Result<(), End> {
        let sent = async {
            self.socket.write_all(line.as_bytes()).await?;
            // Over TLS a written line is a sent line only after this; over plain TCP it costs nothing.
            self.socket.flush().await
        };
        match tokio::time::timeout(self.patience, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Write(error.to_string())),
            Err(_) => Err(End::Stalled),
        }
    }

    /// Says that nothing more will come. A connection that is gone already cannot be told.
    pub(super) async fn close(&mut self) {
        let _ = tokio::time::timeout(CLOSE_TIME, self.socket.shutdown()).await;
    }
}

/// How far a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Leaving {
    /// It mines.
    Not,
    /// The pool stops: nothing new is heard, what is in flight is answered.
    Finishing,
    /// It was told where to go, and has until then.
    Told(Instant),
}

impl Leaving {
    /// Waits until its time is over; for ever while it has none.
    pub(super) async fn over(self) {
        match self {
            Leaving::Told(until) => tokio::time::sleep_until(until).await,
            Leaving::Not | Leaving::Finishing => std::future::pending().await,
        }
    }
}
