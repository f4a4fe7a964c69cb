//! A stream's source as the product wires it: the shared tail, the tables in the lake, and
//! JetStream's last sequence.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::TailView;
use headframe_schemas::{Rollup, Stream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::rows_in_memory::RowsInMemory;
use crate::source::{Live, Source, SourceError, Stored, Tail};
use crate::union::newer_than;
use headframe_query_front::{At, LiveTail, OldestRow, TailRows};

/// Tells how far JetStream has come.
#[async_trait]
pub trait LastSeq: Send + Sync {
    /// The last message's sequence in the raw table's space, or why it is not known.
    async fn last_seq(&self) -> Result<i64, String>;
}

/// Opens the stored tables of one stream.
#[async_trait]
pub trait Tables: Send + Sync {
    /// The raw table.
    async fn raw(&self, at: At) -> Result<Stored, SourceError>;
    /// The table of a rollup of the stream.
    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError>;
}

/// One stream.
pub struct StreamSource {
    stream: &'static dyn Stream,
    tail: Arc<headframe_ingest::Tail>,
    tables: Arc<dyn Tables>,
    last: Arc<dyn LastSeq>,
}

impl StreamSource {
    /// `tail` must be fed by the stream's pipeline or by [`headframe_ingest::follow`], and be told
    /// of commits only after `tables` can see them.
    pub fn new(
        stream: &'static dyn Stream,
        tail: Arc<headframe_ingest::Tail>,
        tables: Arc<dyn Tables>,
        last: Arc<dyn LastSeq>,
    ) -> Self {
        Self {
            stream,
            tail,
            tables,
            last,
        }
    }
}

#[async_trait]
impl Source for StreamSource {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    async fn live(&self, wait: Duration) -> Live {
        let unavailable = |why| SourceError::Unavailable {
            action: "asking JetStream for the last sequence",
            stream: self.stream.name().to_owned(),
            why,
        };
        let acknowledged = self.last.last_seq().await.map_err(unavailable);
        if let Ok(seq) = &acknowledged {
            self.tail.wait_through(*seq, Instant::now() + wait).await;
        }
        Live {
            acknowledged,
            tail: self.tail.view().into(),
        }
    }

    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        self.tables.raw(at).await
    }

    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        self.tables.rollup(rollup, at).await
    }
}

#[async_trait]
impl LiveTail for StreamSource {
    fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.tail.changes()
    }

    fn newer_than(&self, after: i64) -> Result<TailRows, String> {
        let view = self.tail.view();
        let batches = newer_than(&view.batches, after.max(view.after));
        Ok(TailRows {
            batches: batches.map_err(|error| error.to_string())?,
            after: view.after,
            through: view.through,
            generation: view.generation,
        })
    }

    async fn last_seq(&self) -> Result<i64, String> {
        self.last.last_seq().await
    }

    async fn oldest(&self) -> Result<Option<OldestRow>, String> {
        let stored = self.tables.raw(At::Latest).await;
        stored
            .map(|stored| stored.oldest)
            .map_err(|error| error.to_string())
    }
}

impl From<TailView> for Tail {
    fn from(view: TailView) -> Self {
        Self {
            rows: Arc::new(RowsInMemory::new(view.batches)),
            after: view.after,
            through: view.through,
            truncated: view.truncated,
            generation: view.generation,
        }
    }
}
