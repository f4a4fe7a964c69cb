//! Rows that no table holds yet, given by the front to its workers.
//!
//! A worker opens tables itself, but only the front reads JetStream: the rows behind the newest
//! commit are in its memory. For each stream that a statement reads, a worker makes a connection
//! and opens the newest rows, which the front holds until the connection is closed. On it the
//! worker asks how many rows there are, and for columns of those that it has not got yet, so that
//! it needs no access to NATS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headframe_query_front::QueryError;
use headframe_query_front::worker::wire::{self, Kind};
use headframe_schemas::{Stream, Table};
use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::serve::{self, FrameSender, RowFrames};
use crate::source::{Source, Tail};

/// What a worker asks. The first request of a connection opens a stream's rows, and no other
/// does.
#[derive(Debug, Serialize, Deserialize)]
pub enum LiveRequest {
    /// For a stream's rows as they are now: a [`LiveHead`].
    Open { stream: String, wait_ms: u64 },
    /// How many rows there are with `after < seq`: [`crate::uncommitted_rows::RowCounts`].
    Count { after: i64 },
    /// The newest `ingest_time` of the rows with `after < seq`: an integer or null.
    NewestTime { after: i64 },
    /// The rows with `after < seq` with columns of these indexes: nothing, and rows.
    Columns { after: i64, columns: Vec<usize> },
}

/// What is known of the rows that were opened. A worker has those with `after < seq <= through` for
/// the asking.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveHead {
    /// The last sequence, or why it is not known.
    pub acknowledged: Result<i64, String>,
    pub generation: u64,
    /// The rows with `after < seq` are in no commit.
    pub after: i64,
    pub through: i64,
    pub truncated: bool,
}

/// The front's side.
pub struct LiveRowsServer {
    listener: UnixListener,
    sources: Vec<Arc<dyn Source>>,
}

impl LiveRowsServer {
    /// Listens on this socket.
    pub fn bind(socket: &Path, sources: Vec<Arc<dyn Source>>) -> std::io::Result<Self> {
        Ok(Self {
            listener: serve::listen(socket)?,
            sources,
        })
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (socket, _) = accepted?;
                    connections.spawn(connection(socket, self.sources.clone()));
                }
                Some(_) = connections.join_next() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

/// A stream's rows and what is asked about them. A connection that breaks is the other side's to
/// notice.
async fn connection(socket: UnixStream, sources: Vec<Arc<dyn Source>>) {
    let (input, mut output) = socket.into_split();
    let mut input = BufReader::new(input);
    let mut open = None;
    while let Ok((Kind::Request, body)) = wire::read_frame(&mut input).await {
        let (open, sources) = (&mut open, &sources[..]);
        let written =
            serve::write_answer(&mut output, |frames| answer(&body, sources, open, frames));
        if written.await.is_err() {
            return;
        }
    }
}

/// The rows of a stream as they were when they were opened.
struct OpenTail {
    stream: &'static dyn Stream,
    tail: Tail,
}

async fn answer(
    body: &[u8],
    sources: &[Arc<dyn Source>],
    open: &mut Option<OpenTail>,
    frames: FrameSender,
) -> Result<(), QueryError> {
    let request = wire::from_json(body)?;
    let head = match (request, &*open) {
        (LiveRequest::Open { stream, wait_ms }, None) => {
            let mut all = sources.iter();
            let source = all.find(|source| source.stream().name() == stream);
            let source = source
                .ok_or_else(|| QueryError::internal(format!("there is no stream {stream}")))?;
            let live = source.live(Duration::from_millis(wait_ms)).await;
            let head = LiveHead {
                acknowledged: live.acknowledged.map_err(|error| error.to_string()),
                generation: live.tail.generation,
                after: live.tail.after,
                through: live.tail.through,
                truncated: live.tail.truncated,
            };
            *open = Some(OpenTail {
                stream: source.stream(),
                tail: live.tail,
            });
            wire::to_json(&head)?
        }
        (LiveRequest::Count { after }, Some(open)) => {
            wire::to_json(&open.tail.rows.count(after).await?)?
        }
        (LiveRequest::NewestTime { after }, Some(open)) => {
            wire::to_json(&open.tail.rows.newest_us(after).await?)?
        }
        (LiveRequest::Columns { after, columns }, Some(open)) => {
            return open.send(after, &columns, frames).await;
        }
        (LiveRequest::Open { .. }, Some(_)) | (_, None) => {
            let message = "a connection opens the rows of one stream, and does so first";
            return Err(QueryError::internal(message.to_owned()));
        }
    };
    frames.send((Kind::Head, head)).await.ok();
    Ok(())
}

impl OpenTail {
    async fn send(
        &self,
        after: i64,
        columns: &[usize],
        frames: FrameSender,
    ) -> Result<(), QueryError> {
        frames.send((Kind::Head, wire::to_json(&())?)).await.ok();
        let schema = Table::raw(self.stream).schema().project(columns);
        let schema = schema.map_err(|error| QueryError::internal(error.to_string()))?;
        let mut rows = RowFrames::start(&Arc::new(schema), frames).await?;
        for batch in self.tail.rows.columns(after, columns).await? {
            rows.rows(batch).await?;
        }
        rows.finish().await
    }
}
