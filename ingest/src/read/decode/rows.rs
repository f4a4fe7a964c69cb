//! The rows of one or more messages, good and bad, before they are given places and columns.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use headframe_schemas::{Stream, arrow_stream, codec};

use crate::read::message::Message;

/// How much of a reason is kept.
const MAX_REASON_CHARS: usize = 500;

/// Where a row's values are.
#[derive(Debug, Clone)]
pub enum RowValues {
    /// Row `row` of the decoded batch.
    Good {
        /// Index in the batch.
        row: u32,
    },
    /// Nowhere: it was rejected.
    Bad {
        /// Why.
        reason: String,
        /// Its bytes.
        payload: Bytes,
    },
}

/// One row.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Index among the messages given.
    pub message: usize,
    /// Index in its message.
    pub row: usize,
    /// Its values.
    pub values: RowValues,
    /// Whether it was not taken before.
    pub fresh: bool,
}

/// Rows in the order of (message, row).
#[derive(Debug)]
pub struct Rows {
    /// The good rows' values, with the columns of [`codec::wire_schema`].
    pub batch: Option<RecordBatch>,
    /// Every row.
    pub entries: Vec<Entry>,
}

/// The rows of consecutive NDJSON messages. A message without a line is one rejected row: it must
/// not vanish.
pub fn ndjson(stream: &dyn Stream, messages: &[Message]) -> Rows {
    let mut lines: Vec<&[u8]> = Vec::with_capacity(messages.len());
    let mut entries: Vec<Entry> = Vec::with_capacity(messages.len());
    let mut owners: Vec<usize> = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let before = entries.len();
        for (row, (_, line)) in codec::lines(&message.payload).enumerate() {
            owners.push(entries.len());
            lines.push(line);
            entries.push(good(index, row, 0));
        }
        if entries.len() == before {
            entries.push(bad(
                index,
                0,
                "the message is empty".to_owned(),
                message.payload.clone(),
            ));
        }
    }
    if lines.is_empty() {
        return Rows {
            batch: None,
            entries,
        };
    }
    let decoded = codec::decode_ndjson(stream, &lines);
    for (row, &line) in (0_u32..).zip(&decoded.lines) {
        entries[owners[line]].values = RowValues::Good { row };
    }
    for reject in decoded.rejects {
        let entry = &mut entries[owners[reject.line]];
        let payload = messages[entry.message]
            .payload
            .slice_ref(lines[reject.line]);
        entry.values = RowValues::Bad {
            reason: clip(reject.reason),
            payload,
        };
    }
    Rows {
        batch: Some(decoded.batch),
        entries,
    }
}

/// The rows of an Arrow message; one rejected row with the whole body when it cannot be read.
pub fn arrow(stream: &dyn Stream, message: &Message) -> Rows {
    let decoded = match codec::decode_arrow(stream, &message.payload) {
        Ok(decoded) => decoded,
        Err(reason) => return unreadable(message, reason),
    };
    let total = decoded.lines.len() + decoded.rejects.len();
    if total == 0 {
        return unreadable(message, "the message has no rows".to_owned());
    }
    let mut entries: Vec<Entry> = (0..total).map(|row| good(0, row, 0)).collect();
    for (row, &line) in (0_u32..).zip(&decoded.lines) {
        entries[line].values = RowValues::Good { row };
    }
    let original = if decoded.rejects.is_empty() {
        None
    } else {
        whole(&message.payload)
    };
    for reject in decoded.rejects {
        let payload = original
            .as_ref()
            .map(|batch| as_json(&batch.slice(reject.line, 1)))
            .unwrap_or_default();
        entries[reject.line].values = RowValues::Bad {
            reason: clip(reject.reason),
            payload,
        };
    }
    Rows {
        batch: Some(decoded.batch),
        entries,
    }
}

/// The row that was refused at HTTP ingest.
pub fn refused(message: &Message) -> Rows {
    let reason = message
        .reason
        .clone()
        .unwrap_or_else(|| "refused at HTTP ingest".to_owned());
    unreadable(message, reason)
}

/// One rejected row that is the whole message.
pub fn unreadable(message: &Message, reason: String) -> Rows {
    Rows {
        batch: None,
        entries: vec![bad(0, 0, clip(reason), message.payload.clone())],
    }
}

fn good(message: usize, row: usize, at: u32) -> Entry {
    Entry {
        message,
        row,
        values: RowValues::Good { row: at },
        fresh: true,
    }
}

fn bad(message: usize, row: usize, reason: String, payload: Bytes) -> Entry {
    Entry {
        message,
        row,
        values: RowValues::Bad { reason, payload },
        fresh: true,
    }
}

/// A reason may quote its input, which may be long.
fn clip(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARS) {
        reason.truncate(end);
    }
    reason
}

/// The batch as its sender made it, for showing a rejected row.
pub fn whole(body: &[u8]) -> Option<RecordBatch> {
    let (schema, parts) = arrow_stream::read(body).ok()?;
    concat_batches(&schema, &parts).ok()
}

/// A row of a batch as JSON, which a human can read and send again.
pub fn as_json(row: &RecordBatch) -> Bytes {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    match writer.write(row).and_then(|()| writer.finish()) {
        Ok(()) => Bytes::from(writer.into_inner().trim_ascii_end().to_vec()),
        Err(_) => Bytes::new(),
    }
}
