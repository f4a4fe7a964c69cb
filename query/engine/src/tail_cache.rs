//! Rows that a worker got from the front, so that the next statement needs only newer ones.
//!
//! Of each stream the columns are kept that statements read lately. A statement that reads others
//! gets all rows anew, with these columns and its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use headframe_ingest::{DecodedRows, Tail};
use headframe_query_front::QueryError;

use crate::error::from_datafusion;
use crate::live_rows::LiveHead;
use crate::union::{newer_than, seqs};

/// The index of `seq` in every raw table.
const SEQ_INDEX: usize = 0;
/// Columns that nobody read for this long are let go with the next statement.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The kept rows by stream: as many as the front holds of the streams read lately.
#[derive(Debug, Default)]
pub struct TailCache {
    tails: Mutex<HashMap<&'static str, CachedTail>>,
}

#[derive(Debug)]
struct CachedTail {
    generation: u64,
    /// The columns of the rows and when each was read last.
    columns: BTreeMap<usize, Instant>,
    rows: Tail,
}

/// What a scan reads of one look at a stream.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// The stream.
    pub stream: &'static str,
    /// The look.
    pub head: &'a LiveHead,
    /// Only rows with `after < seq`.
    pub after: i64,
    /// Indexes of the columns, in the order in which they are read.
    pub columns: &'a [usize],
}

/// What there is for a scan.
#[derive(Debug, PartialEq)]
pub enum CacheAnswer {
    /// Its rows.
    Held(Vec<RecordBatch>),
    /// The front is to be asked for the rows with `from < seq`, with columns of these indexes,
    /// ascending.
    Ask { from: i64, columns: Vec<usize> },
}

impl TailCache {
    /// What a scan needs of the front.
    pub fn missing(&self, scan: &Scan<'_>) -> Result<CacheAnswer, QueryError> {
        let mut tails = self.lock();
        tails.retain(|_, kept| kept.is_used());
        let Some(kept) = tails.get_mut(scan.stream) else {
            return Ok(CacheAnswer::all_of(scan, &[]));
        };
        if kept.generation != scan.head.generation {
            return Ok(CacheAnswer::all_of(scan, &[]));
        }
        kept.mark_used(scan.columns);
        kept.let_go_of_unused()?;
        if let Some(rows) = kept.rows_of(scan)? {
            return Ok(CacheAnswer::Held(rows));
        }
        let columns: Vec<usize> = kept.columns.keys().copied().collect();
        match kept.continues(scan) {
            Some(from) => Ok(CacheAnswer::Ask { from, columns }),
            None => Ok(CacheAnswer::all_of(scan, &columns)),
        }
    }

    /// Adds what the front answered, the rows of the look with `from < seq` and these columns; the
    /// rows of the scan, or `None` when what they follow was let go meanwhile.
    pub fn add(
        &self,
        scan: &Scan<'_>,
        from: i64,
        columns: &[usize],
        answer: &[RecordBatch],
    ) -> Result<Option<Vec<RecordBatch>>, QueryError> {
        let head = scan.head;
        let mut tails = self.lock();
        let kept = tails.get_mut(scan.stream);
        if let Some(kept) = kept
            && kept.generation == head.generation
            && kept.columns.keys().eq(columns)
            && kept.rows.through() >= from
        {
            kept.rows.committed(head.after);
            push(&kept.rows, from, head.through, answer)?;
            if let Some(rows) = kept.rows_of(scan)? {
                return Ok(Some(rows));
            }
        }
        if from != head.after {
            return Ok(None);
        }
        let rows = Tail::new(from, usize::MAX);
        push(&rows, from, head.through, answer)?;
        let now = Instant::now();
        let fresh = CachedTail {
            generation: head.generation,
            columns: columns.iter().map(|column| (*column, now)).collect(),
            rows,
        };
        let read = fresh.rows_of(scan)?;
        let is_newer = tails
            .get(scan.stream)
            .is_none_or(|kept| fresh.is_newer_than(kept));
        if is_newer {
            tails.insert(scan.stream, fresh);
        }
        Ok(read)
    }

    /// A tail is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, CachedTail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheAnswer {
    /// All rows of the look, with the columns of the scan and these.
    fn all_of(scan: &Scan<'_>, also: &[usize]) -> Self {
        let mut columns = [&[SEQ_INDEX], scan.columns, also].concat();
        columns.sort_unstable();
        columns.dedup();
        Self::Ask {
            from: scan.head.after,
            columns,
        }
    }
}

impl CachedTail {
    fn is_used(&self) -> bool {
        let used = self.columns.values();
        used.max().is_some_and(|used| used.elapsed() < KEPT_FOR)
    }

    fn mark_used(&mut self, columns: &[usize]) {
        for index in columns.iter().chain([&SEQ_INDEX]) {
            if let Some(used) = self.columns.get_mut(index) {
                *used = Instant::now();
            }
        }
    }

    fn let_go_of_unused(&mut self) -> Result<(), QueryError> {
        let before: Vec<usize> = self.columns.keys().copied().collect();
        self.columns.retain(|_, used| used.elapsed() < KEPT_FOR);
        if self.columns.len() == before.len() {
            return Ok(());
        }
        let left: Vec<usize> = (0..before.len())
            .filter(|index| self.columns.contains_key(&before[*index]))
            .collect();
        let view = self.rows.view();
        let batches = projected(&view.batches, &left)?;
        self.rows = Tail::new(view.after, usize::MAX);
        push(&self.rows, view.after, view.through, &batches)
    }

    fn has(&self, columns: &[usize]) -> bool {
        columns.iter().all(|index| self.columns.contains_key(index))
    }

    /// The sequence after which the front is to go on, where that is enough for a scan.
    fn continues(&self, scan: &Scan<'_>) -> Option<i64> {
        let view = (self.rows.view().after, self.rows.through());
        let meets = view.0 <= scan.after && view.1 >= scan.head.after;
        (meets && self.has(scan.columns)).then_some(view.1)
    }

    /// The rows of a scan, where all of them are here.
    fn rows_of(&self, scan: &Scan<'_>) -> Result<Option<Vec<RecordBatch>>, QueryError> {
        let view = self.rows.view();
        let is_here = view.after <= scan.after && view.through >= scan.head.through;
        if !is_here || !self.has(scan.columns) {
            return Ok(None);
        }
        let kept: Vec<usize> = self.columns.keys().copied().collect();
        let places = scan.columns.iter();
        let places = places.filter_map(|column| kept.binary_search(column).ok());
        let places: Vec<usize> = places.collect();
        let mut rows = newer_than(&view.batches, scan.after).map_err(from_datafusion)?;
        for batch in &mut rows {
            // Later looks of other statements may have added newer rows.
            let seqs = seqs(batch).map_err(from_datafusion)?;
            let length = seqs.partition_point(|seq| *seq <= scan.head.through);
            *batch = batch.slice(0, length);
        }
        rows.retain(|batch| batch.num_rows() > 0);
        Ok(Some(projected(&rows, &places)?))
    }

    /// Whether it serves later statements better than `kept`.
    fn is_newer_than(&self, kept: &Self) -> bool {
        let reaches = self.rows.through() >= kept.rows.through();
        let has_more = self.columns.len() > kept.columns.len();
        self.generation > kept.generation
            || self.generation == kept.generation && (reaches || has_more)
    }
}

fn projected(batches: &[RecordBatch], places: &[usize]) -> Result<Vec<RecordBatch>, QueryError> {
    let projected = batches.iter().map(|batch| batch.project(places));
    let projected: Result<_, _> = projected.collect();
    projected.map_err(|error| QueryError::internal(error.to_string()))
}

/// Adds the rows with `from < seq <= through`, each sequence as a whole.
fn push(tail: &Tail, from: i64, through: i64, batches: &[RecordBatch]) -> Result<(), QueryError> {
    let mut pieces: Vec<RecordBatch> = Vec::with_capacity(batches.len());
    for batch in batches {
        match pieces.last_mut() {
            // A message's rows may be cut into two frames.
            Some(last) if last_seq(last)? == first_seq(batch)? => {
                let joined = concat_batches(&batch.schema(), [&*last, batch]);
                *last = joined.map_err(|error| QueryError::internal(error.to_string()))?;
            }
            _ => pieces.push(batch.clone()),
        }
    }
    let mut first = from + 1;
    let count = pieces.len();
    for (index, batch) in pieces.into_iter().enumerate() {
        let last = match last_seq(&batch)? {
            // Sequences without rows, as of repeated messages, may follow.
            _ if index + 1 == count => through,
            Some(seq) => seq,
            None => continue,
        };
        tail.push(&DecodedRows {
            first,
            last,
            batch,
            duplicates: 0,
            rejected: 0,
        });
        first = last + 1;
    }
    Ok(())
}

fn first_seq(batch: &RecordBatch) -> Result<Option<i64>, QueryError> {
    Ok(seqs(batch).map_err(from_datafusion)?.first().copied())
}

fn last_seq(batch: &RecordBatch) -> Result<Option<i64>, QueryError> {
    Ok(seqs(batch).map_err(from_datafusion)?.last().copied())
}
