//! Which files of a partition are rewritten together, and how hard they are compressed.
//!
//! A raw table's partition is a day of storing. A rollup's is a month of windows: its files are
//! taken apart by the week of their newest window, so that no rewrite puts rows that are old enough
//! to be compressed harder beside rows that are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DAY_MS, MaintenanceConfig};
use crate::delta::data_file::{CompressionEffort, DataFile};

/// Rows of one file after a rewrite at most, however small they are: readers share a table's work
/// by files.
const MAX_ROWS: i64 = 16_000_000;
/// The same for a rollup, whose rows are folded in memory.
const MAX_FOLDED_ROWS: i64 = 1_000_000;
const WEEK_DAYS: i64 = 7;

/// Files that become one.
pub(super) type Group = (Vec<Arc<DataFile>>, CompressionEffort);

/// What decides about a rewrite.
pub(super) struct Grouping<'a> {
    pub(super) config: &'a MaintenanceConfig,
    pub(super) is_rollup: bool,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

impl Grouping<'_> {
    /// Which files of a partition to rewrite together: of each span of time its small ones when
    /// there are many, and once it is old every one that is not compressed harder yet.
    pub(super) fn groups(&self, files: &[Arc<DataFile>]) -> Vec<Group> {
        let mut spans: BTreeMap<Option<i64>, Vec<Arc<DataFile>>> = BTreeMap::new();
        for file in files {
            spans.entry(ends(file)).or_default().push(file.clone());
        }
        let groups = spans.into_iter().map(|(end, files)| {
            let days = i64::from(self.config.cold_after_days);
            let is_old = end.is_some_and(|end| self.now - end > days * DAY_MS);
            self.groups_of_span(files, is_old)
        });
        groups.flatten().collect()
    }

    fn groups_of_span(&self, files: Vec<Arc<DataFile>>, is_old: bool) -> Vec<Group> {
        let mut chosen = match is_old {
            false => self.when_many(files.iter().filter(|file| self.is_small(file))),
            true => {
                let (done, mut left): (Vec<_>, Vec<_>) = files.into_iter().partition(is_cold);
                // Late rows of a rollup lead to small files of old weeks.
                left.extend(self.when_many(done.iter().filter(|file| self.is_small(file))));
                left
            }
        };
        chosen.sort_by_key(|file| file.seq_range());
        let effort = match is_old {
            true => CompressionEffort::Cold,
            false => CompressionEffort::Fresh,
        };
        let is_worth = |group: &Vec<Arc<DataFile>>| {
            group.len() > 1 || (is_old && group.iter().any(|file| !is_cold(file)))
        };
        let groups = self.cut(chosen).into_iter().filter(is_worth);
        groups.map(|group| (group, effort)).collect()
    }

    /// These files, unless they are too few.
    fn when_many<'f>(&self, files: impl Iterator<Item = &'f Arc<DataFile>>) -> Vec<Arc<DataFile>> {
        let files: Vec<Arc<DataFile>> = files.cloned().collect();
        match files.len() >= self.config.small_files {
            true => files,
            false => Vec::new(),
        }
    }

    /// Runs of files, each as large as one file may be.
    fn cut(&self, files: Vec<Arc<DataFile>>) -> Vec<Vec<Arc<DataFile>>> {
        let mut groups = vec![Vec::new()];
        let (mut bytes, mut rows) = (0, 0);
        for file in files {
            (bytes, rows) = (bytes + file.add.size, rows + file.rows);
            if bytes > self.config.target_bytes || rows > self.max_rows() {
                groups.push(Vec::new());
                (bytes, rows) = (file.add.size, file.rows);
            }
            if let Some(group) = groups.last_mut() {
                group.push(file);
            }
        }
        groups
    }

    fn is_small(&self, file: &DataFile) -> bool {
        file.add.size < self.config.target_bytes / 4 && file.rows < self.max_rows() / 4
    }

    fn max_rows(&self) -> i64 {
        match self.is_rollup {
            true => MAX_FOLDED_ROWS,
            false => MAX_ROWS,
        }
    }
}

fn is_cold(file: &Arc<DataFile>) -> bool {
    let cold = format!("/{}-", CompressionEffort::Cold.prefix());
    file.add.path.contains(&cold)
}

/// The end of the span of time that a file is of, milliseconds since 1970: of the day that its rows
/// were stored in, or of the week of its newest window.
fn ends(file: &Arc<DataFile>) -> Option<i64> {
    if let Some(day) = file.partition("ingest_date") {
        let date = day.parse::<chrono::NaiveDate>().ok()?;
        let begins = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
        return Some(begins + DAY_MS);
    }
    let (_, newest_us) = file.ranges.get("bin")?;
    let week_ms = WEEK_DAYS * DAY_MS;
    Some((newest_us.div_euclid(1_000 * week_ms) + 1) * week_ms)
}
