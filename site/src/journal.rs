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

mod archive;
mod recovery;
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

pub use archive::{Archive, SegmentPlace};
use recovery::recover;
pub use segment::{Content, RawEntry};
pub use segment::{checked as checked_line, with_sum as line_with_sum};
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
    newest_segment: u64,
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
    /// What of it is more than a last line that was torn when its writer was killed.
    pub damage: Vec<String>,
    /// The sequence that the newest segment begins with; none without segments.
    pub newest_segment: Option<u64>,
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

/// Some entries as they are read back.
#[derive(Debug, Clone, PartialEq)]
pub struct EntriesAfter<E> {
    /// The oldest first.
    pub entries: Vec<Read<E>>,
    /// Sequences before the last of them that hold no such entry, and why: the checksum is right,
    /// and another version wrote it.
    pub unreadable: Vec<(u64, String)>,
}

impl<E> EntriesAfter<E> {
    fn new(
        found: BTreeMap<u64, Read<E>>,
        mut unreadable: BTreeMap<u64, String>,
        most: usize,
    ) -> Self {
        let entries: Vec<Read<E>> = found.into_values().take(most).collect();
        let last = entries.last().map_or(0, |read| read.seq);
        unreadable.retain(|seq, _| *seq < last);
        Self {
            entries,
            unreadable: unreadable.into_iter().collect(),
        }
    }
}

impl Journal {
    /// Opens the folder, which is made, and reads what a restart needs. `first_seq` must be greater
    /// than any sequence of an earlier start: seconds since 1970 shifted by 16 bits are. A folder
    /// that cannot be read or made is a complaint, and entries wait in memory.
    ///
    /// # Errors
    ///
    /// The thread that writes cannot be started.
    pub fn open<S: DeserializeOwned, E: DeserializeOwned>(
        folder: &Path,
        first_seq: u64,
        settings: JournalSettings,
    ) -> Result<(Self, Recovered<S, E>), JournalError> {
        let fail = |reason: String| JournalError {
            folder: folder.to_owned(),
            reason,
        };
        let made = make_folder(folder);
        let listed = segment::list(folder);
        let (mut recovered, last_seq) = recover(listed.as_deref().unwrap_or_default());
        for error in [made.err(), listed.err()].into_iter().flatten() {
            let complaint = format!("{}: {error}", folder.display());
            // Where nothing is and nothing can be made, nothing was lost.
            if !matches!(folder.try_exists(), Ok(false)) {
                recovered.damage.push(complaint.clone());
            }
            recovered.complaints.push(complaint);
        }
        for path in segment::foreign_files(folder) {
            let path = path.display();
            let complaint = format!("{path}: no file of this journal; it is left alone");
            recovered.complaints.push(complaint);
        }
        let after_last = last_seq.map_or(0, |last: u64| last.saturating_add(1));
        let first_seq = first_seq.max(after_last);
        let writer = Writer::start(folder.to_owned(), first_seq, settings.clone())
            .map_err(|error| fail(error.to_string()))?;
        let journal = Self {
            folder: folder.to_owned(),
            writer,
            next_seq: first_seq,
            first_seq,
            has_snapshot: false,
            since_snapshot: 0,
            newest_segment: recovered.newest_segment.unwrap_or(0),
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

    /// The sequence that the newest segment begins with, as far as it is known to be on the disk;
    /// 0 before the first.
    pub fn newest_segment(&self) -> u64 {
        self.newest_segment
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
                let is_segment = pending.snapshot.is_some();
                let state = self.writer.write(pending, self.settings.patience).await;
                if is_segment && state == DiskState::Written {
                    self.newest_segment = seq;
                }
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
    /// The files, without entries that wait for the disk.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or there is nothing in it.
    pub fn archive(&self) -> Result<Archive, JournalError> {
        Archive::open(&self.folder)
    }

    /// Entries after `seq`, the oldest first, at most so many; none when there are no newer ones.
    /// Blocks on the disk.
    pub fn read_after<E: DeserializeOwned>(
        &self,
        seq: u64,
        most: usize,
    ) -> Result<EntriesAfter<E>, JournalError> {
        let fail = |error: io::Error| JournalError {
            folder: self.folder.clone(),
            reason: error.to_string(),
        };
        let mut found: BTreeMap<u64, Read<E>> = BTreeMap::new();
        let mut unreadable = BTreeMap::new();
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
                match serde_json::from_str(&raw.text) {
                    Ok(entry) => {
                        let read = Read {
                            journal: raw.journal,
                            seq: raw.seq,
                            entry,
                        };
                        found.entry(raw.seq).or_insert(read);
                    }
                    Err(error) => {
                        unreadable.insert(raw.seq, error.to_string());
                    }
                }
                if found.len() >= most + waiting {
                    return Ok(EntriesAfter::new(found, unreadable, most));
                }
            }
        }
        Ok(EntriesAfter::new(found, unreadable, most))
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(test)]
mod tests;
