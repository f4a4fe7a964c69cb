//! Finding a block's window in the `shares` table without reading its history: newest row groups
//! first, until it is full.
//!
//! Sums of integers do not depend on the order, so a row group that is taken whole is only added
//! up, by dictionary. Where the window begins and where it ends the shares are walked one by one in
//! the order of their places. A [`WindowScanner`] remembers the sums for the next block.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use headframe_sinks::BATCH_ROWS;
use headframe_sinks::{DataFile, RowGroup, SinkError, Snapshot, row_groups};

use super::freeze::FoundWindow;
use super::lifecycle::RowPosition;
use super::{Scheme, SchemeWalk, ShareWork, WalkStep};

mod cache;
mod group_sums;
mod miner_ids;
mod miner_sums;
mod ordered_shares;

use cache::ScanCache;
use group_sums::{GroupSums, Total, sum_rows};
use miner_sums::MinerSums;
use ordered_shares::OrderedShares;

/// How long after the candidate its share may become durable, microseconds.
pub const PATIENCE_US: i64 = 600_000_000;
/// Segmentes that are added up ahead of the walk, as many as there are cores to do it, within
/// reason; and footers read ahead.
const AHEAD: usize = 4;

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
pub struct WindowScanner(Arc<Mutex<Arc<ScanCache>>>);

impl WindowScanner {
    fn cache(&self) -> Arc<ScanCache> {
        locked(&self.0).clone()
    }

    fn begin_scan(&self) -> Arc<ScanCache> {
        let mut cache = locked(&self.0);
        if cache.begin_scan() {
            *cache = Arc::default();
        }
        cache.clone()
    }

    /// Where the window of this block ends, for a candidate that JetStream stored at
    /// `candidate_us`.
    pub async fn find_end(
        &self,
        shares: &Snapshot,
        pool: &str,
        hash: &str,
        candidate_us: i64,
    ) -> Result<WindowEnd, SinkError> {
        if let Some(place) = self
            .find_winning_share(shares, pool, hash, candidate_us + PATIENCE_US)
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
        let last = find_last_before(shares, pool, candidate_us).await?;
        Ok(last.map_or(WindowEnd::NoShares, WindowEnd::LastBefore))
    }

    /// The accepted share of the pool that made the block, stored no later than `until_us`. Of
    /// several with its hash it is the earliest: one that is sent again, however late, must not
    /// move a window.
    async fn find_winning_share(
        &self,
        shares: &Snapshot,
        pool: &str,
        hash: &str,
        until_us: i64,
    ) -> Result<Option<RowPosition>, SinkError> {
        // A file of another program may come without statistics, and then nothing is known of it.
        let possible = |file: &&Arc<DataFile>| {
            let no_block = file
                .nulls
                .get("block_hash")
                .map_or(!file.nulls.is_empty(), |nulls| *nulls == file.rows);
            !no_block
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
                let rows = ordered_shares::read_shares(&[group], pool, |row| {
                    row.block_hash == Some(hash) && row.ingest_time <= until_us
                })
                .await?;
                first = first.into_iter().chain(rows.first()).min();
            }
        }
        Ok(first)
    }

    /// The window of a pool that ends with the share at `end`.
    pub async fn scan(
        &self,
        shares: &Snapshot,
        pool: &str,
        end: RowPosition,
        scheme: &dyn Scheme,
        wanted: u128,
    ) -> Result<FoundWindow, SinkError> {
        let cache = &self.begin_scan();
        let cores = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(AHEAD);
        let older = |file: &&Arc<DataFile>| file.seq_range().is_none_or(|range| range.0 <= end.seq);
        let files: Vec<Arc<DataFile>> = shares.files.iter().filter(older).cloned().collect();
        let mut parts = Box::pin(
            stream::iter(segments(&files))
                .map(|files| open_segments(cache, shares, files, end))
                .buffered(2)
                .map_ok(|groups| stream::iter(groups.into_iter().map(Ok)))
                .try_flatten()
                .map_ok(|groups| read_segment(cache.clone(), groups, pool.to_owned(), end))
                .try_buffered(cores),
        );
        let walk = scheme.walk(wanted);
        let mut walk_state = WindowWalk {
            cache,
            pool,
            walk,
            found: FoundWindow::default(),
            sums: MinerSums::default(),
            oldest: None,
        };
        while let Some(part) = parts.try_next().await? {
            if walk_state.take(part).await? {
                break;
            }
        }
        // Where the oldest shares that count were only added up, that segment tells where the
        // window begins.
        if let Some((groups, rows)) = walk_state.oldest.take() {
            walk_state.found.edge = ordered_shares::read_share_rows(&groups, rows, pool, |_| true)
                .await?
                .first();
        }
        cache.end_scan(pool);
        Ok(FoundWindow {
            window: walk_state.sums.window(&locked(&cache.names)),
            ..walk_state.found
        })
    }
}

/// The segments of row groups in a segment of files, newest first, without what is newer than the end.
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

/// The place of the last accepted share of the pool that was stored no later than this.
async fn find_last_before(
    shares: &Snapshot,
    pool: &str,
    candidate_us: i64,
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
                    ordered_shares::read_shares(&[group], pool, |row| {
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

/// A segment of row groups, as it was read.
enum Segment {
    /// Added up.
    Sum(Vec<RowGroup>, Vec<Arc<GroupSums>>),
    /// Row by row, because the window ends in it.
    Rows(OrderedShares),
}

/// A walk on its way.
struct WindowWalk<'a> {
    cache: &'a ScanCache,
    pool: &'a str,
    walk: Box<dyn SchemeWalk>,
    /// Where it begins and ends; its miners are in `sums` until the end.
    found: FoundWindow,
    sums: MinerSums,
    /// The oldest segment that was taken whole, or the rows of it that were.
    oldest: Option<(Vec<RowGroup>, Option<Range<usize>>)>,
}

impl WindowWalk<'_> {
    /// Takes the next older part; true when the window is complete.
    async fn take(&mut self, part: Segment) -> Result<bool, SinkError> {
        let (groups, group_sums) = match part {
            Segment::Rows(rows) => return Ok(self.walk_rows(&rows)),
            Segment::Sum(groups, group_sums) => (groups, group_sums),
        };
        let mut total = Total::default();
        group_sums.iter().for_each(|sums| total.add(sums.total));
        if total.shares == 0 {
            return Ok(false);
        }
        let blocks = groups.iter().any(|group| !group.is_void("block_hash"));
        if self.walk.take_segment(total.weight, blocks) {
            group_sums.iter().for_each(|sums| self.sums.add_all(sums));
            self.oldest = Some((groups, None));
            return Ok(false);
        }
        match (groups.as_slice(), group_sums.as_slice()) {
            ([group], [sums]) if group.is_ordered() && !sums.chunks.is_empty() => {
                self.take_chunks(group, &sums.chunks, blocks).await
            }
            _ => {
                Ok(self
                    .walk_rows(&ordered_shares::read_shares(&groups, self.pool, |_| true).await?))
            }
        }
    }

    /// Takes as many chunks of a row group in order as fit, newest first, and walks those that do
    /// not.
    async fn take_chunks(
        &mut self,
        group: &RowGroup,
        chunks: &[Total],
        blocks: bool,
    ) -> Result<bool, SinkError> {
        let mut whole: Option<Range<usize>> = None;
        let mut complete = false;
        for (index, chunk) in chunks
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, chunk)| chunk.shares > 0)
        {
            let rows = index * BATCH_ROWS..((index + 1) * BATCH_ROWS).min(group.rows());
            if self.walk.take_segment(chunk.weight, blocks) {
                // Neighbours are read at once, for what lies before them must be skipped.
                let end = whole
                    .take_if(|newer| newer.start == rows.end)
                    .map_or(rows.end, |newer| newer.end);
                self.add_rows(group, whole.replace(rows.start..end)).await?;
                self.oldest = Some((vec![group.clone()], Some(rows)));
                continue;
            }
            complete = self.walk_rows(
                &ordered_shares::read_share_rows(
                    std::slice::from_ref(group),
                    Some(rows),
                    self.pool,
                    |_| true,
                )
                .await?,
            );
            if complete {
                break;
            }
        }
        self.add_rows(group, whole).await?;
        Ok(complete)
    }

    async fn add_rows(
        &mut self,
        group: &RowGroup,
        rows: Option<Range<usize>>,
    ) -> Result<(), SinkError> {
        if let Some(rows) = rows {
            self.sums
                .add_all(&sum_rows(group, rows, self.pool, &self.cache.names).await?);
        }
        Ok(())
    }

    fn walk_rows(&mut self, rows: &OrderedShares) -> bool {
        let numbers: Vec<u32> = {
            let mut names = locked(&self.cache.names);
            rows.names().map(|name| names.id_of(name)).collect()
        };
        for (place, number, share) in rows.newest_first() {
            let (weight, last) = match self.walk.take_share(&share) {
                WalkStep::Take(weight) => (weight, false),
                WalkStep::Last(weight) => (weight, true),
                WalkStep::End => return true,
            };
            self.found.newest.get_or_insert(place);
            self.found.edge = Some(place);
            self.oldest = None;
            if let Some(number) = numbers.get(number) {
                self.sums.add(*number, weight, 1);
            }
            if last {
                return true;
            }
        }
        false
    }
}

async fn read_segment(
    cache: Arc<ScanCache>,
    groups: Vec<RowGroup>,
    pool: String,
    end: RowPosition,
) -> Result<Segment, SinkError> {
    let whole = groups
        .iter()
        .all(|group| group.seq_range().is_some_and(|range| range.1 < end.seq));
    // The decoding is what takes time; a task of its own brings it to another core.
    let work = async move {
        if !whole {
            return ordered_shares::read_shares(&groups, &pool, |row| row.place <= end)
                .await
                .map(Segment::Rows);
        }
        let mut group_sums = Vec::with_capacity(groups.len());
        for group in &groups {
            group_sums.push(cache.sums_of(group, &pool).await?);
        }
        Ok(Segment::Sum(groups, group_sums))
    };
    match tokio::spawn(work).await {
        Ok(part) => part,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
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

    fn of(&mut self, difficulty: i64, network: i128) -> u128 {
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
