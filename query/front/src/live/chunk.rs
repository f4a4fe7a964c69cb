//! Rows as the bytes that every subscriber of the same view is sent: written once and shared.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use axum::body::Bytes;

use crate::error::QueryError;
use crate::format::ndjson;
use crate::live::place_ids::PlaceIds;
use crate::live::position::Position;

/// Rows that are written together, so that one subscriber does not hold up the others.
pub(super) const CHUNK_ROWS: usize = 256;
/// What stands before the id of a row, and between it and the row.
const BEFORE_ID: &str = "id: ";
const BEFORE_DATA: &str = "\nevent: row\ndata: ";

/// Some rows of a view as events, in order.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The place after its last row.
    pub(super) through: Position,
    bytes: Bytes,
    rows: Vec<RowPlace>,
}

/// Where a row stands among the bytes of its chunk.
#[derive(Debug)]
struct RowPlace {
    position: Position,
    /// Where its JSON begins.
    data: u32,
    /// Where its event ends.
    end: u32,
}

/// The rows of a chunk that a subscriber has not had yet.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    chunk: Arc<Chunk>,
    first: usize,
}

impl Chunk {
    /// The rows of a batch, whose places are given beside it and written as `ids` says.
    pub(super) fn encode(
        ids: &PlaceIds,
        through: Position,
        places: &[Position],
        shown: &RecordBatch,
    ) -> Result<Self, QueryError> {
        let lines = ndjson::lines(shown)?;
        let mut bytes = Vec::with_capacity(lines.len() + places.len() * 40);
        let mut rows = Vec::with_capacity(places.len());
        let length = |bytes: &Vec<u8>| {
            let fits = u32::try_from(bytes.len());
            fits.map_err(|_| QueryError::internal("the rows of a chunk are too long"))
        };
        for (position, line) in places.iter().zip(lines.split(|byte| *byte == b'\n')) {
            let id = ids.write(*position)?;
            // Writing to memory does not fail.
            let _ = write!(bytes, "{BEFORE_ID}{id}{BEFORE_DATA}");
            let data = length(&bytes)?;
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\n\n");
            rows.push(RowPlace {
                position: *position,
                data,
                end: length(&bytes)?,
            });
        }
        Ok(Self {
            through,
            bytes: bytes.into(),
            rows,
        })
    }

    /// Where the event of a row begins.
    fn begin(&self, row: usize) -> usize {
        let before = row.checked_sub(1);
        before.map_or(0, |last| self.rows[last].end as usize)
    }

    /// Bytes that it holds.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<RowPlace>()
    }

    /// The rows after a place; none when there are none.
    pub(super) fn rows_after(self: &Arc<Self>, position: Position) -> Option<Rows> {
        let first = self.rows.partition_point(|row| row.position <= position);
        (first < self.rows.len()).then(|| Rows {
            chunk: self.clone(),
            first,
        })
    }
}

impl Rows {
    /// As Server-Sent Events.
    pub(crate) fn events(&self) -> Bytes {
        self.chunk.bytes.slice(self.chunk.begin(self.first)..)
    }

    /// Each row: its id and its JSON.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.chunk.rows.iter().enumerate().skip(self.first);
        // The id and the JSON are written as UTF-8.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        rows.map(move |(index, row)| {
            let (data, end) = (row.data as usize, row.end as usize);
            let id = self.chunk.begin(index) + BEFORE_ID.len()..data - BEFORE_DATA.len();
            let bytes = &self.chunk.bytes;
            (text(&bytes[id]), text(&bytes[data..end - 2]))
        })
    }
}

/// The places of a batch's rows, by its columns `seq` and `row` of these names.
pub(super) fn places(
    batch: &RecordBatch,
    seq: &str,
    row: &str,
) -> Result<Vec<Position>, QueryError> {
    let absent = || QueryError::internal("rows of a stream came without their places");
    let seqs = batch.column_by_name(seq).ok_or_else(absent)?;
    let seqs = seqs.as_primitive_opt::<Int64Type>().ok_or_else(absent)?;
    let rows = batch.column_by_name(row).ok_or_else(absent)?;
    let rows = rows.as_primitive_opt::<Int32Type>().ok_or_else(absent)?;
    if seqs.null_count() + rows.null_count() > 0 {
        return Err(absent());
    }
    let pairs = seqs.values().iter().zip(rows.values().iter());
    Ok(pairs
        .map(|(seq, row)| Position::after_row(*seq, i64::from(*row)))
        .collect())
}
