//! Finding a block's window in the `shares` table without reading its history: newest row groups
//! first, until it is full.
//!
//! Sums of integers do not depend on the order, so a row group that is taken whole is only added
//! up, by dictionary. Where the window begins and where it ends the shares are walked one by one in
//! the order of their places. A [`Searcher`] remembers the sums for the next block.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use headframe_sinks::row_group::BATCH_ROWS;
use headframe_sinks::{DataFile, RowGroup, SinkError, Snapshot, row_groups};

use super::course::Place;
use super::freeze::Found;
use super::{Scheme, ShareWork, Step, Walk};

mod memory;
mod ordered;
mod sums;
mod tally;

use memory::Memory;
use ordered::Ordered;
use sums::Sums;
use tally::{Tally, Total, tally};

/// How long after the candidate its share may become durable, microseconds.
pub const PATIENCE_US: i64 = 600_000_000;
/// Stretches that are added up ahead of the walk, as many as there are cores to do it, within
/// reason; and footers read ahead.
const AHEAD: usize = 4;

/// Where the window of a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the share that made the block.
    Winner(Place),
    /// That share never became durable; with the last accepted one stored no later than the
    /// candidate.
    Before(Place),
    /// There is no accepted share to end with.
    Nothing,
    /// Not known before more of `shares` is in the table.
    Unknown,
}

/// Searches the windows of one `shares` table. Cheap to clone; clones remember together.
#[derive(Debug, Clone, Default)]
pub struct Searcher(Arc<Mutex<Arc<Memory>>>);

impl Searcher {
    fn memory(&self) -> Arc<Memory> {
        locked(&self.0).clone()
    }

    fn begin(&self) -> Arc<Memory> {
        let mut memory = locked(&self.0);
        if memory.begin() {
            *memory = Arc::default();
        }
        memory.clone()
    }

    /// Where the window of this block ends, for a candidate that JetStream stored at
    /// `candidate_us`.
    pub async fn end(
        &self,
        shares: &Snapshot,
        pool: &str,
        hash: &str,
        candidate_us: i64,
    ) -> Result<End, SinkError> {
        if let Some(place) = self
            .winner(shares, pool, hash, candidate_us + PATIENCE_US)
            .await?
        {
            return Ok(End::Winner(place));
        }
        let reached = shares
            .files
            .iter()
            .filter_map(|file| file.ranges.get("ingest_time"))
            .map(|range| range.1)
            .max();
        if reached.is_none_or(|reached| reached <= candidate_us + PATIENCE_US) {
            return Ok(End::Unknown);
        }
        let last = last_before(shares, pool, candidate_us).await?;
        Ok(last.map_or(End::Nothing, End::Before))
    }

    /// The accepted share of the pool that made the block, stored no later than `until_us`. Of
    /// several with its hash it is the earliest: one that is sent again, however late, must not
    /// move a window.
    async fn winner(
        &self,
        shares: &Snapshot,
        pool: &str,
        hash: &str,
        until_us: i64,
    ) -> Result<Option<Place>, SinkError> {
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
        let memory = &self.memory();
        let holding = |file: Arc<DataFile>| async move {
            memory
                .holding(shares, &file, hash)
                .await
                .map(|groups| (file, groups))
        };
        let mut groups = Box::pin(stream::iter(files).map(holding).buffered(AHEAD));
        let mut first: Option<Place> = None;
        while let Some((file, groups)) = groups.try_next().await? {
            // A file that begins behind what was found has nothing earlier, nor has any after it.
            if first
                .zip(file.seq_range())
                .is_some_and(|(first, range)| range.0 > first.seq)
            {
                break;
            }
            for group in groups {
                let rows = ordered::read(&[group], pool, |row| {
                    row.block_hash == Some(hash) && row.ingest_time <= until_us
                })
                .await?;
                first = first.into_iter().chain(rows.first()).min();
            }
        }
        Ok(first)
    }

    /// The window of a pool that ends with the share at `end`.
    pub async fn window(
        &self,
        shares: &Snapshot,
        pool: &str,
        end: Place,
        scheme: &dyn Scheme,
        wanted: u128,
    ) -> Result<Found, SinkError> {
        let memory = &self.begin();
        let cores = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(AHEAD);
        let older = |file: &&Arc<DataFile>| file.seq_range().is_none_or(|range| range.0 <= end.seq);
        let files: Vec<Arc<DataFile>> = shares.files.iter().filter(older).cloned().collect();
        let mut parts = Box::pin(
            stream::iter(stretches(&files))
                .map(|files| opened(memory, shares, files, end))
                .buffered(2)
                .map_ok(|groups| stream::iter(groups.into_iter().map(Ok)))
                .try_flatten()
                .map_ok(|groups| part(memory.clone(), groups, pool.to_owned(), end))
                .try_buffered(cores),
        );
        let walk = scheme.walk(wanted);
        let mut going = Going {
            memory,
            pool,
            walk,
            found: Found::default(),
            sums: Sums::default(),
            oldest: None,
        };
        while let Some(part) = parts.try_next().await? {
            if going.take(part).await? {
                break;
            }
        }
        // Where the oldest shares that count were only added up, their stretch tells where the
        // window begins.
        if let Some((groups, rows)) = going.oldest.take() {
            going.found.edge = ordered::read_rows(&groups, rows, pool, |_| true)
                .await?
                .first();
        }
        memory.end(pool);
        Ok(Found {
            window: going.sums.window(&locked(&memory.names)),
            ..going.found
        })
    }
}

/// The stretches of a stretch of files, newest first, without what is newer than the end.
async fn opened(
    memory: &Memory,
    shares: &Snapshot,
    files: Vec<Arc<DataFile>>,
    end: Place,
) -> Result<Vec<Vec<RowGroup>>, SinkError> {
    let mut groups = Vec::new();
    for file in &files {
        groups.extend(memory.groups(shares, file).await?.iter().cloned());
    }
    groups.retain(|group| group.seq_range().is_none_or(|range| range.0 <= end.seq));
    Ok(apart(groups))
}

/// The place of the last accepted share of the pool that was stored no later than this.
async fn last_before(
    shares: &Snapshot,
    pool: &str,
    candidate_us: i64,
) -> Result<Option<Place>, SinkError> {
    for stretch in stretches(&shares.files) {
        if stretch.iter().all(|file| {
            file.ranges
                .get("ingest_time")
                .is_some_and(|range| range.0 > candidate_us)
        }) {
            continue;
        }
        let mut last = None;
        for file in stretch {
            for group in row_groups(shares, &file).await? {
                last = last.max(
                    ordered::read(&[group], pool, |row| row.ingest_time <= candidate_us)
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

/// A stretch of row groups, as it was read.
enum Part {
    /// Added up.
    Sum(Vec<RowGroup>, Vec<Arc<Tally>>),
    /// Row by row, because the window ends in it.
    Rows(Ordered),
}

/// A walk on its way.
struct Going<'a> {
    memory: &'a Memory,
    pool: &'a str,
    walk: Box<dyn Walk>,
    /// Where it begins and ends; its miners are in `sums` until the end.
    found: Found,
    sums: Sums,
    /// The oldest stretch that was taken whole, or the rows of it that were.
    oldest: Option<(Vec<RowGroup>, Option<Range<usize>>)>,
}

impl Going<'_> {
    /// Takes the next older part; true when the window is complete.
    async fn take(&mut self, part: Part) -> Result<bool, SinkError> {
        let (groups, tallies) = match part {
            Part::Rows(rows) => return Ok(self.walk_rows(&rows)),
            Part::Sum(groups, tallies) => (groups, tallies),
        };
        let mut total = Total::default();
        tallies.iter().for_each(|tally| total.add(tally.total));
        if total.shares == 0 {
            return Ok(false);
        }
        let blocks = groups.iter().any(|group| !group.is_void("block_hash"));
        if self.walk.stretch(total.weight, blocks) {
            tallies.iter().for_each(|tally| self.sums.add_all(tally));
            self.oldest = Some((groups, None));
            return Ok(false);
        }
        match (groups.as_slice(), tallies.as_slice()) {
            ([group], [tally]) if group.is_ordered() && !tally.chunks.is_empty() => {
                self.take_chunks(group, &tally.chunks, blocks).await
            }
            _ => Ok(self.walk_rows(&ordered::read(&groups, self.pool, |_| true).await?)),
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
            if self.walk.stretch(chunk.weight, blocks) {
                // Neighbours are read at once, for what lies before them must be skipped.
                let end = whole
                    .take_if(|newer| newer.start == rows.end)
                    .map_or(rows.end, |newer| newer.end);
                self.add_rows(group, whole.replace(rows.start..end)).await?;
                self.oldest = Some((vec![group.clone()], Some(rows)));
                continue;
            }
            complete = self.walk_rows(
                &ordered::read_rows(std::slice::from_ref(group), Some(rows), self.pool, |_| true)
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
                .add_all(&tally(group, rows, self.pool, &self.memory.names).await?);
        }
        Ok(())
    }

    fn walk_rows(&mut self, rows: &Ordered) -> bool {
        let numbers: Vec<u32> = {
            let mut names = locked(&self.memory.names);
            rows.names().map(|name| names.number(name)).collect()
        };
        for (place, number, share) in rows.newest_first() {
            let (weight, last) = match self.walk.step(&share) {
                Step::Take(weight) => (weight, false),
                Step::Last(weight) => (weight, true),
                Step::End => return true,
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

async fn part(
    memory: Arc<Memory>,
    groups: Vec<RowGroup>,
    pool: String,
    end: Place,
) -> Result<Part, SinkError> {
    let whole = groups
        .iter()
        .all(|group| group.seq_range().is_some_and(|range| range.1 < end.seq));
    // The decoding is what takes time; a task of its own brings it to another core.
    let work = async move {
        if !whole {
            return ordered::read(&groups, &pool, |row| row.place <= end)
                .await
                .map(Part::Rows);
        }
        let mut tallies = Vec::with_capacity(groups.len());
        for group in &groups {
            tallies.push(memory.tally(group, &pool).await?);
        }
        Ok(Part::Sum(groups, tallies))
    };
    match tokio::spawn(work).await {
        Ok(part) => part,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Files whose sequences overlap belong together: a rewrite of old small files may enclose others.
/// Newest first.
fn stretches(files: &[Arc<DataFile>]) -> Vec<Vec<Arc<DataFile>>> {
    let range = |file: &Arc<DataFile>| file.seq_range().unwrap_or((i64::MIN, i64::MAX));
    let mut files = files.to_vec();
    files.sort_by_key(|file| std::cmp::Reverse(range(file).1));
    gather(files, |before, next| range(next).1 >= range(before).0)
}

/// The same for row groups. Neighbours in a file whose writer saw its rows in order are in order,
/// also where they share a message.
fn apart(mut groups: Vec<RowGroup>) -> Vec<Vec<RowGroup>> {
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
fn missing(batch: &RecordBatch, column: &str) -> SinkError {
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
