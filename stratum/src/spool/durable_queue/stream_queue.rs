//! A line: the rows of one stream and key on their way, gathered into messages to be, and the one
//! message under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::SequencedBatch;
use headframe_schemas::Stream;

use super::Priority;

/// A message that JetStream was offered and has not answered.
pub(super) struct InFlight<W> {
    pub(super) number: u64,
    pub(super) message: SequencedBatch,
    pub(super) priority: Priority,
    pub(super) waiters: Vec<W>,
    pub(super) since: Duration,
}

/// Rows that became a message.
pub(super) struct DequeuedBatch<W> {
    pub(super) message: SequencedBatch,
    pub(super) priority: Priority,
    pub(super) waiters: Vec<W>,
}

pub(super) struct StreamQueue<W> {
    stream: &'static dyn Stream,
    key: String,
    batches: VecDeque<Batch<W>>,
    pub(super) flight: Option<InFlight<W>>,
}

struct Batch<W> {
    text: Vec<u8>,
    /// That of its dearest row.
    priority: Priority,
    waiters: Vec<W>,
}

impl<W> StreamQueue<W> {
    pub(super) fn new(stream: &'static dyn Stream, key: String) -> Self {
        Self {
            stream,
            key,
            batches: VecDeque::new(),
            flight: None,
        }
    }

    pub(super) fn takes(&self, stream: &dyn Stream, key: &str) -> bool {
        self.stream.name() == stream.name() && self.key == key
    }

    /// Adds a row to the newest batch, or to a new one when that has enough rows or bytes.
    pub(super) fn gather(
        &mut self,
        line: Vec<u8>,
        priority: Priority,
        waiter: W,
        max_rows: usize,
        max_bytes: usize,
    ) {
        let has_place = |batch: &Batch<W>| {
            batch.waiters.len() < max_rows && batch.text.len() + line.len() < max_bytes
        };
        if !self.batches.back().is_some_and(has_place) {
            self.batches.push_back(Batch {
                text: Vec::new(),
                priority,
                waiters: Vec::new(),
            });
        }
        if let Some(batch) = self.batches.back_mut() {
            batch.text.extend_from_slice(&line);
            batch.text.push(b'\n');
            batch.priority = batch.priority.max(priority);
            batch.waiters.push(waiter);
        }
    }

    /// Bytes of all gathered rows.
    pub(super) fn gathered(&self) -> usize {
        self.batches.iter().map(|batch| batch.text.len()).sum()
    }

    /// The priority of the oldest batch.
    pub(super) fn next_class(&self) -> Option<Priority> {
        self.batches.front().map(|batch| batch.priority)
    }

    /// The size of the oldest batch.
    pub(super) fn next_bytes(&self) -> u64 {
        self.batches
            .front()
            .map_or(0, |batch| batch.text.len() as u64)
    }

    /// Numbers the oldest batch and makes a message of it.
    pub(super) fn take(
        &mut self,
        producer: &Arc<str>,
        next_row: &mut BTreeMap<&'static str, i64>,
    ) -> Option<DequeuedBatch<W>> {
        let Batch {
            text,
            priority,
            waiters,
        } = self.batches.pop_front()?;
        let rows = waiters.len();
        let next = next_row.entry(self.stream.name()).or_insert(1);
        let first = *next;
        // A batch has far fewer rows than i64 has numbers.
        *next += i64::try_from(rows).unwrap_or(i64::MAX / 2);
        let (stream, key, producer) = (self.stream, self.key.clone(), producer.clone());
        Some(DequeuedBatch {
            message: SequencedBatch {
                stream,
                key,
                producer,
                first,
                rows,
                text: text.into(),
            },
            priority,
            waiters,
        })
    }
}
