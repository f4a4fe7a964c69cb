//! The controller's own durable log, on the disk of its machine: what it saw and decided, step by
//! step, so that a restart goes on where it was and nothing that was decided is unsaid.
//!
//! A segment is a file of lines, each a checksum and a JSON object. It begins with a snapshot of
//! the state before its first entry, so that the state at any entry is the snapshot with the
//! entries up to there replayed. A line that is torn or changed ends what is believed of its
//! segment.
//!
//! A thread of its own writes: a disk that is slow, full or gone never holds up a decision. What it
//! could not write waits in memory, bounded, and is written when the disk takes it again.

mod segment;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

pub use writer::DiskState;
use writer::{Pending, Writer};

/// The journal of one controller: entries `E`, snapshots of state `S`.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    writer: Writer,
    next_seq: u64,
    first_seq: u64,
    has_snapshot: bool,
    since_snapshot: u64,
    settings: JournalSettings,
}

/// How a journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Entries between two snapshots, each of which begins a segment.
    pub entries_in_segment: u64,
    /// Bytes of segments that are kept; the oldest go first.
    pub max_bytes: u64,
    /// Bytes of entries that wait in memory while the disk takes none; the oldest go first.
    pub max_waiting_bytes: usize,
    /// How long a step waits until its entry is on the disk.
    pub patience: Duration,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            entries_in_segment: 720,
            max_bytes: 2 * 1024 * 1024 * 1024,
            max_waiting_bytes: 48 * 1024 * 1024,
            patience: Duration::from_millis(500),
        }
    }
}

/// Why a journal cannot be used.
#[derive(Debug, Error)]
#[error("the journal in {folder}: {reason}")]
pub struct JournalError {
    /// Its folder.
    pub folder: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What a journal held when it was opened.
#[derive(Debug)]
pub struct Recovered<S, E> {
    /// The newest snapshot that can be read, with the sequence of the entry after it.
    pub snapshot: Option<S>,
    /// The entries after the snapshot, in order.
    pub entries: Vec<E>,
    /// What could not be read: which file and why.
    pub complaints: Vec<String>,
}

/// One entry as it is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<E> {
    /// The journal it is of: the sequence of the first entry after a start.
    pub journal: u64,
    /// Its sequence; grows over restarts, with gaps between them.
    pub seq: u64,
    /// What was written.
    pub entry: E,
}

impl Journal {
    /// Opens the folder, which is made, and reads what a restart needs. `first_seq` must be greater
    /// than any sequence of an earlier start: seconds since 1970 shifted by 16 bits are.
    pub fn open<S: DeserializeOwned, E: DeserializeOwned>(
        folder: &Path,
        first_seq: u64,
        settings: JournalSettings,
    ) -> Result<(Self, Recovered<S, E>), JournalError> {
        let fail = |reason: String| JournalError {
            folder: folder.to_owned(),
            reason,
        };
        make_folder(folder).map_err(|error| fail(error.to_string()))?;
        let segments = segment::list(folder).map_err(|error| fail(error.to_string()))?;
        let (recovered, last_seq) = recover(&segments);
        let first_seq = first_seq.max(last_seq.map_or(0, |last| last + 1));
        let writer = Writer::start(folder.to_owned(), first_seq, settings.clone())
            .map_err(|error| fail(error.to_string()))?;
        let journal = Self {
            folder: folder.to_owned(),
            writer,
            next_seq: first_seq,
            first_seq,
            has_snapshot: false,
            since_snapshot: 0,
            settings,
        };
        Ok((journal, recovered))
    }

    /// The journal's number: the sequence that its first entry has.
    pub fn id(&self) -> u64 {
        self.first_seq
    }

    /// The sequence that the next entry has.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Appends an entry that follows on `state`, and waits until it is on the disk, for as long as
    /// the settings say. The answer is its sequence and how the disk is.
    pub async fn append<S: Serialize, E: Serialize>(
        &mut self,
        state: &S,
        entry: &E,
    ) -> (u64, DiskState) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let is_due = !self.has_snapshot
            || self.since_snapshot >= self.settings.entries_in_segment
            || self
                .writer
                .shared
                .wants_snapshot
                .swap(false, Ordering::Relaxed);
        let mut snapshot = None;
        if is_due {
            snapshot = segment::snapshot_line(self.first_seq, seq, state).ok();
            self.has_snapshot = snapshot.is_some();
            self.since_snapshot = 0;
        }
        self.since_snapshot += 1;
        match segment::entry_line(self.first_seq, seq, entry) {
            Ok(line) => {
                let pending = Pending {
                    seq,
                    snapshot,
                    line,
                };
                let state = self.writer.write(pending, self.settings.patience).await;
                (seq, state)
            }
            Err(error) => (
                seq,
                DiskState::Trouble(format!("the entry cannot be written as JSON: {error}")),
            ),
        }
    }

    /// What reads the journal while it is written.
    pub fn reader(&self) -> JournalReader {
        JournalReader {
            folder: self.folder.clone(),
            shared: self.writer.shared.clone(),
        }
    }
}

/// Reads entries in order, those that wait for the disk too.
#[derive(Debug, Clone)]
pub struct JournalReader {
    folder: PathBuf,
    shared: std::sync::Arc<writer::Shared>,
}

impl JournalReader {
    /// Entries after `seq`, the oldest first, at most so many; none when there are no newer ones.
    /// Blocks on the disk.
    pub fn read_after<E: DeserializeOwned>(
        &self,
        seq: u64,
        most: usize,
    ) -> Result<Vec<Read<E>>, JournalError> {
        let fail = |error: io::Error| JournalError {
            folder: self.folder.clone(),
            reason: error.to_string(),
        };
        let mut found: BTreeMap<u64, Read<E>> = BTreeMap::new();
        // Before the files: what the disk takes meanwhile is in both, and never in neither.
        for (at, text) in self.shared.waiting_after(seq) {
            if let Ok(entry) = serde_json::from_str(&text) {
                let journal = self.shared.journal;
                found.insert(
                    at,
                    Read {
                        journal,
                        seq: at,
                        entry,
                    },
                );
            }
        }
        let waiting = found.len();
        let segments = segment::list(&self.folder).map_err(fail)?;
        for (index, one) in segments.iter().enumerate() {
            // What a later segment begins with, no earlier one has.
            let is_over = segments
                .get(index + 1)
                .is_some_and(|next| next.first_seq <= seq + 1);
            if is_over {
                continue;
            }
            let content = segment::read(one, seq).map_err(fail)?;
            for raw in content.entries {
                if let Ok(entry) = serde_json::from_str(&raw.text) {
                    let read = Read {
                        journal: raw.journal,
                        seq: raw.seq,
                        entry,
                    };
                    found.entry(raw.seq).or_insert(read);
                }
                if found.len() >= most + waiting {
                    return Ok(found.into_values().take(most).collect());
                }
            }
        }
        Ok(found.into_values().take(most).collect())
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// What a restart needs, and the last sequence that there is.
fn recover<S: DeserializeOwned, E: DeserializeOwned>(
    segments: &[segment::Segment],
) -> (Recovered<S, E>, Option<u64>) {
    let mut recovered = Recovered {
        snapshot: None,
        entries: Vec::new(),
        complaints: Vec::new(),
    };
    let mut last_seq = None;
    // From the newest back to the first with a snapshot that can be read.
    for one in segments.iter().rev() {
        let content = match segment::read(one, 0) {
            Ok(content) => content,
            Err(error) => {
                recovered
                    .complaints
                    .push(format!("{}: {error}", one.path.display()));
                continue;
            }
        };
        recovered.complaints.extend(content.complaint.clone());
        let newest = content.entries.last().map(|entry| entry.seq);
        last_seq = last_seq.max(newest).max(Some(one.first_seq));
        let mut entries = Vec::new();
        let mut is_readable = true;
        for raw in &content.entries {
            match serde_json::from_str(&raw.text) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    let path = one.path.display();
                    let complaint = format!("{path}, entry {}: {error}", raw.seq);
                    recovered.complaints.push(complaint);
                    is_readable = false;
                    break;
                }
            }
        }
        // What follows an entry that cannot be read cannot be replayed.
        if is_readable {
            entries.append(&mut recovered.entries);
        }
        recovered.entries = entries;
        let Some(text) = &content.snapshot else {
            continue;
        };
        match serde_json::from_str(text) {
            Ok(state) => {
                recovered.snapshot = Some(state);
                break;
            }
            Err(error) => {
                let path = one.path.display();
                recovered
                    .complaints
                    .push(format!("{path}, snapshot: {error}"));
            }
        }
    }
    if recovered.snapshot.is_none() {
        recovered.entries.clear();
    }
    (recovered, last_seq)
}

#[cfg(test)]
mod tests;
