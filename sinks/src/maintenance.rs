//! The upkeep of one table: few large files, a short log, old rows dropped, orphans removed.
//!
//! There is one owner a table, fenced like the writer. A rewrite is committed as removes and adds
//! with `data_change = false` only when the log is where it was looked at and every file it
//! replaces is still live, so two rewrites can never both count. Rows are counted before and after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::{Rollup, Table, rollup};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::delta::action::{LogLine, Remove};
use crate::delta::apps::{fence_app, maintenance_app, offset_app};
use crate::delta::blocking::blocking_result;
use crate::delta::data_file::{CompressionEffort, DataFile, EncodedFile};
use crate::delta::lake::{Lake, TableLocation};
use crate::delta::log::{LogState, PutOutcome, now_ms};
use crate::delta::snapshot::by_partition;
use crate::delta::table_check::check_table;
use crate::delta::writer::put_files;
use crate::error::SinkError;

mod figures;
mod groups;
mod log_upkeep;
mod merge;

use groups::Grouping;
use merge::{Merge, Merged};

const DAY_MS: i64 = 86_400_000;

/// When the owner does what.
#[derive(Debug, Clone)]
pub struct MaintenanceConfig {
    /// Pause between rounds.
    pub every: Duration,
    /// A partition with this many small files is rewritten.
    pub small_files: usize,
    /// Files below this many bytes are small; rewritten files grow to about this.
    pub target_bytes: i64,
    /// A checkpoint is written after this many commits.
    pub checkpoint_commits: i64,
    /// Log entries older than this and behind a checkpoint are removed.
    pub log_kept: Duration,
    /// Files that left the table are removed after this long, and never before 24 hours have
    /// passed.
    pub files_kept: Duration,
    /// Rows are compressed harder this many days after the day that raw rows were stored in, and
    /// after the week of a rollup's windows.
    pub cold_after_days: u32,
    /// Rows older than this are dropped; the table's own when `None`. Without effect on a table
    /// that is kept for ever.
    pub retention_days: Option<u32>,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            small_files: 32,
            target_bytes: 128 << 20,
            checkpoint_commits: 100,
            log_kept: Duration::from_secs(7 * 86_400),
            files_kept: Duration::from_secs(86_400),
            cold_after_days: 7,
            retention_days: None,
        }
    }
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaintenanceRound {
    /// Files that were rewritten.
    pub rewritten: usize,
    /// Files dropped because their rows are too old.
    pub expired: usize,
    /// Whether a checkpoint was written.
    pub checkpoint: bool,
}

/// The maintenance owner of one table.
#[derive(Debug)]
pub struct Maintenance {
    table: Table,
    location: TableLocation,
    config: MaintenanceConfig,
    apps: Vec<String>,
    state: LogState,
    epoch: i64,
    checkpoint: i64,
}

impl Maintenance {
    /// Takes the upkeep of a table over. `None` when there is no such table yet.
    pub async fn open(
        lake: &Lake,
        table: Table,
        config: MaintenanceConfig,
    ) -> Result<Option<Self>, SinkError> {
        let location = lake.table(&table.name);
        let apps = vec![
            offset_app(&table.name),
            fence_app(&table.name),
            maintenance_app(&table.name),
        ];
        let Some(state) = LogState::load(&location, &apps).await? else {
            return Ok(None);
        };
        check_table(&table, &state)?;
        let mut owner = Self {
            table,
            location,
            config,
            apps,
            state,
            epoch: 0,
            checkpoint: 0,
        };
        owner.claim().await?;
        owner.checkpoint = owner.last_checkpoint().await?;
        Ok(Some(owner))
    }

    /// Rounds until shutdown. Failures of the store are logged and tried again next round; losing
    /// the table ends it with an error.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SinkError> {
        loop {
            let now = now_ms();
            match self.round(now).await {
                Ok(round) => {
                    self.tell(round, now);
                    if round != MaintenanceRound::default() {
                        tracing::debug!(table = %self.table.name, ?round, "maintained");
                    }
                }
                Err(error) if error.is_transient() => {
                    self.tell_failure();
                    tracing::warn!(table = %self.table.name, %error, "maintenance failed, trying \
                                                                      again")
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.every) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One round at the given time, milliseconds since 1970.
    pub async fn round(&mut self, now: i64) -> Result<MaintenanceRound, SinkError> {
        self.state.advance(&self.location, &self.apps).await?;
        let mut round = MaintenanceRound {
            expired: self.expire(now).await?,
            ..MaintenanceRound::default()
        };
        let files: Vec<Arc<DataFile>> = self.state.files.values().cloned().collect();
        let config = self.config.clone();
        let grouping = Grouping {
            config: &config,
            is_rollup: self.is_rollup(),
            now,
        };
        for (partition, files) in by_partition(&files) {
            for (group, effort) in grouping.groups(&files) {
                round.rewritten += self.rewrite(&partition, &group, effort, now).await?;
            }
        }
        if self.state.version - self.checkpoint >= self.config.checkpoint_commits {
            self.write_checkpoint().await?;
            self.trim_log(now).await?;
            self.vacuum().await?;
            round.checkpoint = true;
        }
        Ok(round)
    }

    async fn rewrite(
        &mut self,
        partition: &BTreeMap<String, Option<String>>,
        files: &[Arc<DataFile>],
        effort: CompressionEffort,
        now: i64,
    ) -> Result<usize, SinkError> {
        let logged: i64 = files.iter().map(|file| file.rows).sum();
        let merged = self.merge(partition, files, effort, now).await?;
        if merged.read as i64 != logged {
            return Err(rows_differ(
                &self.table.name,
                format!("{logged} rows in the log"),
                format!("{} rows in the files", merged.read),
            ));
        }
        if !self.is_rollup() && merged.written != merged.read {
            return Err(rows_differ(
                &self.table.name,
                format!("{} rows", merged.read),
                format!("{} rows", merged.written),
            ));
        }
        put_files(&self.location, std::slice::from_ref(&merged.file)).await?;
        self.replace(files, vec![merged.file], "OPTIMIZE", false, now)
            .await
    }

    /// One file of many, made on a thread for blocking work while the next one is fetched.
    async fn merge(
        &self,
        partition: &BTreeMap<String, Option<String>>,
        files: &[Arc<DataFile>],
        effort: CompressionEffort,
        now: i64,
    ) -> Result<Merged, SinkError> {
        let merge = Merge {
            table: self.table.clone(),
            rollup: self.rollup(),
            effort,
            partition: partition.clone(),
            now,
        };
        let (sender, fetched) = mpsc::channel(1);
        let merging = tokio::task::spawn_blocking(move || merge.run(fetched));
        for file in files {
            let path = Path::from(file.add.path.as_str());
            let bytes = async { self.location.store.get(&path).await?.bytes().await };
            let bytes = bytes
                .await
                .map_err(SinkError::store("reading a data file", &self.table.name))?;
            // The other side is gone only when it failed, and tells why below.
            if sender.send(bytes).await.is_err() {
                break;
            }
        }
        drop(sender);
        blocking_result(merging, "rewriting files").await
    }

    fn is_rollup(&self) -> bool {
        self.rollup().is_some()
    }

    fn rollup(&self) -> Option<&'static dyn Rollup> {
        rollup::ALL
            .iter()
            .copied()
            .find(|rollup| rollup.table() == self.table.name)
    }

    /// Drops whole files whose newest row is past the retention.
    async fn expire(&mut self, now: i64) -> Result<usize, SinkError> {
        // No setting outlives a table that is kept for ever.
        let Some(own) = self.table.retention_days else {
            return Ok(0);
        };
        let days = i64::from(self.config.retention_days.unwrap_or(own));
        let newest = |file: &DataFile| {
            file.ranges
                .get("ingest_time")
                .or_else(|| file.ranges.get("bin"))
                .map(|range| range.1)
        };
        // A clock that jumped ahead must not delete: time has come no further than the newest row.
        let reached_us = self
            .state
            .files
            .values()
            .filter_map(|file| newest(file))
            .max()
            .unwrap_or(i64::MAX);
        let cutoff_us = (now * 1_000).min(reached_us) - days * DAY_MS * 1_000;
        let old = |file: &&Arc<DataFile>| newest(file).is_some_and(|newest| newest < cutoff_us);
        let old: Vec<Arc<DataFile>> = self.state.files.values().filter(old).cloned().collect();
        if old.is_empty() {
            return Ok(0);
        }
        self.replace(&old, Vec::new(), "DELETE", true, now).await
    }

    /// Commits the replacement of files, or nothing: when the log moved, the files must still be
    /// live.
    async fn replace(
        &mut self,
        old: &[Arc<DataFile>],
        new: Vec<EncodedFile>,
        operation: &str,
        data_change: bool,
        now: i64,
    ) -> Result<usize, SinkError> {
        let mut lines = vec![
            LogLine::commit_info(operation, now, json!({})),
            LogLine::txn(&self.apps[2], self.epoch),
        ];
        lines.extend(old.iter().map(|file| {
            LogLine::remove(Remove {
                path: file.add.path.clone(),
                deletion_timestamp: now,
                data_change,
                extended_file_metadata: true,
                partition_values: file.add.partition_values.clone(),
                size: file.add.size,
            })
        }));
        lines.extend(new.into_iter().map(|file| LogLine::add(file.add)));
        loop {
            self.state.advance(&self.location, &self.apps).await?;
            self.check_fence()?;
            if old
                .iter()
                .any(|file| !self.state.files.contains_key(&file.add.path))
            {
                return Ok(0);
            }
            if self.state.put(&self.location, &lines).await? == PutOutcome::Done {
                return Ok(old.len());
            }
        }
    }

    fn check_fence(&self) -> Result<(), SinkError> {
        let found = self
            .state
            .txns
            .get(&self.apps[2])
            .copied()
            .unwrap_or_default();
        if found == self.epoch {
            return Ok(());
        }
        Err(SinkError::Fenced {
            table: self.table.name.clone(),
            ours: self.epoch,
            theirs: found,
        })
    }

    async fn claim(&mut self) -> Result<(), SinkError> {
        loop {
            let epoch = self
                .state
                .txns
                .get(&self.apps[2])
                .copied()
                .unwrap_or_default()
                + 1;
            let lines = [
                LogLine::commit_info("CLAIM MAINTENANCE", now_ms(), json!({})),
                LogLine::txn(&self.apps[2], epoch),
            ];
            if self.state.put(&self.location, &lines).await? == PutOutcome::Done {
                self.epoch = epoch;
                return Ok(());
            }
            self.state.advance(&self.location, &self.apps).await?;
        }
    }
}

fn rows_differ(table: &str, before: String, after: String) -> SinkError {
    SinkError::RowsDiffer {
        table: table.to_owned(),
        before,
        after,
    }
}
