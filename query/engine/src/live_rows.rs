//! Rows that no table holds yet, given by the front to its workers.
//!
//! A worker opens tables itself, but only the front reads JetStream: the rows behind the newest
//! commit are in its memory. A worker asks for those of the streams that a statement reads, each
//! time anew, so that it keeps nothing that could grow old and needs no access to NATS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use headframe_query_front::worker::client::{Answer, Failure};
use headframe_query_front::worker::wire::{self, Kind};
use headframe_query_front::{At, QueryError};
use headframe_schemas::{Rollup, Stream, Table};
use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::error::from_datafusion;
use crate::serve::{self, Answers, FrameSender, RowFrames, WireRequest};
use crate::source::{Live, Source, SourceError, Stored, Tail};
use crate::stream_source::Tables;
use crate::union::newer_than;

#[derive(Debug, Serialize, Deserialize)]
struct LiveRequest {
    stream: String,
    wait_ms: u64,
}

impl WireRequest for LiveRequest {}

#[derive(Debug, Serialize, Deserialize)]
struct LiveHead {
    /// The last sequence, or why it is not known.
    acknowledged: Result<i64, String>,
    after: i64,
    through: i64,
    truncated: bool,
}

/// The front's side.
pub struct LiveRowsServer {
    listener: tokio::net::UnixListener,
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
        let rows = Arc::new(LiveRows {
            sources: self.sources,
        });
        tokio::select! {
            served = serve::serve(self.listener, rows) => served,
            () = stop.cancelled() => Ok(()),
        }
    }
}

struct LiveRows {
    sources: Vec<Arc<dyn Source>>,
}

#[async_trait]
impl Answers<LiveRequest> for LiveRows {
    async fn answer(&self, request: LiveRequest, frames: FrameSender) -> Result<(), QueryError> {
        let source = self.sources.iter();
        let source = source
            .into_iter()
            .find(|source| source.stream().name() == request.stream)
            .ok_or_else(|| {
                QueryError::internal(format!("there is no stream {}", request.stream))
            })?;
        let live = source.live(Duration::from_millis(request.wait_ms)).await;
        let head = LiveHead {
            acknowledged: live.acknowledged.map_err(|error| error.to_string()),
            after: live.tail.after,
            through: live.tail.through,
            truncated: live.tail.truncated,
        };
        frames.send((Kind::Head, wire::to_json(&head)?)).await.ok();
        let schema = Table::raw(source.stream()).schema();
        let mut rows = RowFrames::start(&schema, frames).await?;
        let newer = newer_than(&live.tail.batches, live.tail.after).map_err(from_datafusion)?;
        for batch in newer {
            rows.rows(batch).await?;
        }
        rows.finish().await
    }
}

/// A worker's side: one stream, whose tables it opens itself.
pub struct RemoteSource {
    stream: &'static dyn Stream,
    tables: Arc<dyn Tables>,
    front: PathBuf,
}

impl RemoteSource {
    /// A stream whose newest rows come from this socket.
    pub fn new(stream: &'static dyn Stream, tables: Arc<dyn Tables>, front: PathBuf) -> Self {
        Self {
            stream,
            tables,
            front,
        }
    }

    async fn fetch(&self, wait: Duration) -> Result<(LiveHead, Vec<RecordBatch>), Failure> {
        let request = LiveRequest {
            stream: self.stream.name().to_owned(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let mut socket = UnixStream::connect(&self.front).await?;
        wire::write_frame(&mut socket, Kind::Request, &wire::to_json(&request)?).await?;
        let mut answer = Answer::new(BufReader::new(socket));
        let head = answer.head().await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await? {
            batches.push(batch);
        }
        Ok((head, batches))
    }

    fn unavailable(&self, why: String) -> SourceError {
        SourceError::Unavailable {
            action: "reading the newest rows",
            stream: self.stream.name().to_owned(),
            why,
        }
    }
}

#[async_trait]
impl Source for RemoteSource {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    async fn live(&self, wait: Duration) -> Live {
        match self.fetch(wait).await {
            Ok((head, batches)) => Live {
                acknowledged: head.acknowledged.map_err(|why| self.unavailable(why)),
                tail: Tail {
                    batches,
                    after: head.after,
                    through: head.through,
                    truncated: head.truncated,
                },
            },
            // Without the front's rows the answer is what the tables hold, and says so.
            Err(failure) => {
                let why = match failure {
                    Failure::Told(error) => error.message,
                    Failure::Lost => "the connection to the front broke".to_owned(),
                };
                Live {
                    acknowledged: Err(self.unavailable(why)),
                    tail: Tail::empty(),
                }
            }
        }
    }

    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        self.tables.raw(at).await
    }

    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        self.tables.rollup(rollup, at).await
    }
}
