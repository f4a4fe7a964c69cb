//! Finding a block's window in the `shares` table without reading its history: newest row groups first, until it is full.
//!
//! Sums of integers do not depend on the order, so a row group that is taken whole is only added up, by dictionary. Where the
//! window begins and where it ends the shares are walked one by one in the order of their places.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use headframe_sinks::{DataFile, RowGroup, SinkError, Snapshot, row_groups};

use super::course::Place;
use super::freeze::Found;
use super::{Scheme, ShareWork, Step, Walk};

mod ordered;
mod sums;
mod tally;

use ordered::Ordered;
use sums::Sums;
use tally::Tally;

/// How long after the candidate its share may become durable, microseconds.
pub const PATIENCE_US: i64 = 600_000_000;
/// Stretches that are added up ahead of the walk, as many as there are cores to do it, within reason; and footers read ahead.
const AHEAD: usize = 4;

/// Where the window of a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the share that made the block.
    Winner(Place),
    /// That share never became durable; with the last accepted one stored no later than the candidate.
    Before(Place),
    /// There is no accepted share to end with.
    Nothing,
    /// Not known before more of `shares` is in the table.
    Unknown,
}

/// Where the window of this block ends, for a candidate that JetStream stored at `candidate_us`.
pub async fn end(shares: &Snapshot, pool: &str, hash: &str, candidate_us: i64) -> Result<End, SinkError> {
    if let Some(place) = winner(shares, pool, hash, candidate_us + PATIENCE_US).await? {
        return Ok(End::Winner(place));
    }
    let reached = shares.files.iter().filter_map(|file| file.ranges.get("ingest_time")).map(|range| range.1).max();
    if reached.is_none_or(|reached| reached <= candidate_us + PATIENCE_US) {
        return Ok(End::Unknown);
    }
    let last = last_before(shares, pool, candidate_us).await?;
    Ok(last.map_or(End::Nothing, End::Before))
}

/// The accepted share of the pool that made the block, stored no later than `until_us`. Of several with its hash it is the
/// earliest: one that is sent again, however late, must not move a window.
async fn winner(shares: &Snapshot, pool: &str, hash: &str, until_us: i64) -> Result<Option<Place>, SinkError> {
    // A file of another program may come without statistics, and then nothing is known of it.
    let possible = |file: &&Arc<DataFile>| {
        let no_block = file.nulls.get("block_hash").map_or(!file.nulls.is_empty(), |nulls| *nulls == file.rows);
        !no_block && file.ranges.get("ingest_time").is_none_or(|range| range.0 <= until_us)
    };
    let mut files: Vec<Arc<DataFile>> = shares.files.iter().filter(possible).cloned().collect();
    files.sort_by_key(|file| file.seq_range());
    let mut groups = Box::pin(stream::iter(files).map(|file| holding(shares, file, hash)).buffered(AHEAD));
    let mut first: Option<Place> = None;
    while let Some((file, groups)) = groups.try_next().await? {
        // A file that begins behind what was found has nothing earlier, nor has any after it.
        if first.zip(file.seq_range()).is_some_and(|(first, range)| range.0 > first.seq) {
            break;
        }
        for group in groups {
            let rows = ordered::read(&[group], pool, |row| row.block_hash == Some(hash) && row.ingest_time <= until_us).await?;
            first = first.into_iter().chain(rows.first()).min();
        }
    }
    Ok(first)
}

/// The row groups of a file that may hold the share of a block.
async fn holding(shares: &Snapshot, file: Arc<DataFile>, hash: &str) -> Result<(Arc<DataFile>, Vec<RowGroup>), SinkError> {
    let mut groups = row_groups(shares, &file).await?;
    groups.retain(|group| group.may_hold("block_hash", hash));
    Ok((file, groups))
}

/// The place of the last accepted share of the pool that was stored no later than this.
async fn last_before(shares: &Snapshot, pool: &str, candidate_us: i64) -> Result<Option<Place>, SinkError> {
    for stretch in stretches(&shares.files) {
        if stretch.iter().all(|file| file.ranges.get("ingest_time").is_some_and(|range| range.0 > candidate_us)) {
            continue;
        }
        let mut last = None;
        for file in stretch {
            for group in row_groups(shares, &file).await? {
                last = last.max(ordered::read(&[group], pool, |row| row.ingest_time <= candidate_us).await?.last());
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// The window of a pool that ends with the share at `end`.
pub async fn window(shares: &Snapshot, pool: &str, end: Place, scheme: &dyn Scheme, wanted: u128) -> Result<Found, SinkError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(AHEAD);
    let older = |file: &&Arc<DataFile>| file.seq_range().is_none_or(|range| range.0 <= end.seq);
    let files: Vec<Arc<DataFile>> = shares.files.iter().filter(older).cloned().collect();
    let mut parts = Box::pin(
        stream::iter(stretches(&files))
            .map(|files| opened(shares, files, end))
            .buffered(2)
            .map_ok(|groups| stream::iter(groups.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(|groups| part(groups, pool.to_owned(), end))
            .try_buffered(cores),
    );
    let mut search = Search { walk: scheme.walk(wanted), found: Found::default(), sums: Sums::default(), oldest: None };
    while let Some(part) = parts.try_next().await? {
        if search.take(part, pool).await? {
            break;
        }
    }
    // Where the oldest shares that count were only added up, their stretch tells where the window begins.
    if let Some(groups) = search.oldest.take() {
        search.found.edge = ordered::read(&groups, pool, |_| true).await?.first();
    }
    Ok(Found { window: search.sums.window(), ..search.found })
}

/// A stretch of row groups, as it was read.
enum Part {
    /// Added up.
    Sum(Vec<RowGroup>, Tally),
    /// Row by row, because the window ends in it.
    Rows(Ordered),
}

struct Search {
    walk: Box<dyn Walk>,
    /// Where it begins and ends; its miners are in `sums` until the end.
    found: Found,
    sums: Sums,
    /// The oldest stretch that was taken whole.
    oldest: Option<Vec<RowGroup>>,
}

impl Search {
    /// Takes the next older part; true when the window is complete.
    async fn take(&mut self, part: Part, pool: &str) -> Result<bool, SinkError> {
        let rows = match part {
            Part::Rows(rows) => rows,
            Part::Sum(_, tally) if tally.shares == 0 => return Ok(false),
            Part::Sum(groups, tally) => {
                let blocks = groups.iter().any(|group| !group.is_void("block_hash"));
                if self.walk.stretch(tally.total, blocks) {
                    self.sums.merge(&tally.sums);
                    self.oldest = Some(groups);
                    return Ok(false);
                }
                ordered::read(&groups, pool, |_| true).await?
            }
        };
        Ok(self.walk_rows(&rows))
    }

    fn walk_rows(&mut self, rows: &Ordered) -> bool {
        let numbers = self.sums.names().numbers(rows.names());
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

/// The stretches of a stretch of files, newest first, without what is newer than the end.
async fn opened(shares: &Snapshot, files: Vec<Arc<DataFile>>, end: Place) -> Result<Vec<Vec<RowGroup>>, SinkError> {
    let mut groups = Vec::new();
    for file in &files {
        groups.extend(row_groups(shares, file).await?);
    }
    groups.retain(|group| group.seq_range().is_none_or(|range| range.0 <= end.seq));
    Ok(apart(groups))
}

async fn part(groups: Vec<RowGroup>, pool: String, end: Place) -> Result<Part, SinkError> {
    let whole = groups.iter().all(|group| group.seq_range().is_some_and(|range| range.1 < end.seq));
    // The decoding is what takes time; a task of its own brings it to another core.
    let work = async move {
        if !whole {
            return ordered::read(&groups, &pool, |row| row.place <= end).await.map(Part::Rows);
        }
        let mut tally = Tally::default();
        for group in &groups {
            tally.read(group, &pool).await?;
        }
        Ok(Part::Sum(groups, tally))
    };
    match tokio::spawn(work).await {
        Ok(part) => part,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Files whose sequences overlap belong together: a rewrite of old small files may enclose others. Newest first.
fn stretches(files: &[Arc<DataFile>]) -> Vec<Vec<Arc<DataFile>>> {
    let range = |file: &Arc<DataFile>| file.seq_range().unwrap_or((i64::MIN, i64::MAX));
    let mut files = files.to_vec();
    files.sort_by_key(|file| std::cmp::Reverse(range(file).1));
    gather(files, |before, next| range(next).1 >= range(before).0)
}

/// The same for row groups. Neighbours in a file that share one message are still in order.
fn apart(mut groups: Vec<RowGroup>) -> Vec<Vec<RowGroup>> {
    let range = |group: &RowGroup| group.seq_range().unwrap_or((i64::MIN, i64::MAX));
    groups.sort_by_key(|group| std::cmp::Reverse((range(group).1, range(group).0, group.index())));
    gather(groups, |newer, older| {
        let neighbours = newer.file().add.path == older.file().add.path && newer.index() == older.index() + 1;
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
            let share = ShareWork { miner: "", difficulty: hashes(difficulty), network_difficulty: wide(network), is_block: false };
            *known = (difficulty, network, share.weight());
        }
        known.2
    }
}

fn hashes(difficulty: i64) -> u64 {
    u64::try_from(difficulty).unwrap_or(0)
}

fn wide(network: i128) -> u128 {
    u128::try_from(network).unwrap_or(0)
}

/// A batch's columns must be there and of their type; a file that says otherwise was not made by this program.
fn missing(batch: &RecordBatch, column: &str) -> SinkError {
    let found: Vec<String> = batch.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    SinkError::Encode {
        action: "reading shares",
        table: "shares".to_owned(),
        why: format!("no fit column {column} in {}", found.join(", ")),
    }
}
