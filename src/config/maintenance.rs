//! The `[maintenance]` section: how often tables are tidied, and how long rows, files and log
//! entries are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use headframe_schemas::table;
use headframe_sinks::maintenance::MaintenanceConfig;
use serde::{Deserialize, Deserializer, Serialize};

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

const DAY_S: u64 = 86_400;
/// Late rows of yesterday still change the windows of the day before; with less, rollups would be
/// made of half a day.
const MIN_RETENTION_DAYS: u32 = 2;
/// A hundred years: more is a slip of the pen.
const MAX_RETENTION_DAYS: u32 = 36_500;

/// How tables are kept small, fast and short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaintenanceSection {
    /// Seconds between two rounds over a table.
    pub every_s: u64,
    /// A partition with this many small files is rewritten.
    pub small_files: usize,
    /// Rewritten files grow to about this many MiB.
    pub target_mib: u32,
    /// A checkpoint of the log is written after this many commits.
    pub checkpoint_commits: u32,
    /// Days for which log entries behind a checkpoint are kept: how far `VERSION AS OF` reaches
    /// back.
    pub log_kept_days: u32,
    /// Days for which files that left a table are kept for queries of the past.
    pub files_kept_days: u32,
    /// Days after the day that raw rows were stored in, and after the week of a rollup's windows,
    /// after which they are compressed harder.
    pub cold_after_days: u32,
    /// Days after which rows are dropped, by table.
    #[serde(deserialize_with = "over_defaults")]
    pub retention_days: BTreeMap<String, u32>,
}

impl Default for MaintenanceSection {
    fn default() -> Self {
        let config = MaintenanceConfig::default();
        let days =
            |duration: Duration| u32::try_from(duration.as_secs() / DAY_S).unwrap_or(u32::MAX);
        Self {
            every_s: config.every.as_secs(),
            small_files: config.small_files,
            target_mib: u32::try_from(config.target_bytes >> 20).unwrap_or(u32::MAX),
            checkpoint_commits: u32::try_from(config.checkpoint_commits).unwrap_or(u32::MAX),
            log_kept_days: days(config.log_kept),
            files_kept_days: days(config.files_kept),
            cold_after_days: config.cold_after_days,
            retention_days: table::all()
                .into_iter()
                .filter_map(|table| Some((table.config_name, table.retention_days?)))
                .collect(),
        }
    }
}

/// A file names the tables it cares for; the others keep their own.
fn over_defaults<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, u32>, D::Error> {
    let mut days = MaintenanceSection::default().retention_days;
    days.extend(BTreeMap::<String, u32>::deserialize(deserializer)?);
    Ok(days)
}

impl Section for MaintenanceSection {
    const DOC: &'static str = "How tables are kept small, fast and short.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}

impl MaintenanceSection {
    /// Refuses what would lose rows or never do anything. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        let ranges = [
            ("every_s", self.every_s, 1, DAY_S),
            ("small_files", self.small_files as u64, 2, 100_000),
            ("target_mib", u64::from(self.target_mib), 1, 4_096),
            (
                "checkpoint_commits",
                u64::from(self.checkpoint_commits),
                1,
                100_000,
            ),
            (
                "log_kept_days",
                u64::from(self.log_kept_days),
                1,
                u64::from(MAX_RETENTION_DAYS),
            ),
            (
                "files_kept_days",
                u64::from(self.files_kept_days),
                1,
                u64::from(MAX_RETENTION_DAYS),
            ),
            (
                "cold_after_days",
                u64::from(self.cold_after_days),
                1,
                u64::from(MAX_RETENTION_DAYS),
            ),
        ];
        if let Some((key, value, low, high)) = ranges
            .into_iter()
            .find(|(_, value, low, high)| value < low || value > high)
        {
            return Err(format!(
                "maintenance.{key} is {value}; it must lie between {low} and {high}"
            ));
        }
        let tables = table::all();
        let names: Vec<&str> = tables
            .iter()
            .map(|table| table.config_name.as_str())
            .collect();
        for (name, days) in &self.retention_days {
            if table::all()
                .iter()
                .any(|table| table.config_name == *name && table.retention_days.is_none())
            {
                return Err(format!(
                    "maintenance.retention_days.{name}: rows about money are kept for ever; take \
                     the key out"
                ));
            }
            if !names.contains(&name.as_str()) {
                return Err(format!(
                    "maintenance.retention_days.{name}: there is no such table; there are {}",
                    names.join(", ")
                ));
            }
            if !(MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS).contains(days) {
                let range = format!("between {MIN_RETENTION_DAYS} and {MAX_RETENTION_DAYS}");
                return Err(format!(
                    "maintenance.retention_days.{name} is {days}; it must lie {range}"
                ));
            }
        }
        Ok(())
    }

    /// The settings of the upkeep of the table that the configuration calls so.
    pub fn of_table(&self, name: &str) -> MaintenanceConfig {
        let days = |days: u32| Duration::from_secs(u64::from(days) * DAY_S);
        MaintenanceConfig {
            every: Duration::from_secs(self.every_s),
            small_files: self.small_files,
            target_bytes: i64::from(self.target_mib) << 20,
            checkpoint_commits: i64::from(self.checkpoint_commits),
            log_kept: days(self.log_kept_days),
            files_kept: days(self.files_kept_days),
            cold_after_days: self.cold_after_days,
            retention_days: self.retention_days.get(name).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_changes_the_tables_it_names_and_no_other() {
        let section: MaintenanceSection =
            toml::from_str("files_kept_days = 3\n[retention_days]\nshares = 30").unwrap();
        let shares = section.of_table("shares");
        assert_eq!(
            (shares.retention_days, shares.files_kept),
            (Some(30), Duration::from_secs(3 * DAY_S))
        );
        assert_eq!(
            section.of_table("sensors").retention_days,
            Some(730),
            "two years when nobody says otherwise"
        );
        for name in ["blocks", "windows", "payouts"] {
            assert_eq!(
                section.of_table(name).retention_days,
                None,
                "{name} is kept for ever"
            );
            let section: MaintenanceSection =
                toml::from_str(&format!("[retention_days]\n{name} = 3650")).unwrap();
            assert!(
                section.validate().unwrap_err().contains("kept for ever"),
                "{name}"
            );
        }
        let (ours, theirs) = (
            MaintenanceSection::default().of_table("blocks"),
            MaintenanceConfig::default(),
        );
        assert_eq!(
            (ours.every, ours.small_files, ours.target_bytes),
            (theirs.every, theirs.small_files, theirs.target_bytes)
        );
        assert_eq!(
            (ours.log_kept, ours.files_kept),
            (theirs.log_kept, theirs.files_kept)
        );
        assert_eq!(
            (ours.checkpoint_commits, ours.cold_after_days),
            (theirs.checkpoint_commits, theirs.cold_after_days)
        );
    }
}
