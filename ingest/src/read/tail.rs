//! The rows that no committed snapshot holds yet, in memory, so that an answer can be complete up
//! to now.
//!
//! Bounded by bytes: what does not fit is not held, and the view says through which sequence it is
//! complete. Once commits have passed what is missing, the view is whole again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::read::decode::DecodedRows;

/// The generation that the next tail, or the next reset, begins.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);
/// Neighbours are merged up to this many rows, so that a view has few batches.
const MERGE_ROWS: usize = 32_768;

/// What a query reads.
#[derive(Debug, Clone)]
pub struct TailView {
    /// Rows of the raw table's schema, in order. They may begin before `after`: filter `seq > S` of
    /// the snapshot used.
    pub batches: Vec<RecordBatch>,
    /// Rows up to here are in committed snapshots.
    pub after: i64,
    /// Every row after `after` up to here is in `batches`; at least `after`.
    pub through: i64,
    /// Whether rows beyond `through` are known to exist that are not held.
    pub truncated: bool,
    /// Views of one generation count the same sequences; each reset begins one of its own, which no
    /// tail of this process had before.
    pub generation: u64,
}

/// The rows of one stream. Shared by reference; every method takes a moment.
///
/// A query takes the view first and refreshes its snapshot after: then the snapshot holds at least
/// everything up to `after` and the view the rest, with no gap. [`Tail::committed`] must be called
/// only after the commit is visible to readers.
#[derive(Debug)]
pub struct Tail {
    held: Mutex<Held>,
    capacity: usize,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Held {
    chunks: VecDeque<Piece>,
    after: i64,
    /// The newest sequence that was pushed, held or not.
    newest: i64,
    /// The last sequence that was pushed, whether commits were ahead of it or not.
    pushed: i64,
    bytes: usize,
    generation: u64,
}

#[derive(Debug)]
struct Piece {
    first: i64,
    last: i64,
    batch: RecordBatch,
    bytes: usize,
}

impl Tail {
    /// An empty tail after the committed table sequence `after`, holding at most `capacity` bytes.
    pub fn new(after: i64, capacity: usize) -> Self {
        Self {
            held: Mutex::new(Held::empty(after)),
            capacity,
            version: watch::channel(0).0,
        }
    }

    /// Adds the next rows. Rows that are held or committed already are ignored.
    pub fn push(&self, chunk: &DecodedRows) {
        let mut held = self.lock();
        let before = held.bytes;
        held.newest = held.newest.max(chunk.last);
        held.pushed = held.pushed.max(chunk.last);
        if let Some(piece) = fresh_part(&held, chunk) {
            let empty = piece.batch.num_rows() == 0;
            if empty || held.bytes + piece.bytes <= self.capacity {
                held.append(piece);
            } else {
                metrics::counter!("headframe_tail_dropped_rows_total")
                    .increment(piece.batch.num_rows() as u64);
            }
        }
        account(before, held.bytes);
        drop(held);
        self.version.send_modify(|version| *version += 1);
    }

    /// Lets go of the rows up to `table_seq`, which readers now find in a snapshot.
    pub fn committed(&self, table_seq: i64) {
        let mut held = self.lock();
        let before = held.bytes;
        held.after = held.after.max(table_seq);
        held.newest = held.newest.max(table_seq);
        while held
            .chunks
            .front()
            .is_some_and(|piece| piece.last <= held.after)
        {
            if let Some(piece) = held.chunks.pop_front() {
                held.bytes -= piece.bytes;
            }
        }
        account(before, held.bytes);
        drop(held);
        self.version.send_modify(|version| *version += 1);
    }

    /// Forgets everything and begins anew after `after`: the table's sequences count in another
    /// stream now.
    pub fn reset(&self, after: i64) {
        let mut held = self.lock();
        account(held.bytes, 0);
        *held = Held::empty(after);
        drop(held);
        self.version.send_modify(|version| *version += 1);
    }

    /// How far whoever reads the stream has come, even when commits are ahead of it.
    pub fn pushed(&self) -> i64 {
        self.lock().pushed
    }

    /// How far the view reaches: [`TailView::through`] without the rows.
    pub fn through(&self) -> i64 {
        self.lock().through()
    }

    /// The rows held, contiguous from the committed sequence on.
    pub fn view(&self) -> TailView {
        let held = self.lock();
        let mut batches = Vec::new();
        let mut through = held.after;
        for piece in &held.chunks {
            if piece.first > through + 1 {
                break;
            }
            through = through.max(piece.last);
            if piece.batch.num_rows() > 0 {
                batches.push(piece.batch.clone());
            }
        }
        TailView {
            batches,
            after: held.after,
            through,
            truncated: held.newest > through,
            generation: held.generation,
        }
    }

    /// Waits until the view reaches `table_seq`; `false` when it does not by the deadline.
    pub async fn wait_through(&self, table_seq: i64, deadline: Instant) -> bool {
        let mut changes = self.version.subscribe();
        loop {
            changes.borrow_and_update();
            if self.lock().through() >= table_seq {
                return true;
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return self.lock().through() >= table_seq,
            }
        }
    }

    /// Notes each change of what is held.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn empty(after: i64) -> Self {
        Self {
            chunks: VecDeque::new(),
            after,
            newest: after,
            pushed: after,
            bytes: 0,
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn through(&self) -> i64 {
        let mut through = self.after;
        for piece in &self.chunks {
            if piece.first > through + 1 {
                break;
            }
            through = through.max(piece.last);
        }
        through
    }

    /// Appends and merges neighbours of similar size, so that each row is copied a logarithmic
    /// number of times.
    fn append(&mut self, piece: Piece) {
        self.bytes += piece.bytes;
        self.chunks.push_back(piece);
        while self.chunks.len() >= 2 {
            let (Some(right), Some(left)) = (self.chunks.pop_back(), self.chunks.pop_back()) else {
                return;
            };
            let rows = left.batch.num_rows() + right.batch.num_rows();
            let similar =
                left.batch.num_rows() <= right.batch.num_rows() * 2 || right.batch.num_rows() == 0;
            let merged = (left.last + 1 == right.first && rows <= MERGE_ROWS && similar)
                .then(|| merge(&left, &right))
                .flatten();
            match merged {
                Some(piece) => {
                    self.bytes = self.bytes + piece.bytes - left.bytes - right.bytes;
                    self.chunks.push_back(piece);
                }
                None => {
                    self.chunks.push_back(left);
                    self.chunks.push_back(right);
                    return;
                }
            }
        }
    }
}

fn merge(left: &Piece, right: &Piece) -> Option<Piece> {
    let (first, last) = (left.first, right.last);
    let batch = match (left.batch.num_rows(), right.batch.num_rows()) {
        (_, 0) => left.batch.clone(),
        (0, _) => right.batch.clone(),
        _ => concat_batches(&left.batch.schema(), [&left.batch, &right.batch]).ok()?,
    };
    Some(Piece {
        first,
        last,
        bytes: size(&batch),
        batch,
    })
}

/// The part of a chunk that is neither committed nor held.
fn fresh_part(held: &Held, chunk: &DecodedRows) -> Option<Piece> {
    let known = held
        .chunks
        .back()
        .map_or(held.after, |piece| piece.last.max(held.after));
    if chunk.last < chunk.first || chunk.last <= known {
        return None;
    }
    if chunk.first > known {
        return Some(Piece {
            first: chunk.first,
            last: chunk.last,
            batch: chunk.batch.clone(),
            bytes: size(&chunk.batch),
        });
    }
    let seqs = chunk
        .batch
        .column_by_name("seq")?
        .as_primitive_opt::<Int64Type>()?;
    let mask: BooleanArray = seqs.values().iter().map(|&seq| Some(seq > known)).collect();
    let batch = filter_record_batch(&chunk.batch, &mask).ok()?;
    Some(Piece {
        first: known + 1,
        last: chunk.last,
        bytes: size(&batch),
        batch,
    })
}

impl Drop for Tail {
    fn drop(&mut self) {
        account(self.lock().bytes, 0);
    }
}

/// The gauge counts the tails of all streams together.
fn account(before: usize, after: usize) {
    metrics::gauge!("headframe_tail_bytes").increment(after as f64 - before as f64);
}

fn size(batch: &RecordBatch) -> usize {
    if batch.num_rows() == 0 {
        0
    } else {
        batch.get_array_memory_size()
    }
}
