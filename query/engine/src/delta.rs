//! The tables of one stream in the lake, as queries open them: each asks its log for the newest
//! version when a query comes.

use crate::source::{SourceError, Stored, StoredRows};
use crate::stream_source::Tables;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use headframe_query_front::{At, OldestRow};
use headframe_schemas::table::{INGEST_TIME, REJECT_REASON};
use headframe_schemas::{Rollup, Stream, Table, UserTable, rollup};
use headframe_sinks::{DataFile, Lake, SinkError, Snapshot, SnapshotReader, SnapshotTable};
use std::sync::Arc;

pub struct DeltaTables {
    raw: SnapshotReader,
    rollups: Vec<(&'static str, SnapshotReader)>,
}

impl DeltaTables {
    pub fn open(lake: &Lake, stream: &'static dyn Stream) -> Self {
        let reader = |table: Table| SnapshotReader::open(lake, table);
        let rollups = rollup::for_stream(stream.name())
            .map(|rollup| (rollup.family(), reader(Table::rollup(rollup))))
            .collect();
        Self {
            raw: reader(Table::raw(stream)),
            rollups,
        }
    }
}

/// The output table of a pipeline of the configuration.
pub struct StoredUserTable {
    table: UserTable,
    reader: SnapshotReader,
}

impl StoredUserTable {
    /// Does no I/O: a table that nobody has made yet has no rows.
    pub fn open(lake: &Lake, table: UserTable) -> Self {
        let reader = SnapshotReader::open(lake, table.table());
        Self { table, reader }
    }

    /// What it looks like, and who may read it.
    pub fn table(&self) -> &UserTable {
        &self.table
    }

    /// A version of it.
    pub async fn stored(&self, at: At) -> Result<Stored, SourceError> {
        open(&self.reader, at).await
    }
}

#[async_trait]
impl Tables for DeltaTables {
    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        open(&self.raw, at).await
    }
    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        // Every rollup of the stream was opened at the start.
        match self
            .rollups
            .iter()
            .find(|(family, _)| *family == rollup.family())
        {
            Some((_, reader)) => open(reader, at).await,
            None => Err(SourceError::Unavailable {
                action: "opening the table",
                stream: rollup.table(),
                why: "it is not of this stream".into(),
            }),
        }
    }
}

async fn open(reader: &SnapshotReader, at: At) -> Result<Stored, SourceError> {
    let snapshot = match at {
        At::Latest => reader.refresh().await,
        At::Version(version) => reader.at_version(version).await,
        At::Time(us) => reader.at_time(us.div_euclid(1_000)).await,
    };
    snapshot.map(stored).map_err(|error| match error {
        SinkError::NoSuchVersion { table, what } => SourceError::NoSuchVersion { table, what },
        other => SourceError::Unavailable {
            action: "reading the table",
            stream: String::new(),
            why: other.to_string(),
        },
    })
}

fn stored(snapshot: Arc<Snapshot>) -> Stored {
    let newest = snapshot
        .files
        .iter()
        .filter_map(|file| file.ranges.get("ingest_time").map(|range| range.1))
        .max();
    let oldest = snapshot.files.iter().filter_map(|file| {
        Some(OldestRow {
            seq: file.ranges.get("seq")?.0,
            ingest_us: file.ranges.get("ingest_time")?.0,
        })
    });
    let oldest = oldest.min_by_key(|oldest| oldest.seq);
    let good = |file: &Arc<DataFile>| {
        let good = *file.nulls.get(REJECT_REASON.name)?;
        usize::try_from(good).ok()
    };
    let good_rows: Option<usize> = snapshot.files.iter().map(good).sum();
    let all_good = snapshot
        .files
        .iter()
        .all(|file| file.nulls.get(REJECT_REASON.name) == Some(&file.rows));
    Stored {
        version: snapshot.version,
        committed_us: snapshot.timestamp_ms * 1_000,
        offset: snapshot
            .offset
            .or(snapshot.binding.as_ref().map(|binding| binding.base)),
        newest_us: newest,
        all_good,
        good_rows,
        oldest,
        rows: Arc::new(Rows(snapshot)),
    }
}

struct Rows(Arc<Snapshot>);
impl StoredRows for Rows {
    fn between(&self, after: Option<i64>, through: Option<i64>) -> Arc<dyn TableProvider> {
        Arc::new(SnapshotTable::new(self.0.clone()).with_range(after, through))
    }

    fn count_since(&self, since_us: i64) -> Option<f64> {
        let since = |file: &Arc<DataFile>| {
            let (first, last) = *file.ranges.get(INGEST_TIME.name)?;
            let good = *file.nulls.get(REJECT_REASON.name)? as f64;
            Some(if first >= since_us {
                good
            } else if last < since_us {
                0.0
            } else {
                good * (last - since_us) as f64 / (last - first) as f64
            })
        };
        self.0.files.iter().map(since).sum()
    }
}
