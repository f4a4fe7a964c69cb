//! Cuts a batch into messages: one per key, none larger than the server takes.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use bytes::Bytes;
use headframe_schemas::stream::subject;
use headframe_schemas::{Stream, codec};

use super::PublishError;

/// A message must not have more rows than this, so that a reader's memory stays bounded however
/// well they compress.
pub const MAX_ROWS: usize = 32_768;

/// One message to be.
#[derive(Debug)]
pub struct Part {
    /// Where it goes.
    pub subject: String,
    /// Arrow IPC.
    pub bytes: Bytes,
    /// How many rows.
    pub rows: usize,
}

/// The parts, by key, each at most `limit` bytes unless a single row is larger, and never more than
/// `hard` bytes.
pub fn split(
    stream: &'static dyn Stream,
    batch: &RecordBatch,
    limit: usize,
    hard: usize,
) -> Result<Vec<Part>, PublishError> {
    let named = codec::PRODUCER_COLUMNS
        .iter()
        .any(|column| batch.column_by_name(column.name).is_some());
    let schema = if named {
        codec::wire_schema(stream)
    } else {
        stream.schema()
    };
    let batch = codec::conform(&schema, batch).map_err(PublishError::Encode)?;
    let mut parts = Vec::new();
    for (key, rows) in by_key(stream, &batch)? {
        let subject = subject(stream, &key);
        let mut from = 0;
        while from < rows.num_rows() {
            let count = (rows.num_rows() - from).min(MAX_ROWS);
            encode(
                stream,
                &subject,
                &rows.slice(from, count),
                limit,
                hard,
                &mut parts,
            )?;
            from += count;
        }
    }
    Ok(parts)
}

fn by_key(
    stream: &dyn Stream,
    batch: &RecordBatch,
) -> Result<Vec<(String, RecordBatch)>, PublishError> {
    let Some(column) = batch.column_by_name(stream.key()) else {
        return Err(PublishError::Encode(format!(
            "column {} is missing",
            stream.key()
        )));
    };
    let keys = column.as_string_view();
    let key = |row: usize| {
        if keys.is_null(row) {
            ""
        } else {
            keys.value(row)
        }
    };
    let first = key(0);
    if (1..batch.num_rows()).all(|row| key(row) == first) {
        return Ok(vec![(first.to_owned(), batch.clone())]);
    }
    let mut groups: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let index = u32::try_from(row).map_err(|_| {
            PublishError::Encode("the batch has more than 4 billion rows".to_owned())
        })?;
        groups.entry(key(row)).or_default().push(index);
    }
    let take = |(key, rows): (&str, Vec<u32>)| {
        let group = take_record_batch(batch, &UInt32Array::from(rows))
            .map_err(|error| PublishError::Encode(error.to_string()))?;
        Ok((key.to_owned(), group))
    };
    groups.into_iter().map(take).collect()
}

fn encode(
    stream: &'static dyn Stream,
    subject: &str,
    rows: &RecordBatch,
    limit: usize,
    hard: usize,
    parts: &mut Vec<Part>,
) -> Result<(), PublishError> {
    let bytes = codec::encode_arrow(rows).map_err(PublishError::Encode)?;
    let count = rows.num_rows();
    if bytes.len() > limit && count > 1 {
        let half = count / 2;
        encode(stream, subject, &rows.slice(0, half), limit, hard, parts)?;
        return encode(
            stream,
            subject,
            &rows.slice(half, count - half),
            limit,
            hard,
            parts,
        );
    }
    if bytes.len() > hard {
        let reason = format!("one row is {} bytes, the limit is {hard}", bytes.len());
        return Err(PublishError::TooLarge {
            stream: stream.name(),
            reason,
        });
    }
    parts.push(Part {
        subject: subject.to_owned(),
        bytes,
        rows: count,
    });
    Ok(())
}
