//! Keeping a table's log short: checkpoints, and what lies behind them removed.

use std::time::Duration;

use deltalake_core::operations::vacuum::VacuumMode;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::Maintenance;
use crate::delta::log::delta_table;
use crate::error::SinkError;

impl Maintenance {
    pub(super) async fn write_checkpoint(&mut self) -> Result<(), SinkError> {
        let mut table = delta_table(&self.location)?;
        let name = &self.table.name;
        table
            .load()
            .await
            .map_err(SinkError::delta("loading the log", name))?;
        deltalake_core::checkpoints::create_checkpoint(&table, None)
            .await
            .map_err(SinkError::delta("writing a checkpoint", name))?;
        self.checkpoint = table
            .version()
            .and_then(|version| i64::try_from(version).ok())
            .unwrap_or(self.checkpoint);
        Ok(())
    }

    pub(super) async fn last_checkpoint(&self) -> Result<i64, SinkError> {
        let names = self.log_entries().await?;
        Ok(names
            .iter()
            .filter(|(name, _)| name.contains(".checkpoint"))
            .filter_map(|(name, _)| version_of(name))
            .max()
            .unwrap_or(0))
    }

    async fn log_entries(&self) -> Result<Vec<(String, i64)>, SinkError> {
        let listed: Vec<_> = self
            .location
            .store
            .list(Some(&Path::from("_delta_log")))
            .try_collect()
            .await
            .map_err(SinkError::store("listing the log", &self.table.name))?;
        let entry = |meta: &object_store::ObjectMeta| {
            Some((
                meta.location.filename()?.to_owned(),
                meta.last_modified.timestamp_millis(),
            ))
        };
        Ok(listed.iter().filter_map(entry).collect())
    }

    /// Removes log entries behind the checkpoint that are past their time.
    pub(super) async fn trim_log(&self, now: i64) -> Result<(), SinkError> {
        let kept_ms = self
            .config
            .log_kept
            .max(Duration::from_secs(3_600))
            .as_millis() as i64;
        for (name, modified) in self.log_entries().await? {
            let behind = version_of(&name).is_some_and(|version| version < self.checkpoint);
            if behind && now - modified > kept_ms {
                let path = Path::from("_delta_log").join(name);
                self.location
                    .store
                    .delete(&path)
                    .await
                    .map_err(SinkError::store("trimming the log", &self.table.name))?;
            }
        }
        Ok(())
    }

    /// Removes files no version needs, orphans of crashed writers among them, but none younger than
    /// 24 hours.
    pub(super) async fn vacuum(&self) -> Result<(), SinkError> {
        let name = &self.table.name;
        let mut table = delta_table(&self.location)?;
        table
            .load()
            .await
            .map_err(SinkError::delta("loading the log", name))?;
        let kept = self.config.files_kept.max(Duration::from_secs(86_400));
        let kept = chrono::Duration::from_std(kept)
            .map_err(SinkError::encode("reading files_kept", name))?;
        table
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_retention_period(kept)
            .with_enforce_retention_duration(false)
            .await
            .map_err(SinkError::delta("vacuuming", name))?;
        Ok(())
    }
}

fn version_of(name: &str) -> Option<i64> {
    name.get(..20)?.parse().ok()
}
