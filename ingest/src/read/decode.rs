//! Turns messages into rows of the raw table, as a pure function of what was seen before and the
//! messages.
//!
//! Nothing fails here: what cannot be read becomes a rejected row with its bytes and a reason. The
//! same messages cut into other calls give the same rows, so that every process that reads a stream
//! agrees on them.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use headframe_schemas::message::Format;
use headframe_schemas::{Stream, Table};

use crate::read::message::Message;
use crate::read::state::{DecoderState, MessageFingerprint};

mod columns;
pub(crate) mod rows;

use rows::{RowValues, Rows};

/// The rows of a closed range of messages.
#[derive(Debug, Clone)]
pub struct DecodedRows {
    /// The table sequence of the first message, inclusive.
    pub first: i64,
    /// The table sequence of the last message, inclusive; below `first` when there was no message.
    pub last: i64,
    /// Exactly the raw table's schema, in the order of (seq, row): good and rejected rows,
    /// duplicates dropped.
    pub batch: RecordBatch,
    /// Rows dropped because they were taken before.
    pub duplicates: u64,
    /// Rejected rows in the batch.
    pub rejected: u64,
}

/// Decodes the messages of one stream, in order.
pub struct Decoder {
    stream: &'static dyn Stream,
    schema: SchemaRef,
    base: i64,
    state: DecoderState,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("stream", &self.stream.name())
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that continues from `state`. Table sequence = `base` + stream sequence.
    pub fn new(stream: &'static dyn Stream, base: i64, state: DecoderState) -> Self {
        Self {
            stream,
            schema: Table::raw(stream).schema(),
            base,
            state,
        }
    }

    /// What must be kept to continue after the last message.
    pub fn state(&self) -> &DecoderState {
        &self.state
    }

    /// Decodes the next messages. They must be contiguous, as [`crate::Reader`] hands them over.
    pub fn decode(&mut self, messages: &[Message]) -> DecodedRows {
        let mut parts = Vec::new();
        let mut counts = Counts::default();
        let mut from = 0;
        while from < messages.len() {
            let format = Format::from_content_type(messages[from].content_type.as_deref());
            let same = |message: &&Message| {
                Format::from_content_type(message.content_type.as_deref()) == format
            };
            let count = match &format {
                // Lines of neighbours are read together: the JSON reader is far cheaper a batch
                // than a message.
                Ok(Format::Ndjson) => messages[from..].iter().take_while(same).count(),
                _ => 1,
            };
            let rows = match &format {
                Ok(Format::Ndjson) => rows::ndjson(self.stream, &messages[from..from + count]),
                Ok(Format::Arrow) => rows::arrow(self.stream, &messages[from]),
                Ok(Format::Refused) => rows::refused(&messages[from]),
                Err(reason) => rows::unreadable(&messages[from], reason.clone()),
            };
            parts.push(self.assemble(&messages[from..from + count], rows, &mut counts));
            from += count;
        }
        let place = |message: &Message| {
            self.base + i64::try_from(message.seq).unwrap_or(i64::MAX - self.base.max(0))
        };
        let after = self.base + self.state.last_message.as_ref().map_or(0, |last| last.seq);
        let (first, last) = match (messages.first(), messages.last()) {
            (Some(first), Some(last)) => (place(first), place(last)),
            _ => (after + 1, after),
        };
        if let Some(message) = messages.last() {
            self.state.last_message = Some(MessageFingerprint::from_message(message));
        }
        // Every part has this very schema, which is all that joining asks for.
        let batch = match parts.len() {
            1 => parts.remove(0),
            _ => concat_batches(&self.schema, &parts)
                .unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone())),
        };
        DecodedRows {
            first,
            last,
            batch,
            duplicates: counts.duplicates,
            rejected: counts.rejected,
        }
    }

    /// Drops duplicates and builds the columns.
    fn assemble(&mut self, messages: &[Message], rows: Rows, counts: &mut Counts) -> RecordBatch {
        let Rows { batch, mut entries } = rows;
        let named = batch.as_ref().and_then(columns::Identities::from_batch);
        let mut at = 0;
        while at < entries.len() {
            let index = entries[at].message;
            let message = &messages[index];
            let end = at
                + entries[at..]
                    .iter()
                    .take_while(|entry| entry.message == index)
                    .count();
            self.claim(message, &mut entries[at..end], named.as_ref());
            at = end;
        }
        let before = entries.len();
        entries.retain(|entry| entry.fresh);
        counts.duplicates += (before - entries.len()) as u64;
        counts.rejected += entries
            .iter()
            .filter(|entry| matches!(entry.values, RowValues::Bad { .. }))
            .count() as u64;
        columns::build(
            &self.schema,
            self.base,
            messages,
            batch.as_ref(),
            &entries,
            named.as_ref(),
        )
    }

    /// Marks the rows of one message that were taken before.
    fn claim(
        &mut self,
        message: &Message,
        entries: &mut [rows::Entry],
        named: Option<&columns::Identities>,
    ) {
        let seen = &mut self.state.seen;
        // The usual message: numbered by its headers, complete, and new as a whole.
        // Decided by this message alone: its neighbours in the call must not matter.
        let own = |entry: &rows::Entry| match entry.values {
            RowValues::Good { row } => named.and_then(|named| named.of_row(row)),
            RowValues::Bad { .. } => None,
        };
        if entries.iter().all(|entry| own(entry).is_none())
            && let (Some((producer, first)), true) = (message.identity(0), contiguous(entries))
            && seen.insert_run(producer, first, entries.len(), message.time_ns)
        {
            return;
        }
        for entry in entries {
            if let Some((producer, number)) = own(entry).or_else(|| message.identity(entry.row)) {
                entry.fresh = seen.insert(producer, number, message.time_ns);
            }
        }
    }
}

/// Whether the rows are 0, 1, 2, …
fn contiguous(entries: &[rows::Entry]) -> bool {
    entries
        .iter()
        .enumerate()
        .all(|(index, entry)| entry.row == index)
}

#[derive(Debug, Default)]
struct Counts {
    duplicates: u64,
    rejected: u64,
}
