//! Finding a block's window in the `shares` table without reading its history: newest row groups
//! first, until it is full.
//!
//! Sums of integers do not depend on the order, so a row group that is taken whole is only added
//! up, by dictionary. Only where the window begins and where it ends are shares walked one by one
//! in the order of their places, a few of a row group that may have a million. A [`WindowScanner`]
//! remembers the sums for the next block, and reads ahead what that block will want.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use headframe_sinks::{DataFile, RowGroup, SinkError, Snapshot, row_groups};

use super::freeze::FoundWindow;
use super::lifecycle::RowPosition;
use super::{Scheme, ShareSet, ShareWork};

mod cache;
mod group_sums;
mod miner_ids;
mod miner_sums;
mod ordered_shares;
mod read_ahead;
mod walk;
mod work;

use cache::ScanCache;
use group_sums::sum_rows;
use walk::{Segment, WindowWalk};
pub use work::ScanWork;
use work::WorkCounter;

/// How long after the candidate its share may become durable, microseconds.
pub const PATIENCE_US: i64 = 600_000_000;
/// Segments that are added up ahead of the walk, as many as there are cores to do it, within
/// reason; and footers read ahead.
const AHEAD: usize = 4;
/// Rows at the end of a window that are walked one by one: a scheme must see the winning share
/// itself.
const END_ROWS: usize = 1_024;

/// Where the window of a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowEnd {
    /// With the share that made the block.
    WinningShare(RowPosition),
    /// That share never became durable; with the last accepted one stored no later than the
    /// candidate.
    LastBefore(RowPosition),
    /// There is no accepted share to end with.
    NoShares,
    /// Not known before more of `shares` is in the table.
    Unknown,
}

/// Searches the windows of one `shares` table. Cheap to clone; clones remember together.
#[derive(Debug, Clone, Default)]
pub struct WindowScanner {
    cache: Arc<Mutex<Arc<ScanCache>>>,
    work: Arc<WorkCounter>,
}

impl WindowScanner {
    fn cache(&self) -> Arc<ScanCache> {
        locked(&self.cache).clone()
    }

    fn begin_scan(&self) -> Arc<ScanCache> {
        let mut cache = locked(&self.cache);
        if cache.begin_scan() {
            *cache = Arc::default();
        }
        cache.clone()
    }

    /// What this scanner has read so far.
    pub fn work(&self) -> ScanWork {
        self.work.get()
    }

    /// Where the window of this block ends, for a candidate that JetStream stored at
    /// `candidate_us`.
    pub async fn find_end(
        &self,
        shares: &Snapshot,
        set: &ShareSet,
        hash: &str,
        candidate_us: i64,
    ) -> Result<WindowEnd, SinkError> {
        if let Some(place) = self
            .find_winning_share(shares, set, hash, candidate_us + PATIENCE_US)
            .await?
        {
            return Ok(WindowEnd::WinningShare(place));
        }
        let reached = shares
            .files
            .iter()
            .filter_map(|file| file.ranges.get("ingest_time"))
            .map(|range| range.1)
            .max();
        if reached.is_none_or(|reached| reached <= candidate_us + PATIENCE_US) {
            return Ok(WindowEnd::Unknown);
        }
        let last = find_last_before(shares, set, candidate_us, &self.work).await?;
        Ok(last.map_or(WindowEnd::NoShares, WindowEnd::LastBefore))
    }

    /// The accepted share of the set that made the block, stored no later than `until_us`. Of
    /// several with its hash it is the earliest: one that is sent again, however late, must not
    /// move a window.
    async fn find_winning_share(
        &self,
        shares: &Snapshot,
        set: &ShareSet,
        hash: &str,
        until_us: i64,
    ) -> Result<Option<RowPosition>, SinkError> {
        let possible = |file: &&Arc<DataFile>| {
            may_have_blocks(file)
                && file
                    .ranges
                    .get("ingest_time")
                    .is_none_or(|range| range.0 <= until_us)
        };
        let mut files: Vec<Arc<DataFile>> = shares.files.iter().filter(possible).cloned().collect();
        files.sort_by_key(|file| file.seq_range());
        let cache = &self.cache();
        let with_hash = |file: Arc<DataFile>| async move {
            cache
                .groups_with_hash(shares, &file, hash)
                .await
                .map(|groups| (file, groups))
        };
        let mut groups = Box::pin(stream::iter(files).map(with_hash).buffered(AHEAD));
        let mut first: Option<RowPosition> = None;
        while let Some((file, groups)) = groups.try_next().await? {
            // A file that begins behind what was found has nothing earlier, nor has any after it.
            if first
                .zip(file.seq_range())
                .is_some_and(|(first, range)| range.0 > first.seq)
            {
                break;
            }
            for group in groups {
                let rows =
                    ordered_shares::rows_with_text(&group, "block_hash", hash, &self.work).await?;
                for row in rows {
                    let found = ordered_shares::read_share_rows(
                        std::slice::from_ref(&group),
                        Some(row..row + 1),
                        set,
                        &self.work,
                        |row| row.ingest_time <= until_us,
                    )
                    .await?;
                    first = first.into_iter().chain(found.first()).min();
                }
            }
        }
        Ok(first)
    }

    /// The window of a set that ends with the share at `end`.
    pub async fn scan(
        &self,
        shares: &Snapshot,
        set: &ShareSet,
        end: RowPosition,
        scheme: &dyn Scheme,
        wanted: u128,
    ) -> Result<FoundWindow, SinkError> {
        let cache = &self.begin_scan();
        let cores = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(AHEAD);
        let mut parts = Box::pin(self.segments(cache, shares, set, end, cores));
        let walk = scheme.walk(wanted);
        let mut walk = WindowWalk::new(cache, &self.work, set, walk);
        while let Some(segment) = parts.try_next().await? {
            if walk.take(segment).await? {
                break;
            }
        }
        let found = walk.finish().await?;
        cache.end_scan(set);
        Ok(found)
    }

    /// The segments through a place, newest first, as they are read, some at a time.
    fn segments<'a>(
        &'a self,
        cache: &'a Arc<ScanCache>,
        shares: &'a Snapshot,
        set: &'a ShareSet,
        end: RowPosition,
        at_once: usize,
    ) -> impl Stream<Item = Result<Segment, SinkError>> + 'a {
        let older = |file: &&Arc<DataFile>| file.seq_range().is_none_or(|range| range.0 <= end.seq);
        let files: Vec<Arc<DataFile>> = shares.files.iter().filter(older).cloned().collect();
        stream::iter(segments(&files))
            .map(move |files| open_segments(cache, shares, files, end))
            .buffered(2)
            .map_ok(|groups| stream::iter(groups.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |groups| {
                read_segment(cache.clone(), self.work.clone(), groups, set.clone(), end)
            })
            .try_buffered(at_once)
    }
}

/// Whether a file may hold a share that made a block. One of another program may come without
/// statistics, and then nothing is known of it.
fn may_have_blocks(file: &DataFile) -> bool {
    let nulls = file.nulls.get("block_hash");
    nulls.map_or(file.nulls.is_empty(), |nulls| *nulls != file.rows)
}

/// The segments of row groups in a segment of files, newest first, without what is newer than the
/// end.
async fn open_segments(
    cache: &ScanCache,
    shares: &Snapshot,
    files: Vec<Arc<DataFile>>,
    end: RowPosition,
) -> Result<Vec<Vec<RowGroup>>, SinkError> {
    let mut groups = Vec::new();
    for file in &files {
        groups.extend(cache.row_groups(shares, file).await?.iter().cloned());
    }
    groups.retain(|group| group.seq_range().is_none_or(|range| range.0 <= end.seq));
    Ok(split_segments(groups))
}

/// The place of the last accepted share of the set that was stored no later than this.
async fn find_last_before(
    shares: &Snapshot,
    set: &ShareSet,
    candidate_us: i64,
    work: &WorkCounter,
) -> Result<Option<RowPosition>, SinkError> {
    for segment in segments(&shares.files) {
        if segment.iter().all(|file| {
            file.ranges
                .get("ingest_time")
                .is_some_and(|range| range.0 > candidate_us)
        }) {
            continue;
        }
        let mut last = None;
        for file in segment {
            for group in row_groups(shares, &file).await? {
                last = last.max(
                    ordered_shares::read_shares(&[group], set, work, |row| {
                        row.ingest_time <= candidate_us
                    })
                    .await?
                    .last(),
                );
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

async fn read_segment(
    cache: Arc<ScanCache>,
    work: Arc<WorkCounter>,
    groups: Vec<RowGroup>,
    set: ShareSet,
    end: RowPosition,
) -> Result<Segment, SinkError> {
    let whole = groups
        .iter()
        .all(|group| group.seq_range().is_some_and(|range| range.1 < end.seq));
    // The decoding is what takes time; a task of its own brings it to another core.
    let reading = async move {
        if !whole {
            return read_end(&cache, &work, groups, &set, end).await;
        }
        let mut group_sums = Vec::with_capacity(groups.len());
        for group in &groups {
            group_sums.push(cache.sums_of(group, &set, &work).await?);
        }
        Ok(Segment::Sum(groups, group_sums))
    };
    match tokio::spawn(reading).await {
        Ok(segment) => segment,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The segment that the window ends in. A row group may have a million rows, of which the last few
/// are wanted one by one: those before them are only added up.
async fn read_end(
    cache: &ScanCache,
    work: &WorkCounter,
    groups: Vec<RowGroup>,
    set: &ShareSet,
    end: RowPosition,
) -> Result<Segment, SinkError> {
    let is_before_end = |row: &ordered_shares::Candidate| row.place <= end;
    let ordered = match groups.as_slice() {
        [group] if group.is_ordered() => ordered_shares::rows_through(group, end, work).await?,
        _ => None,
    };
    let (Some(through), Some(group)) = (ordered, groups.first()) else {
        return ordered_shares::read_shares(&groups, set, work, is_before_end)
            .await
            .map(Segment::Rows);
    };
    let older = through.saturating_sub(END_ROWS);
    let newest = ordered_shares::read_share_rows(
        std::slice::from_ref(group),
        Some(older..through),
        set,
        work,
        is_before_end,
    )
    .await?;
    let sums = sum_rows(group, 0..older, set, &cache.names, work).await?;
    Ok(Segment::End {
        newest,
        groups,
        older,
        sums: Arc::new(sums),
    })
}

/// Files whose sequences overlap belong together: a rewrite of old small files may enclose others.
/// Newest first.
fn segments(files: &[Arc<DataFile>]) -> Vec<Vec<Arc<DataFile>>> {
    let range = |file: &Arc<DataFile>| file.seq_range().unwrap_or((i64::MIN, i64::MAX));
    let mut files = files.to_vec();
    files.sort_by_key(|file| std::cmp::Reverse(range(file).1));
    gather(files, |before, next| range(next).1 >= range(before).0)
}

/// The same for row groups. Neighbours in a file whose writer saw its rows in order are in order,
/// also where they share a message.
fn split_segments(mut groups: Vec<RowGroup>) -> Vec<Vec<RowGroup>> {
    let range = |group: &RowGroup| group.seq_range().unwrap_or((i64::MIN, i64::MAX));
    groups.sort_by_key(|group| std::cmp::Reverse((range(group).1, range(group).0, group.index())));
    gather(groups, |newer, older| {
        let neighbours = newer.is_ordered()
            && newer.file().add.path == older.file().add.path
            && newer.index() == older.index() + 1;
        let (low, high) = (range(newer).0, range(older).1);
        high > low || (high == low && !neighbours)
    })
}

/// Cuts a list, newest first, where nothing older reaches into what is newer.
fn gather<T>(items: Vec<T>, reaches: impl Fn(&T, &T) -> bool) -> Vec<Vec<T>> {
    let mut gathered: Vec<Vec<T>> = Vec::new();
    for item in items {
        match gathered.last_mut() {
            Some(last) if last.iter().any(|newer| reaches(newer, &item)) => last.push(item),
            _ => gathered.push(vec![item]),
        }
    }
    gathered
}

/// The weight of a share, remembered: there are few different ones beside each other.
struct Weights(Vec<(i64, i128, u128)>);

impl Weights {
    fn new() -> Self {
        Self(vec![(0, 0, 0); 1 << 10])
    }

    fn weight(&mut self, difficulty: i64, network: i128) -> u128 {
        // The middle bits of the product spread the difficulties that vardiff makes.
        let slot = ((difficulty as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize;
        let known = &mut self.0[slot];
        if (known.0, known.1) != (difficulty, network) {
            let share = ShareWork {
                miner: "",
                difficulty: hashes(difficulty),
                network_difficulty: wide(network),
                is_block: false,
            };
            *known = (difficulty, network, share.weight());
        }
        known.2
    }
}

/// What was remembered stays right whatever became of who remembered it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hashes(difficulty: i64) -> u64 {
    u64::try_from(difficulty).unwrap_or(0)
}

fn wide(network: i128) -> u128 {
    u128::try_from(network).unwrap_or(0)
}

/// A batch's columns must be there and of their type; a file that says otherwise was not made by
/// this program.
fn column_error(batch: &RecordBatch, column: &str) -> SinkError {
    let found: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    SinkError::Encode {
        action: "reading shares",
        table: "shares".to_owned(),
        why: format!("no fit column {column} in {}", found.join(", ")),
    }
}
