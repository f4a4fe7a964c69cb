//! The answering side of the sockets between front and workers.
//!
//! Who can open a socket in the private folder may ask. A connection carries one request; when the
//! other side closes it, whatever makes the answer is dropped.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use futures::future::BoxFuture;
use headframe_query_front::worker::wire::{self, Frame, Kind, MAX_FRAME_BYTES, Request};
use headframe_query_front::{ErrorCode, QueryError};
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::compact::compact;

/// Frames on their way from whoever makes them to the connection.
const FRAMES: usize = 2;
/// Rows are sent in pieces of about this size, in bytes.
const PIECE_BYTES: usize = 4 << 20;

/// Where an answer's frames go; an error means that nobody wants them any more.
pub type FrameSender = mpsc::Sender<Frame>;

/// Answers requests. Futures are boxed by hand, as those of
/// [`SqlEngine`](headframe_query_front::SqlEngine).
pub trait Answers<T>: Send + Sync + 'static {
    /// Sends all frames of an answer but the error, which it returns. It is dropped when the other
    /// side is gone.
    fn answer(&self, request: T, frames: FrameSender) -> BoxFuture<'_, Result<(), QueryError>>;
}

/// A request of either kind of socket.
pub trait WireRequest: serde::de::DeserializeOwned + Send + 'static {}

impl WireRequest for Request {}

/// Listens on a socket that only this user can open.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until the future is dropped or the listener fails.
pub async fn serve<T: WireRequest>(
    listener: UnixListener,
    answers: Arc<dyn Answers<T>>,
) -> io::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                connections.spawn(connection(socket, answers.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request and its answer. A connection that breaks is the other side's to notice.
async fn connection<T: WireRequest>(mut socket: UnixStream, answers: Arc<dyn Answers<T>>) {
    let Ok((Kind::Request, body)) = wire::read_frame(&mut socket).await else {
        return;
    };
    let (mut gone, mut out) = socket.into_split();
    let answer = |frames| async move {
        match wire::from_json(&body) {
            Ok(request) => answers.answer(request, frames).await,
            Err(error) => Err(error),
        }
    };
    let mut rest = [0_u8; 1];
    tokio::select! {
        _ = write_answer(&mut out, answer) => {}
        // Nothing more is asked on a connection, so that whatever is read is its end.
        _ = gone.read(&mut rest) => {}
    }
}

/// Writes the frames of one answer while they are made, and its end or its error.
pub async fn write_answer<F>(
    out: &mut OwnedWriteHalf,
    make: impl FnOnce(FrameSender) -> F,
) -> io::Result<()>
where
    F: Future<Output = Result<(), QueryError>>,
{
    let (sender, mut frames) = mpsc::channel::<Frame>(FRAMES);
    let answer = make(sender);
    let made = async {
        Ok(match answer.await {
            Ok(()) => (Kind::End, Vec::new()),
            Err(error) => wire::error_frame(&error),
        })
    };
    let sent = async {
        while let Some((kind, body)) = frames.recv().await {
            wire::write_frame(out, kind, &body).await?;
        }
        Ok::<_, io::Error>(())
    };
    // A write that fails ends whatever makes the answer.
    let ((kind, body), ()) = tokio::try_join!(made, sent)?;
    wire::write_frame(out, kind, &body).await
}

/// Writes rows as frames of an Arrow IPC stream.
pub struct RowFrames {
    writer: StreamWriter<Vec<u8>>,
    frames: FrameSender,
}

impl RowFrames {
    /// Sends the columns.
    pub async fn start(schema: &SchemaRef, frames: FrameSender) -> Result<Self, QueryError> {
        let writer = StreamWriter::try_new(Vec::new(), schema).map_err(failed)?;
        let mut rows = Self { writer, frames };
        rows.send().await?;
        Ok(rows)
    }

    /// Sends rows, in pieces where they are many.
    pub async fn rows(&mut self, batch: RecordBatch) -> Result<(), QueryError> {
        let batch = compact(batch)?;
        let pieces = batch.get_array_memory_size().div_ceil(PIECE_BYTES).max(1);
        let step = batch.num_rows().div_ceil(pieces).max(1);
        for first in (0..batch.num_rows()).step_by(step) {
            let length = step.min(batch.num_rows() - first);
            let piece = match length == batch.num_rows() {
                true => batch.clone(),
                false => compact(batch.slice(first, length))?,
            };
            self.writer.write(&piece).map_err(failed)?;
            self.send().await?;
        }
        Ok(())
    }

    /// Says that there are no more rows. A reader understands the columns only with what follows
    /// them, so that an answer without rows needs this.
    pub async fn finish(mut self) -> Result<(), QueryError> {
        self.writer.finish().map_err(failed)?;
        self.send().await
    }

    async fn send(&mut self) -> Result<(), QueryError> {
        let bytes = std::mem::take(self.writer.get_mut());
        if bytes.len() > MAX_FRAME_BYTES {
            let message = format!(
                "a few rows of the answer take {} bytes, more than {MAX_FRAME_BYTES}",
                bytes.len()
            );
            let hint = "select fewer or shorter values";
            return Err(QueryError::new(ErrorCode::MemoryLimit, message, hint));
        }
        // A receiver that is gone drops this future soon.
        self.frames.send((Kind::Rows, bytes)).await.ok();
        Ok(())
    }
}

fn failed(error: arrow::error::ArrowError) -> QueryError {
    QueryError::internal(format!("rows cannot be sent: {error}"))
}
