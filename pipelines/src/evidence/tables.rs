//! The tables that the chain is read from and checked against, in the order of their rows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{SessionConfig, SessionContext, col};
use headframe_schemas::stream::evidence::{CHAINED, EvidenceRow, EvidenceRows};
use headframe_schemas::{Stream, Table, stream};
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};

use crate::evidence::entry::{Fact, facts_of};
use crate::fault::PipelineFault;

/// Sequences that are read at once.
const STEP: i64 = 20_000;

/// The tables of one lake.
pub struct EvidenceTables {
    session: SessionContext,
    /// The chain.
    pub evidence: SnapshotReader,
    /// Each table with facts.
    pub chained: Vec<(&'static dyn Stream, SnapshotReader)>,
}

impl EvidenceTables {
    /// Does no I/O.
    pub fn open(lake: &Lake) -> Self {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = SessionContext::new_with_config(config);
        lake.register(session.runtime_env().as_ref());
        let open =
            |stream: &'static dyn Stream| (stream, SnapshotReader::open(lake, Table::raw(stream)));
        let chained = CHAINED.iter().filter_map(|name| stream::find(name));
        Self {
            session,
            evidence: SnapshotReader::open(lake, Table::raw(&EvidenceRows)),
            chained: chained.map(open).collect(),
        }
    }

    /// The good rows of the chain with sequences after `after` and through `through`.
    pub async fn links(
        &self,
        evidence: &Arc<Snapshot>,
        after: i64,
        through: i64,
    ) -> Result<Vec<EvidenceRow>, PipelineFault> {
        let rows = self
            .rows(evidence, after, through, EvidenceRows.name())
            .await?;
        Ok(rows.iter().flat_map(links_of).collect())
    }

    /// The good rows of a table of facts with sequences after `after` and through `through`.
    pub async fn facts(
        &self,
        stream: &'static dyn Stream,
        table: &Arc<Snapshot>,
        after: i64,
        through: i64,
    ) -> Result<Vec<Fact>, PipelineFault> {
        let rows = self.rows(table, after, through, stream.name()).await?;
        Ok(rows
            .iter()
            .flat_map(|batch| facts_of(stream, batch))
            .collect())
    }

    async fn rows(
        &self,
        table: &Arc<Snapshot>,
        after: i64,
        through: i64,
        name: &'static str,
    ) -> Result<Vec<RecordBatch>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", name);
        let range = SnapshotTable::new(table.clone()).with_range(Some(after), Some(through));
        let rows = self.session.read_table(Arc::new(range)).map_err(error())?;
        let rows = rows
            .filter(col("reject_reason").is_null())
            .map_err(error())?;
        let order = vec![col("seq").sort(true, true), col("row").sort(true, true)];
        let rows = rows.sort(order).map_err(error())?;
        rows.collect().await.map_err(error())
    }
}

/// The facts of one table, one after the other, of which few are in memory.
pub struct FactCursor<'a> {
    tables: &'a EvidenceTables,
    stream: &'static dyn Stream,
    table: Arc<Snapshot>,
    read_through: i64,
    waiting: VecDeque<Fact>,
}

impl<'a> FactCursor<'a> {
    /// Before the first fact with a sequence after `after`.
    pub fn new(
        tables: &'a EvidenceTables,
        stream: &'static dyn Stream,
        table: Arc<Snapshot>,
        after: i64,
    ) -> Self {
        let read_through = after.max(table.oldest_seq() - 1);
        Self {
            tables,
            stream,
            table,
            read_through,
            waiting: VecDeque::new(),
        }
    }

    /// Which table it is.
    pub fn stream(&self) -> &'static dyn Stream {
        self.stream
    }

    /// The next fact, which stays the next until it is taken.
    pub async fn peek(&mut self) -> Result<Option<&Fact>, PipelineFault> {
        let end = self.table.offset.unwrap_or(0);
        while self.waiting.is_empty() && self.read_through < end {
            let through = end.min(self.read_through + STEP);
            let facts = self
                .tables
                .facts(self.stream, &self.table, self.read_through, through);
            self.waiting = facts.await?.into();
            self.read_through = through;
        }
        Ok(self.waiting.front())
    }

    /// Takes the next fact.
    pub fn take(&mut self) -> Option<Fact> {
        self.waiting.pop_front()
    }
}

fn links_of(batch: &RecordBatch) -> Vec<EvidenceRow> {
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_string_view_opt()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let whole = |name: &str, row: usize| {
        let column = batch
            .column_by_name(name)?
            .as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |row: usize| {
        let column = batch.column_by_name("event_time")?;
        Some(
            column
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .value(row),
        )
    };
    let link = |row: usize| EvidenceRow {
        event_time: time(row).unwrap_or_default(),
        log: text("log", row).unwrap_or_default(),
        kind: text("kind", row).unwrap_or_default(),
        position: whole("position", row).unwrap_or(-1),
        fact_stream: text("fact_stream", row),
        fact_seq: whole("fact_seq", row),
        fact_row: whole("fact_row", row),
        previous_hash: text("previous_hash", row),
        hash: text("hash", row).unwrap_or_default(),
        note: text("note", row),
        verifier: text("verifier", row),
    };
    (0..batch.num_rows()).map(link).collect()
}
