//! A table's transaction log: its state at a version, moving forward, and putting the next version.
//!
//! The newest commits are read and written here directly, one small file each, so that a commit
//! costs the same however long the table lives. The Delta library reads what lies behind the last
//! checkpoint.
//!
//! The commits are ours and not the library's (deltalake-core 1.1) for what a commit must not do:
//! * after an error of the store the library tries again by itself, up to 15 times, and takes its
//!   own commit that had landed for somebody else's; here any error means to read the offsets
//!   again;
//! * it accepts an offset lower than the one before, and its `optimize` drops the offsets, retries
//!   and clean-up settings it was given;
//! * it does not see that the entry it stands on was trimmed or dropped while the process slept.
//!
//! It also asks more: for one commit after 60 others there are a get and a put here, and three
//! listings, three gets and the put there (`request_count` in the tests). All of this goes when a
//! commit of the library can be told the offsets it must find and leaves each retry to its caller.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deltalake_core::kernel::Version;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};
use serde_json::Value;
use url::Url;

use crate::delta::action::{Add, LogLine, MetaData, Protocol};
use crate::delta::data_file::DataFile;
use crate::delta::lake::TableLocation;
use crate::error::SinkError;

/// After this long without a look at the log, its state is read anew: entries may have been trimmed
/// meanwhile.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// The state of a table at one version.
#[derive(Debug, Clone)]
pub struct LogState {
    /// The version.
    pub version: i64,
    /// When it was committed, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The files that make up the table, by path.
    pub files: BTreeMap<String, Arc<DataFile>>,
    /// Offsets by application.
    pub txns: HashMap<String, i64>,
    /// Identity, schema and properties.
    pub meta_data: MetaData,
    /// Required protocol versions.
    pub protocol: Protocol,
    seen: ClockReading,
    /// The entry this state stands on is gone: trimmed, or dropped with its table.
    is_stale: bool,
}

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockReading {
    steady: Instant,
    wall: SystemTime,
}

impl ClockReading {
    pub(crate) fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// By the clock that runs on while the machine sleeps and by the one nobody can set.
    pub(crate) fn age(&self) -> Duration {
        self.steady
            .elapsed()
            .max(self.wall.elapsed().unwrap_or_default())
    }
}

/// How a put of the next version ended.
#[derive(Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is the newest version now.
    Done,
    /// Another writer took the version.
    LostRace,
}

/// Milliseconds since 1970, for log entries; never for rows.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// The path of a version's log entry.
pub fn entry_path(version: i64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// The table as the Delta library knows it, not yet loaded.
pub fn delta_table(location: &TableLocation) -> Result<DeltaTable, SinkError> {
    // The store is rooted at the table, so that an address without a path fits every kind of store.
    let url =
        Url::parse("memory:///").map_err(SinkError::encode("naming the table", &location.name))?;
    DeltaTableBuilder::from_url(url.clone())
        .and_then(|builder| {
            builder
                .with_storage_backend(location.store.clone(), url)
                .build()
        })
        .map_err(SinkError::delta("opening", &location.name))
}

impl LogState {
    /// The newest state, or `None` when there is no table. `apps` names the applications whose
    /// offsets are wanted.
    pub async fn load(
        location: &TableLocation,
        apps: &[String],
    ) -> Result<Option<Self>, SinkError> {
        let seen = ClockReading::now();
        let mut table = delta_table(location)?;
        if !table
            .verify_deltatable_existence()
            .await
            .map_err(SinkError::delta("looking for the log", &location.name))?
        {
            return Ok(None);
        }
        table
            .load()
            .await
            .map_err(SinkError::delta("loading the log", &location.name))?;
        Self::from_delta(location, &table, apps, seen)
            .await
            .map(Some)
    }

    /// The state at a version.
    pub async fn load_version(
        location: &TableLocation,
        version: u64,
        apps: &[String],
    ) -> Result<Self, SinkError> {
        let mut table = delta_table(location)?;
        let missing = |_| SinkError::NoSuchVersion {
            table: location.name.clone(),
            what: format!("version {version}"),
        };
        table
            .load_version(version as Version)
            .await
            .map_err(missing)?;
        if table.version().map(i64::try_from) != Some(Ok(version as i64)) {
            return Err(SinkError::NoSuchVersion {
                table: location.name.clone(),
                what: format!("version {version}"),
            });
        }
        Self::from_delta(location, &table, apps, ClockReading::now()).await
    }

    async fn from_delta(
        location: &TableLocation,
        table: &DeltaTable,
        apps: &[String],
        seen: ClockReading,
    ) -> Result<Self, SinkError> {
        let name = &location.name;
        let snapshot = table
            .snapshot()
            .map_err(SinkError::delta("reading the log", name))?;
        let meta_data = serde_json::to_value(snapshot.metadata()).and_then(serde_json::from_value);
        let protocol = serde_json::to_value(snapshot.protocol()).and_then(serde_json::from_value);
        let mut files = BTreeMap::new();
        for view in snapshot.log_data().iter() {
            let add = Add {
                path: view.path().into_owned(),
                partition_values: view.partition_values_map().into_iter().collect(),
                size: view.size(),
                modification_time: view.modification_time(),
                data_change: true,
                stats: view.stats(),
            };
            files.insert(add.path.clone(), Arc::new(DataFile::from_add(add)));
        }
        let mut txns = HashMap::new();
        for app in apps {
            let version = snapshot
                .transaction_version(table.log_store().as_ref(), app)
                .await;
            if let Some(version) = version.map_err(SinkError::delta("reading an offset", name))? {
                txns.insert(app.clone(), version);
            }
        }
        let version = i64::try_from(snapshot.version())
            .map_err(SinkError::encode("reading the version", name))?;
        let timestamp_ms = snapshot
            .version_timestamp(snapshot.version())
            .unwrap_or_default();
        Ok(Self {
            version,
            timestamp_ms,
            files,
            txns,
            meta_data: meta_data.map_err(SinkError::encode("reading the metadata", name))?,
            protocol: protocol.map_err(SinkError::encode("reading the protocol", name))?,
            seen,
            is_stale: false,
        })
    }

    /// Moves to the newest version.
    pub async fn advance(
        &mut self,
        location: &TableLocation,
        apps: &[String],
    ) -> Result<(), SinkError> {
        if self.is_stale || self.seen.age() > TRUSTED_FOR {
            return self.reload(location, apps).await;
        }
        loop {
            let seen = ClockReading::now();
            match location.store.get(&entry_path(self.version + 1)).await {
                Ok(found) => {
                    let bytes = found
                        .bytes()
                        .await
                        .map_err(SinkError::store("reading the log", &location.name))?;
                    self.apply(&bytes, location)?;
                    self.seen = seen;
                }
                Err(StoreError::NotFound { .. }) => {
                    self.seen = seen;
                    return Ok(());
                }
                Err(error) => {
                    return Err(SinkError::store("reading the log", &location.name)(error));
                }
            }
        }
    }

    async fn reload(&mut self, location: &TableLocation, apps: &[String]) -> Result<(), SinkError> {
        match Self::load(location, apps).await? {
            Some(state) if state.meta_data.id == self.meta_data.id => {
                *self = state;
                Ok(())
            }
            Some(state) => Err(self.replaced(location, &state.meta_data.id)),
            None => Err(self.replaced(location, "no table at all")),
        }
    }

    /// Puts the next version. [`PutOutcome::Done`] also moves this state there.
    ///
    /// An error means that nobody knows whether the version is there; move forward and look at the
    /// offsets.
    pub async fn put(
        &mut self,
        location: &TableLocation,
        lines: &[LogLine],
    ) -> Result<PutOutcome, SinkError> {
        if !self.still_there(location).await? {
            self.is_stale = true;
            return Ok(PutOutcome::LostRace);
        }
        let mut body = Vec::new();
        for line in lines {
            let mut line = line.clone();
            if let Some(Value::Object(info)) = line.commit_info.as_mut() {
                info.insert("tableId".to_owned(), Value::from(self.meta_data.id.clone()));
            }
            serde_json::to_writer(&mut body, &line)
                .map_err(SinkError::encode("writing a log entry", &location.name))?;
            body.push(b'\n');
        }
        let options = PutOptions::from(PutMode::Create);
        let bytes = bytes::Bytes::from(body);
        match location
            .store
            .put_opts(&entry_path(self.version + 1), bytes.clone().into(), options)
            .await
        {
            Ok(_) => {}
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                return Ok(PutOutcome::LostRace);
            }
            Err(error) => {
                return Err(SinkError::store("putting a log entry", &location.name)(
                    error,
                ));
            }
        }
        if self.seen.age() > TRUSTED_FOR * 5 {
            // This process was stopped between looking and putting: the entry may lie behind a
            // checkpoint where nobody reads it.
            return Ok(PutOutcome::LostRace);
        }
        self.apply(&bytes, location)?;
        Ok(PutOutcome::Done)
    }

    /// Whether the entry this state stands on is there. If not, only reading everything anew can
    /// tell a trimmed log from a dropped table.
    async fn still_there(&self, location: &TableLocation) -> Result<bool, SinkError> {
        match location.store.head(&entry_path(self.version)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(SinkError::store("reading the log", &location.name)(error)),
        }
    }

    fn replaced(&self, location: &TableLocation, found: &str) -> SinkError {
        SinkError::Replaced {
            table: location.name.clone(),
            bound: self.meta_data.id.clone(),
            found: found.to_owned(),
        }
    }

    /// Whether it is so long since the log was looked at that the state must be read anew before
    /// anything is put.
    pub fn is_stale(&self) -> bool {
        self.seen.age() > TRUSTED_FOR
    }

    fn apply(&mut self, entry: &[u8], location: &TableLocation) -> Result<(), SinkError> {
        let table = location.name.as_str();
        for line in entry
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: LogLine = serde_json::from_slice(line)
                .map_err(SinkError::encode("reading a log entry", table))?;
            let info = line.commit_info.as_ref();
            let owner = info
                .and_then(|info| info.get("tableId"))
                .and_then(Value::as_str);
            let id = line
                .meta_data
                .as_ref()
                .map(|meta_data| meta_data.id.as_str())
                .or(owner);
            if let Some(id) = id.filter(|id| *id != self.meta_data.id) {
                return Err(self.replaced(location, id));
            }
            if let Some(time) = info
                .and_then(|info| info.get("timestamp"))
                .and_then(Value::as_i64)
            {
                self.timestamp_ms = time;
            }
            if let Some(remove) = line.remove {
                self.files.remove(&remove.path);
            }
            if let Some(add) = line.add {
                self.files
                    .insert(add.path.clone(), Arc::new(DataFile::from_add(add)));
            }
            if let Some(txn) = line.txn {
                self.txns.insert(txn.app_id, txn.version);
            }
            if let Some(meta_data) = line.meta_data {
                self.meta_data = meta_data;
            }
            if let Some(protocol) = line.protocol {
                self.protocol = protocol;
            }
        }
        self.version += 1;
        Ok(())
    }
}

/// Puts version 0 of a new table. [`PutOutcome::LostRace`] means that another process made it
/// first.
pub async fn create(location: &TableLocation, lines: &[LogLine]) -> Result<PutOutcome, SinkError> {
    let body: Result<Vec<String>, _> = lines.iter().map(serde_json::to_string).collect();
    let body = body
        .map_err(SinkError::encode("writing a log entry", &location.name))?
        .join("\n");
    match location
        .store
        .put_opts(
            &entry_path(0),
            body.into_bytes().into(),
            PutOptions::from(PutMode::Create),
        )
        .await
    {
        Ok(_) => Ok(PutOutcome::Done),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
            Ok(PutOutcome::LostRace)
        }
        Err(error) => Err(SinkError::store("making the table", &location.name)(error)),
    }
}

/// The version that was the newest at a time in milliseconds since 1970, by the store's time of its
/// entries.
pub async fn version_at(location: &TableLocation, time_ms: i64) -> Result<Option<u64>, SinkError> {
    let prefix = Path::from("_delta_log");
    let mut best: Option<u64> = None;
    let mut entries = location.store.list(Some(&prefix));
    while let Some(entry) = entries
        .try_next()
        .await
        .map_err(SinkError::store("listing the log", &location.name))?
    {
        let version = entry
            .location
            .filename()
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|name| name.parse().ok());
        if let Some(version) = version
            && entry.last_modified.timestamp_millis() <= time_ms
        {
            best = best.max(Some(version));
        }
    }
    Ok(best)
}
