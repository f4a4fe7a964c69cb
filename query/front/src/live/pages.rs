//! Rows of a view out of the tables and the tail, a page at a time, by the engine that runs typed
//! statements.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use headframe_schemas::table::{INGEST_TIME, SEQ};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Principal;
use crate::config::QueryConfig;
use crate::error::QueryError;
use crate::live::chunk::{CHUNK_ROWS, Chunk, places};
use crate::live::position::Position;
use crate::live::statements::{Statements, may_come};
use crate::live::view::{PLACE, View};
use crate::service::Answer;
use crate::sql::SqlEngine;

/// Rows of a page.
pub(super) const PAGE_ROWS: usize = 2_000;
/// Bytes at which a page ends; what is left is read again with the next one.
const PAGE_BYTES: usize = 512 * 1024;
/// Pages that are kept until their subscribers have taken them.
const MAX_PAGES: usize = 128;
/// How long a page may be made: a condition that takes longer for a few rows holds up everybody.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a page that brought nothing new.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause before a page is asked for again when it may come by itself.
const AGAIN: Duration = Duration::from_millis(500);

/// Reads pages, a few at the same time.
pub(super) struct Pages {
    statements: Statements,
    kept: Arc<Semaphore>,
}

/// Some rows of a view, in order.
pub(super) struct Page {
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// Every row of the view up to this place was told.
    pub(super) through: Position,
    /// How many rows there are.
    pub(super) rows: usize,
    _kept: OwnedSemaphorePermit,
}

impl Pages {
    /// Pages of this engine, in slots of their own.
    pub(super) fn new(config: &QueryConfig, engine: Arc<dyn SqlEngine>) -> Self {
        Self {
            statements: Statements::new(config, engine, Some(TIMEOUT)),
            kept: Arc::new(Semaphore::new(MAX_PAGES)),
        }
    }

    /// Ends every statement that runs.
    pub(super) fn cancel_all(&self) {
        self.statements.cancel_all();
    }

    /// Refuses a view whose condition cannot be planned for this caller.
    pub(super) async fn check(&self, view: &View, principal: &Principal) -> Result<(), QueryError> {
        let sql = view.sql(Position::after_message(0), 0, 1);
        let reads = view.read_scope(principal);
        self.statements.check(principal, reads, sql).await
    }

    /// The place before the first row that JetStream stored at this time or later; what is complete
    /// where there is none.
    pub(super) async fn place_of(
        &self,
        view: &View,
        principal: &Principal,
        ingest_us: i64,
    ) -> Result<Position, QueryError> {
        let sql = format!(
            "SELECT \"{seq}\" FROM \"{}\" WHERE \"{}\" >= arrow_cast({ingest_us}, \
             'Timestamp(Microsecond, Some(\"UTC\"))') ORDER BY \"{seq}\" LIMIT 1",
            view.stream.name(),
            INGEST_TIME.name,
            seq = SEQ.name,
        );
        let reads = view.read_scope(principal);
        let running = self.statements.ask(principal, reads, sql, None);
        let (mut answer, _slot) = running.await?;
        let through = through(&answer, view);
        while let Some(batch) = answer.rows.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let seqs = batch.column(0).as_primitive_opt::<Int64Type>();
                let seqs = seqs.ok_or_else(|| QueryError::internal("seq is no number"))?;
                return Ok(Position::after_message(seqs.value(0) - 1));
            }
        }
        Ok(Position::after_message(through))
    }

    /// The next rows of a view after a place, up to the message `last`. Waits where nothing can be
    /// told yet, and asks again when only time is needed.
    pub(super) async fn read(
        &self,
        view: &View,
        principal: &Principal,
        after: Position,
        last: i64,
    ) -> Result<Page, QueryError> {
        loop {
            match self.try_read(view, principal, after, last).await {
                Ok(page) => {
                    if page.through == after {
                        tokio::time::sleep(PAUSE).await;
                    }
                    return Ok(page);
                }
                Err(error) if may_come(error.code) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_read(
        &self,
        view: &View,
        principal: &Principal,
        after: Position,
        last: i64,
    ) -> Result<Page, QueryError> {
        let kept = self.kept.clone().acquire_owned().await;
        let kept = kept.map_err(|_| QueryError::internal("no page can be kept"))?;
        let sql = view.sql(after, last, PAGE_ROWS);
        let reads = view.read_scope(principal);
        let running = self.statements.ask(principal, reads, sql, None);
        let (mut answer, _slot) = running.await?;
        let complete = Position::after_message(through(&answer, view).min(last));
        let mut page = Page {
            chunks: Vec::new(),
            through: after,
            rows: 0,
            _kept: kept,
        };
        let mut bytes = 0;
        while let Some(batch) = answer.rows.next().await {
            let batch = batch?;
            for first in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
                let length = CHUNK_ROWS.min(batch.num_rows() - first);
                bytes += page.add(view, &batch.slice(first, length), last)?;
                if bytes > PAGE_BYTES {
                    return Ok(page);
                }
            }
        }
        if page.rows < PAGE_ROWS {
            page.through = page.through.max(complete);
        }
        Ok(page)
    }
}

impl Page {
    /// Adds rows and tells how many bytes they are. Rows out of order or of elsewhere are refused:
    /// a condition that is more than one could bring them.
    fn add(&mut self, view: &View, batch: &RecordBatch, last: i64) -> Result<usize, QueryError> {
        let places = places(batch, PLACE.0, PLACE.1)?;
        for place in &places {
            if *place <= self.through || place.seq > last {
                return Err(View::broken_condition());
            }
            self.through = *place;
        }
        self.rows += places.len();
        let wanted: Vec<usize> = (0..view.width()).collect();
        let shown = batch
            .project(&wanted)
            .map_err(|error| QueryError::internal(error.to_string()))?;
        let chunk = Chunk::encode(view.ids(), self.through, &places, &shown)?;
        let size = chunk.size();
        self.chunks.push(Arc::new(chunk));
        Ok(size)
    }
}

/// How far the answer is complete in the stream of a view.
fn through(answer: &Answer, view: &View) -> i64 {
    let read = answer.coverage.iter();
    let read = read
        .into_iter()
        .find(|read| read.stream == view.stream.name());
    read.and_then(|read| read.through).unwrap_or(0)
}
