//! The good rows of a pool in a stored table, page by page: in their order, each once, and never
//! more in memory than a page.
//!
//! A pool that has run for years has millions of rows. Whoever adds them up needs each for a
//! moment, and after the first reading only those that are new: files that hold nothing newer are
//! never opened again.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use headframe_schemas::Table;
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};

use crate::payment::journal::JournalError;

/// Rows of a page, unless a single message has more.
pub const PAGE_ROWS: usize = 16_384;

/// Sequences that are looked at first; more when they hold little, fewer when they hold too much.
const FIRST_WIDTH: i64 = 1_024;

/// A table, and how far it was read.
pub struct TablePages {
    session: SessionContext,
    reader: SnapshotReader,
    pool: String,
    columns: &'static str,
    max_rows: usize,
    width: i64,
    through: Option<i64>,
}

fn unavailable(error: impl std::fmt::Display) -> JournalError {
    JournalError::Unavailable(error.to_string())
}

impl TablePages {
    /// Does no I/O. `session` can reach the lake. `columns` are SQL; `seq` goes before them. A page
    /// holds at most `most` rows, or one message.
    pub fn open(
        session: &SessionContext,
        lake: &Lake,
        table: Table,
        pool: &str,
        columns: &'static str,
        max_rows: usize,
    ) -> Self {
        let (session, reader) = (session.clone(), SnapshotReader::open(lake, table));
        Self {
            session,
            reader,
            pool: pool.to_owned(),
            columns,
            max_rows: max_rows.max(1),
            width: FIRST_WIDTH,
            through: None,
        }
    }

    /// The table's newest version, to be read with [`Self::next`].
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, JournalError> {
        self.reader.refresh().await.map_err(unavailable)
    }

    /// Everything through this table sequence was read; `None` before the first.
    pub fn through(&self) -> Option<i64> {
        self.through
    }

    /// The caller knows everything through this sequence in another way.
    pub fn skip_through(&mut self, through: i64) {
        self.through = self.through.max(Some(through));
    }

    /// The next rows, whole messages in the order of `seq` and `row`; `None` when the version has
    /// no more. What an answer holds is not answered again; after an error the same rows come
    /// again.
    pub async fn next(
        &mut self,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Option<Vec<RecordBatch>>, JournalError> {
        while let Some((after, last)) = self.next_range(snapshot) {
            let (through, rows) = self.page(snapshot, after, last).await?;
            self.through = Some(through);
            if rows.iter().any(|batch| batch.num_rows() > 0) {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// What is looked at next: after the first, through the second. Sequences that no file holds
    /// are passed over.
    fn next_range(&mut self, snapshot: &Snapshot) -> Option<(i64, i64)> {
        let last = snapshot
            .offset
            .filter(|last| self.through.is_none_or(|through| through < *last))?;
        let ahead = |range: Option<(i64, i64)>| match range {
            Some((low, high)) if self.through.is_none_or(|through| high > through) => {
                Some(low.saturating_sub(1))
            }
            Some(_) => None,
            // A file whose range nobody knows may hold any.
            None => Some(-1),
        };
        let after = snapshot
            .files
            .iter()
            .filter_map(|file| ahead(file.seq_range()))
            .min();
        match after.map(|after| self.through.map_or(after, |through| through.max(after))) {
            Some(after) if after < last => Some((after, last)),
            _ => {
                self.through = Some(last);
                None
            }
        }
    }

    /// Whole messages after a sequence, and the sequence that they reach.
    async fn page(
        &mut self,
        snapshot: &Arc<Snapshot>,
        after: i64,
        last: i64,
    ) -> Result<(i64, Vec<RecordBatch>), JournalError> {
        let through = after.saturating_add(self.width).min(last);
        let rows = self
            .rows(snapshot, (after, through), Some(self.max_rows + 1))
            .await?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count <= self.max_rows {
            self.width = self.width.saturating_mul(2);
            return Ok((through, rows));
        }
        self.width = (self.width / 2).max(1);
        // Of the last message there may be more.
        let Some(cut) = rows.iter().rev().find_map(last_seq) else {
            return Err(unavailable("rows without a sequence"));
        };
        let whole: Vec<RecordBatch> = rows
            .iter()
            .map(|batch| batch.slice(0, rows_before(batch, cut)))
            .collect();
        if whole.iter().any(|batch| batch.num_rows() > 0) {
            return Ok((cut - 1, whole));
        }
        Ok((cut, self.rows(snapshot, (cut - 1, cut), None).await?))
    }

    async fn rows(
        &self,
        snapshot: &Arc<Snapshot>,
        range: (i64, i64),
        max_rows: Option<usize>,
    ) -> Result<Vec<RecordBatch>, JournalError> {
        let table = SnapshotTable::new(snapshot.clone()).with_range(Some(range.0), Some(range.1));
        let rows = self
            .session
            .read_table(Arc::new(table))
            .map_err(unavailable)?;
        self.session
            .register_table("facts", rows.into_view())
            .map_err(unavailable)?;
        let limit = max_rows
            .map(|max_rows| format!(" LIMIT {max_rows}"))
            .unwrap_or_default();
        let columns = self.columns;
        let sql = format!(
            "SELECT seq, {columns} FROM facts WHERE reject_reason IS NULL AND pool = $1 ORDER BY \
            seq, \"row\"{limit}"
        );
        let answer = async {
            let plan = self.session.sql(&sql).await?;
            plan.with_param_values(vec![ScalarValue::from(self.pool.as_str())])?
                .collect()
                .await
        };
        let answer = answer.await.map_err(unavailable);
        self.session
            .deregister_table("facts")
            .map_err(unavailable)?;
        answer
    }
}

fn last_seq(batch: &RecordBatch) -> Option<i64> {
    batch
        .column_by_name("seq")?
        .as_primitive_opt::<Int64Type>()?
        .values()
        .last()
        .copied()
}

/// How many of the first rows come before a sequence.
fn rows_before(batch: &RecordBatch, seq: i64) -> usize {
    let values = batch
        .column_by_name("seq")
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    values.map_or(0, |values| {
        values.values().partition_point(|value| *value < seq)
    })
}
