//! From the journal to JetStream: every fact once, in order, whenever there is a connection.
//!
//! The rows of an entry follow from the entry alone. They are numbered by stream within a journal,
//! and travel under those numbers, so that rows that are sent again after a crash or a lost answer
//! are known as the same: JetStream drops them within its window, and whoever decodes the stream
//! drops them for ever. What was sent is remembered in a file beside the journal; if that is lost,
//! everything in the journal is sent again under the same numbers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::{Nats, PublishError, Publisher, SequencedBatch, StreamSettings};
use headframe_ingest::{ProvisionError, provision_stream};
use headframe_schemas::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::journal::{JournalReader, Read};

/// Entries that are read at once.
const ENTRIES: usize = 128;
/// Rows in one message at most.
const ROWS: usize = 500;
/// Bytes of rows in one message at most.
const BYTES: usize = 256 * 1024;
/// Between two tries after a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// A row for a stream.
pub struct FactLine {
    /// Where it goes.
    pub stream: &'static dyn Stream,
    /// The value of the stream's key column.
    pub key: String,
    /// The row as a JSON object on one line.
    pub json: String,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// The journal of the last entry.
    journal: u64,
    /// The last entry whose rows are all in their streams.
    after: u64,
    /// The number of the next row of each stream.
    next: BTreeMap<String, i64>,
    /// Rows after these that are in their streams already, though not all of their entries are: the
    /// number of the next one of each stream. Not written down.
    #[serde(skip)]
    ahead: BTreeMap<String, i64>,
}

/// How far facts have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ForwardState {
    /// The last entry that was sent.
    pub sent_seq: u64,
    /// Why facts wait; nothing while they do not.
    pub trouble: Option<String>,
    /// Rows that no stream takes, since the start.
    pub refused_rows: u64,
    /// Entries of the journal that could not be read and were passed over, since the start.
    pub unreadable_entries: u64,
}

/// Sends facts.
pub struct Forwarder<E> {
    reader: JournalReader,
    nats: Nats,
    publisher: Publisher,
    site: String,
    cursor_path: PathBuf,
    rows: fn(u64, u64, &E) -> Vec<FactLine>,
    state: watch::Sender<ForwardState>,
}

impl<E: DeserializeOwned + Send + 'static> Forwarder<E> {
    /// Facts of the journal's entries, as `rows` makes them.
    pub fn new(
        reader: JournalReader,
        nats: Nats,
        publisher: Publisher,
        site: &str,
        cursor_path: PathBuf,
        rows: fn(u64, u64, &E) -> Vec<FactLine>,
    ) -> (Self, watch::Receiver<ForwardState>) {
        let (state, receiver) = watch::channel(ForwardState::default());
        let forwarder = Self {
            reader,
            nats,
            publisher,
            site: site.to_owned(),
            cursor_path,
            rows,
            state,
        };
        (forwarder, receiver)
    }

    /// Sends until it is stopped. `newest` tells of new entries.
    pub async fn run(self, mut newest: watch::Receiver<u64>, stop: CancellationToken) {
        let mut cursor = load(&self.cursor_path);
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => return,
                step = self.send_next(&mut cursor) => step,
            };
            let (trouble, is_idle) = match step {
                Ok(is_idle) => (None, is_idle),
                Err(reason) => (Some(reason), false),
            };
            let pause = trouble.is_some();
            self.state.send_if_modified(|state| {
                let before = state.clone();
                if before.trouble != trouble
                    && let Some(reason) = &trouble
                {
                    tracing::warn!(reason, "facts wait in the journal");
                }
                state.trouble.clone_from(&trouble);
                state.sent_seq = cursor.after;
                *state != before
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN), if pause => {}
                _ = newest.changed(), if is_idle => {}
                () = std::future::ready(()), if !pause && !is_idle => {}
            }
        }
    }

    /// Sends the rows of some entries; whether there were none.
    async fn send_next(&self, cursor: &mut Cursor) -> Result<bool, String> {
        let (reader, after) = (self.reader.clone(), cursor.after);
        let read = tokio::task::spawn_blocking(move || reader.read_after::<E>(after, ENTRIES));
        let entries = match read.await {
            Ok(Ok(read)) => {
                self.note_unreadable(&read.unreadable);
                read.entries
            }
            Ok(Err(error)) => return Err(error.to_string()),
            Err(error) => return Err(format!("the journal cannot be read: {error}")),
        };
        if entries.is_empty() {
            return Ok(true);
        }
        for group in entries.chunk_by(|a, b| a.journal == b.journal) {
            self.send_group(group, cursor).await?;
        }
        Ok(false)
    }

    /// Facts that never come are told of; what follows them does not wait.
    fn note_unreadable(&self, entries: &[(u64, String)]) {
        let Some((seq, reason)) = entries.first() else {
            return;
        };
        let count = entries.len() as u64;
        tracing::error!(seq, count, reason, "entries of the journal are passed over");
        self.state
            .send_modify(|state| state.unreadable_entries += count);
    }

    /// Entries of one journal.
    async fn send_group(&self, entries: &[Read<E>], cursor: &mut Cursor) -> Result<(), String> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        if first.journal != cursor.journal {
            cursor.journal = first.journal;
            cursor.next.clear();
            cursor.ahead.clear();
        }
        let mut next = cursor.next.clone();
        let producer: Arc<str> = format!("site.{}.{:x}", self.site, first.journal).into();
        let lines = entries
            .iter()
            .flat_map(|read| (self.rows)(read.journal, read.seq, &read.entry));
        let mut messages: Vec<SequencedBatch> = Vec::new();
        let mut open: BTreeMap<(&'static str, String), (SequencedBatch, String)> = BTreeMap::new();
        for line in lines {
            let name = line.stream.name();
            let number = next.entry(name.to_owned()).or_default();
            if *number < cursor.ahead.get(name).copied().unwrap_or(0) {
                *number += 1;
                continue;
            }
            let place = (name, line.key.clone());
            let full = |(batch, text): &(SequencedBatch, String)| {
                batch.rows >= ROWS || text.len() + line.json.len() > BYTES
            };
            // Numbers of a stream follow each other in one message, whatever the key.
            let is_broken = |(batch, _): &(SequencedBatch, String)| {
                batch.first + i64::try_from(batch.rows).unwrap_or(i64::MAX) != *number
            };
            if open
                .get(&place)
                .is_some_and(|one| full(one) || is_broken(one))
                && let Some(one) = open.remove(&place)
            {
                messages.push(closed(one));
            }
            let (batch, text) = open.entry(place).or_insert_with(|| {
                let batch = SequencedBatch {
                    stream: line.stream,
                    key: line.key.clone(),
                    producer: producer.clone(),
                    first: *number,
                    rows: 0,
                    text: bytes::Bytes::new(),
                };
                (batch, String::new())
            });
            batch.rows += 1;
            text.push_str(&line.json);
            text.push('\n');
            *number += 1;
        }
        messages.extend(open.into_values().map(closed));
        // Within a stream the numbers go up.
        messages.sort_by_key(|message| (message.stream.name(), message.first));
        for message in messages {
            self.send(&message).await?;
            let end = message.first + i64::try_from(message.rows).unwrap_or(i64::MAX);
            cursor.ahead.insert(message.stream.name().to_owned(), end);
        }
        cursor.after = last.seq;
        cursor.next = next;
        if let Err(error) = save(&self.cursor_path, cursor) {
            // The next start sends them again under the same numbers.
            tracing::debug!(%error, "what was sent could not be written down");
        }
        Ok(())
    }

    async fn send(&self, message: &SequencedBatch) -> Result<(), String> {
        let mut sent = self.publisher.publish_once(message).await;
        if let Err(PublishError::NoStream { stream }) = sent {
            let settings = StreamSettings::default();
            let made: Result<_, ProvisionError> =
                provision_stream(&self.nats.js, message.stream, &settings).await;
            made.map_err(|error| error.to_string())?;
            tracing::info!(stream, "the stream is made");
            sent = self.publisher.publish_once(message).await;
        }
        match sent {
            Ok(_) => Ok(()),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
                // No later try helps, and the rows after it must not wait for ever.
                tracing::error!(%error, ?message, "rows are refused and left out");
                let rows = message.rows as u64;
                self.state.send_modify(|state| state.refused_rows += rows);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn closed((batch, text): (SequencedBatch, String)) -> SequencedBatch {
    SequencedBatch {
        text: text.into(),
        ..batch
    }
}

/// What was sent, or nothing where the file cannot be read.
fn load(path: &Path) -> Cursor {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Cursor::default(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "everything is sent again");
            return Cursor::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "everything is sent again");
        Cursor::default()
    })
}

fn save(path: &Path, cursor: &Cursor) -> io::Result<()> {
    let next = path.with_extension("new");
    std::fs::write(&next, serde_json::to_vec(cursor)?)?;
    std::fs::rename(&next, path)
}
