//! A table as it lies on disk: physical columns, partitions, retention.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::codec::PRODUCER_COLUMNS;
use crate::column::{Column, Kind, Unit};
use crate::rollup::{self, Rollup};
use crate::stream::{self, Stream};

/// How long rows are kept when the configuration does not say otherwise: two years.
pub const DEFAULT_RETENTION_DAYS: u32 = 730;

/// The stream sequence of the row's message: with `row`, the row's identity and order.
pub const SEQ: Column = Column::new(
    "seq",
    Kind::Int,
    "Sequence of the row's message in the stream; with row, the row's identity and order.",
);
/// The row's index in its message.
pub const ROW: Column = Column::new("row", Kind::SmallInt, "Index of the row in its message.");
/// JetStream's time of the message.
pub const INGEST_TIME: Column = Column::new(
    "ingest_time",
    Kind::Timestamp,
    "When JetStream stored the row's message.",
)
.unit(Unit::Microseconds);
/// The reason a row was rejected; null for good rows.
pub const REJECT_REASON: Column = Column::new(
    "reject_reason",
    Kind::Text,
    "Why the row was rejected; null for a good row.",
);
/// The bytes of a rejected row.
pub const PAYLOAD: Column = Column::new(
    "payload",
    Kind::Bytes,
    "The bytes of a rejected row, as they came; null for a good row.",
);
/// The partition of a raw table.
pub const INGEST_DATE: Column = Column::new(
    "ingest_date",
    Kind::Date,
    "The UTC day of ingest_time; the partition.",
);

/// The columns of a raw table's good rows as users see them: the stream's own first, then where the
/// row came from.
pub fn visible_columns(stream: &dyn Stream) -> Vec<Column> {
    let mut columns = stream.columns().to_vec();
    columns.extend([INGEST_TIME, SEQ, ROW]);
    columns.extend_from_slice(PRODUCER_COLUMNS);
    columns
}

/// A Delta table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name and the name of its folder.
    pub name: String,
    /// What the configuration calls it: its name without the version of a rollup.
    pub config_name: String,
    /// One sentence for the users.
    pub doc: String,
    /// Every column, the partition columns last.
    pub columns: Vec<Column>,
    /// How many of the last columns are partition columns.
    pub partitions: usize,
    /// The stream whose sequence space its offset counts in.
    pub stream: &'static str,
    /// Days after which rows are dropped; never when `None`.
    pub retention_days: Option<u32>,
}

impl Table {
    /// The raw table of a stream: every message's rows, good and rejected.
    pub fn raw(stream: &dyn Stream) -> Self {
        let mut columns = vec![SEQ, ROW, INGEST_TIME];
        columns.extend_from_slice(PRODUCER_COLUMNS);
        columns.extend_from_slice(stream.columns());
        columns.extend([REJECT_REASON, PAYLOAD, INGEST_DATE]);
        Self {
            name: stream.name().to_owned(),
            config_name: stream.name().to_owned(),
            doc: stream.doc().to_owned(),
            columns,
            partitions: 1,
            stream: stream.name(),
            retention_days: (!stream.keeps_all_rows()).then_some(DEFAULT_RETENTION_DAYS),
        }
    }

    /// The table of a rollup's partial rows.
    pub fn rollup(rollup: &dyn Rollup) -> Self {
        Self {
            name: rollup.table(),
            config_name: format!("{}_rollups", rollup.family()),
            doc: rollup.doc().to_owned(),
            columns: rollup.columns(),
            partitions: 2,
            stream: rollup.stream().name(),
            retention_days: Some(DEFAULT_RETENTION_DAYS),
        }
    }

    /// The Arrow schema of every column.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(Column::field).collect::<Vec<_>>(),
        ))
    }

    /// The columns stored inside the files.
    pub fn file_columns(&self) -> &[Column] {
        &self.columns[..self.columns.len() - self.partitions]
    }

    /// The columns stored in the path.
    pub fn partition_columns(&self) -> &[Column] {
        &self.columns[self.columns.len() - self.partitions..]
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Every table: the raw tables in the order of [`stream::ALL`], then the rollups.
pub fn all() -> Vec<Table> {
    let raw = stream::ALL.iter().map(|stream| Table::raw(*stream));
    let rollups = rollup::ALL.iter().map(|rollup| Table::rollup(*rollup));
    raw.chain(rollups).collect()
}
