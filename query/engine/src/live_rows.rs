//! Rows that no table holds yet, given by the front to its workers.
//!
//! A worker opens tables itself, but only the front reads JetStream: the rows behind the newest
//! commit are in its memory. For each statement a worker asks for those of the streams that are
//! read, so that it needs no access to NATS. It says which rows it got before, and only newer ones
//! are sent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headframe_query_front::QueryError;
use headframe_query_front::worker::wire::{self, Kind};
use headframe_schemas::Table;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::from_datafusion;
use crate::serve::{self, Answers, FrameSender, RowFrames, WireRequest};
use crate::source::{Source, Tail};
use crate::union::newer_than;

/// What a worker asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct LiveRequest {
    pub stream: String,
    pub wait_ms: u64,
    /// The rows that the worker has.
    pub kept: Option<KeptRows>,
}

/// Rows that a worker got before.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct KeptRows {
    /// The generation of their sequences.
    pub generation: u64,
    /// The last sequence among them.
    pub through: i64,
}

impl WireRequest for LiveRequest {}

/// What is said before the rows of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct LiveHead {
    /// The last sequence, or why it is not known.
    pub acknowledged: Result<i64, String>,
    pub generation: u64,
    /// The rows with `after < seq` are in no commit.
    pub after: i64,
    /// The answer holds the rows with `from < seq <= through`; what lies between `after` and `from`
    /// the worker has.
    pub from: i64,
    pub through: i64,
    pub truncated: bool,
}

impl KeptRows {
    /// The sequence after which rows of this tail are new to the worker.
    fn newer_from(kept: Option<Self>, tail: &Tail) -> i64 {
        match kept {
            Some(kept) if kept.generation == tail.generation => kept.through.max(tail.after),
            _ => tail.after,
        }
    }
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
        let from = KeptRows::newer_from(request.kept, &live.tail);
        let head = LiveHead {
            acknowledged: live.acknowledged.map_err(|error| error.to_string()),
            generation: live.tail.generation,
            after: live.tail.after,
            from,
            through: live.tail.through,
            truncated: live.tail.truncated,
        };
        frames.send((Kind::Head, wire::to_json(&head)?)).await.ok();
        let schema = Table::raw(source.stream()).schema();
        let mut rows = RowFrames::start(&schema, frames).await?;
        let newer = newer_than(&live.tail.batches, from).map_err(from_datafusion)?;
        for batch in newer {
            rows.rows(batch).await?;
        }
        rows.finish().await
    }
}
