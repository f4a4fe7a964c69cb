//! What searches remember of data files, which never change: the windows of blocks that follow each
//! other overlap almost whole, so that only what came since the last block, and the window's far
//! end, is read anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use headframe_sinks::{DataFile, RowGroup, SinkError, Snapshot, TextBounds, row_groups};

use super::group_sums::{GroupSums, sum_rows};
use super::locked;
use super::miner_ids::MinerIds;
use super::work::WorkCounter;
use crate::payout::ShareSet;

/// Sums of one miner in one row group that are remembered, 32 bytes each; beyond that row groups
/// are read again each time.
const MAX_SUMS: usize = 1 << 21;
/// Names that are remembered before all is forgotten, so that miners of years ago do not stay.
const MAX_NAMES: usize = 1 << 20;

/// A set of shares, a file and a row group's place in it.
type SetGroup = (ShareSet, String, usize);

/// Something, and the last search that used it.
type Used<T> = (u64, Arc<T>);

/// What is known of the files of one table.
#[derive(Debug, Default)]
pub struct ScanCache {
    /// The miners of the sums. They only become more, because a task that was left behind may
    /// still count by them.
    pub names: Mutex<MinerIds>,
    /// Counts the searches, to know what the last one used.
    round: AtomicU64,
    groups: Mutex<HashMap<String, Used<Vec<RowGroup>>>>,
    group_sums: Mutex<HashMap<SetGroup, Used<GroupSums>>>,
    /// Between which the hashes of blocks in a file lie.
    blocks: Mutex<HashMap<String, TextBounds>>,
}

impl ScanCache {
    /// A search begins; says whether all should be forgotten first, by taking a new memory.
    pub fn begin_scan(&self) -> bool {
        self.round.fetch_add(1, Ordering::Relaxed);
        locked(&self.names).len() > MAX_NAMES
    }

    /// A search for a window of this set has ended: what it did not use will hardly be wanted
    /// again.
    pub fn end_scan(&self, set: &ShareSet) {
        let round = self.round.load(Ordering::Relaxed);
        locked(&self.group_sums).retain(|(of, ..), (used, _)| of != set || *used == round);
        locked(&self.groups).retain(|_, (used, _)| *used == round);
    }

    /// The row groups of a file.
    pub async fn row_groups(
        &self,
        shares: &Snapshot,
        file: &Arc<DataFile>,
    ) -> Result<Arc<Vec<RowGroup>>, SinkError> {
        let round = self.round.load(Ordering::Relaxed);
        if let Some((used, groups)) = locked(&self.groups).get_mut(&file.add.path) {
            *used = round;
            return Ok(groups.clone());
        }
        let groups = Arc::new(row_groups(shares, file).await?);
        locked(&self.groups).insert(file.add.path.clone(), (round, groups.clone()));
        Ok(groups)
    }

    /// What the shares of a set in a row group add up to.
    pub async fn sums_of(
        &self,
        group: &RowGroup,
        set: &ShareSet,
        work: &WorkCounter,
    ) -> Result<Arc<GroupSums>, SinkError> {
        let round = self.round.load(Ordering::Relaxed);
        let part = (set.clone(), group.file().add.path.clone(), group.index());
        if let Some((used, sums)) = locked(&self.group_sums).get_mut(&part) {
            *used = round;
            return Ok(sums.clone());
        }
        let sums = Arc::new(sum_rows(group, 0..group.rows(), set, &self.names, work).await?);
        let mut group_sums = locked(&self.group_sums);
        let held: usize = group_sums.values().map(|(_, sums)| sums.sums.len()).sum();
        if held + sums.sums.len() <= MAX_SUMS {
            group_sums.insert(part, (round, sums.clone()));
        }
        Ok(sums)
    }

    /// Whether it is known between which the hashes of blocks in this file lie.
    pub fn knows_block_bounds(&self, file: &DataFile) -> bool {
        locked(&self.blocks).contains_key(&file.add.path)
    }

    /// The row groups of a file that may hold the share of a block.
    pub async fn groups_with_hash(
        &self,
        shares: &Snapshot,
        file: &Arc<DataFile>,
        hash: &str,
    ) -> Result<Vec<RowGroup>, SinkError> {
        let known = locked(&self.blocks).get(&file.add.path).cloned();
        if known.is_some_and(|bounds| !bounds.may_hold(hash)) {
            return Ok(Vec::new());
        }
        let remembered = locked(&self.groups)
            .get(&file.add.path)
            .map(|(_, groups)| groups.clone());
        let mut groups = match remembered {
            Some(groups) => groups.to_vec(),
            None => row_groups(shares, file).await?,
        };
        let bounds = groups
            .iter()
            .map(|group| group.text_bounds("block_hash"))
            .fold(TextBounds::Empty, TextBounds::join);
        let mut blocks = locked(&self.blocks);
        if blocks.len() > 2 * shares.files.len() + 1_000 {
            blocks.clear();
        }
        blocks.insert(file.add.path.clone(), bounds);
        groups.retain(|group| group.text_bounds("block_hash").may_hold(hash));
        Ok(groups)
    }
}
