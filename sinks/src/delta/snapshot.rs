//! One version of a table, as readers use it: the files, the offset, the binding.

use std::collections::BTreeMap;
use std::sync::Arc;

use headframe_schemas::Table;
use tokio::sync::Mutex;

use crate::delta::apps::{fence_app, maintenance_app, offset_app};
use crate::delta::data_file::DataFile;
use crate::delta::lake::{Lake, TableLocation};
use crate::delta::log::{LogState, version_at};
use crate::delta::stream_binding::StreamBinding;
use crate::error::SinkError;

/// One version of a table. Cheap to share, never changes.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// Where it lies.
    pub location: TableLocation,
    /// The version; 0 also for a table nobody has made yet, which then has no files.
    pub version: u64,
    /// When the version was committed, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Every message through this table sequence is in the table; `None` when nothing was ever
    /// committed.
    pub offset: Option<i64>,
    /// Which incarnation of the stream the sequences count in.
    pub binding: Option<StreamBinding>,
    /// The files, by path.
    pub files: Vec<Arc<DataFile>>,
}

impl Snapshot {
    /// The lowest sequence that the table still has a row of; where it has none, the one behind
    /// its end.
    pub fn oldest_seq(&self) -> i64 {
        let lows = self.files.iter().filter_map(|file| file.seq_range());
        let lowest = lows.map(|range| range.0).min();
        lowest.unwrap_or_else(|| self.offset.unwrap_or(0) + 1)
    }

    fn new(table: &Table, location: &TableLocation, state: Option<&LogState>) -> Self {
        Self {
            table: table.clone(),
            location: location.clone(),
            version: state.map_or(0, |state| state.version as u64),
            timestamp_ms: state.map_or(0, |state| state.timestamp_ms),
            offset: state.and_then(|state| state.txns.get(&offset_app(&table.name)).copied()),
            binding: state
                .and_then(|state| StreamBinding::from_properties(&state.meta_data.configuration)),
            files: state.map_or_else(Vec::new, |state| state.files.values().cloned().collect()),
        }
    }

    /// Rows of all files, good and rejected.
    pub fn rows(&self) -> i64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> i64 {
        self.files.iter().map(|file| file.add.size).sum()
    }
}

/// Reads snapshots of one table, keeping the newest state in memory.
#[derive(Debug)]
pub struct SnapshotReader {
    table: Table,
    location: TableLocation,
    apps: Vec<String>,
    cached: Mutex<Option<(LogState, Arc<Snapshot>)>>,
}

impl SnapshotReader {
    /// Does no I/O: a table that does not exist yet reads as an empty one.
    pub fn open(lake: &Lake, table: Table) -> Self {
        let location = lake.table(&table.name);
        let apps = vec![
            offset_app(&table.name),
            fence_app(&table.name),
            maintenance_app(&table.name),
        ];
        Self {
            table,
            location,
            apps,
            cached: Mutex::new(None),
        }
    }

    /// The newest snapshot.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, SinkError> {
        let mut cached = self.cached.lock().await;
        if let Some((state, snapshot)) = cached.as_mut() {
            let before = (state.version, state.meta_data.id.clone());
            match state.advance(&self.location, &self.apps).await {
                Ok(()) => {}
                // A table made anew in the same place is simply another table to a reader.
                Err(SinkError::Replaced { .. }) => {
                    *cached = None;
                    return self.load(&mut cached).await;
                }
                Err(error) => return Err(error),
            }
            if before != (state.version, state.meta_data.id.clone()) {
                *snapshot = Arc::new(Snapshot::new(&self.table, &self.location, Some(state)));
            }
            return Ok(snapshot.clone());
        }
        self.load(&mut cached).await
    }

    async fn load(
        &self,
        cached: &mut Option<(LogState, Arc<Snapshot>)>,
    ) -> Result<Arc<Snapshot>, SinkError> {
        let Some(state) = LogState::load(&self.location, &self.apps).await? else {
            return Ok(Arc::new(Snapshot::new(&self.table, &self.location, None)));
        };
        let snapshot = Arc::new(Snapshot::new(&self.table, &self.location, Some(&state)));
        *cached = Some((state, snapshot.clone()));
        Ok(snapshot)
    }

    /// The snapshot at a version; an error when its log was trimmed.
    pub async fn at_version(&self, version: u64) -> Result<Arc<Snapshot>, SinkError> {
        let state = LogState::load_version(&self.location, version, &self.apps).await?;
        Ok(Arc::new(Snapshot::new(
            &self.table,
            &self.location,
            Some(&state),
        )))
    }

    /// The snapshot that was the newest at a time, in milliseconds since 1970.
    pub async fn at_time(&self, time_ms: i64) -> Result<Arc<Snapshot>, SinkError> {
        match version_at(&self.location, time_ms).await? {
            Some(version) => self.at_version(version).await,
            None => Err(SinkError::NoSuchVersion {
                table: self.table.name.clone(),
                what: format!("version as old as {time_ms} ms"),
            }),
        }
    }

    /// The table this reads.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// Files grouped by their partition values.
pub fn by_partition(
    files: &[Arc<DataFile>],
) -> BTreeMap<BTreeMap<String, Option<String>>, Vec<Arc<DataFile>>> {
    let mut groups: BTreeMap<_, Vec<Arc<DataFile>>> = BTreeMap::new();
    for file in files {
        groups
            .entry(file.add.partition_values.clone())
            .or_default()
            .push(file.clone());
    }
    groups
}
