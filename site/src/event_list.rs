//! The curtailments that were scored, the newest first, and where the journal has them.
//!
//! A file beside the journal keeps the list over restarts; an end that it lacks, because the
//! controller was killed meanwhile, is taken from the last steps of the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::episode::ScoredEvent;
use crate::journal::{Archive, Content, JournalError};
use crate::recording::{Follower, Piece};

/// Events that are kept; of older ones the journal knows.
pub const MOST_EVENTS: usize = 500;
/// Segments of the journal that may have an end that the file lacks.
const LAST_SEGMENTS: usize = 2;
/// Bytes that the file may have.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A scored curtailment with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacedEvent {
    /// `JOURNAL-DECISION`: the journal that its end is written in, hexadecimal, and the decision
    /// that began it. The columns `journal` and `event` of `curtailment_events` are the same.
    pub id: String,
    /// The journal.
    pub journal: u64,
    /// The step that its end is written in.
    pub seq: u64,
    /// What was written.
    pub scored: ScoredEvent,
}

impl PlacedEvent {
    /// An event that a step of a journal ended.
    pub fn new(journal: u64, seq: u64, scored: ScoredEvent) -> Self {
        Self {
            id: format!("{journal:x}-{}", scored.decision),
            journal,
            seq,
            scored,
        }
    }
}

/// The journal and the decision that an id names.
pub fn parse_id(id: &str) -> Option<(u64, u64)> {
    let (journal, decision) = id.split_once('-')?;
    Some((
        u64::from_str_radix(journal, 16).ok()?,
        decision.parse().ok()?,
    ))
}

/// The newest events, the newest first.
#[derive(Debug, Clone, Default)]
pub struct EventList {
    events: Vec<Arc<PlacedEvent>>,
}

impl EventList {
    fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("events.json")
    }

    /// Reads the list of a folder; empty where there is none.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        let file = Self::file(data_dir);
        match std::fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
            Ok(found) if found.len() > MOST_BYTES => {
                return Err(io::Error::other("events.json is too long"));
            }
            Ok(_) => {}
        }
        let events: Vec<PlacedEvent> = serde_json::from_slice(&std::fs::read(&file)?)?;
        let mut list = Self::default();
        for event in events.into_iter().rev() {
            list.add(event);
        }
        Ok(list)
    }

    /// The list of a folder, with what the end of its journal has beyond it. What cannot be read is
    /// said in the log and left out. Blocks.
    pub fn open(data_dir: &Path) -> Self {
        let mut list = Self::load(data_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "events.json is left out; the journal still has the events");
            Self::default()
        });
        let Ok(archive) = Archive::open(&data_dir.join("journal")) else {
            return list;
        };
        let places = archive.places();
        for place in places
            .iter()
            .skip(places.len().saturating_sub(LAST_SEGMENTS))
        {
            match archive.read(&place.name) {
                Ok(content) => for_each_scored_event(content, |event| list.add(event)),
                Err(error) => tracing::warn!(%error, "events of a segment are left out"),
            }
        }
        list
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    ///
    /// The disk does not take it.
    pub fn save(&self, data_dir: &Path) -> io::Result<()> {
        let new = data_dir.join("events.json.new");
        let events: Vec<&PlacedEvent> = self.events.iter().map(|one| &**one).collect();
        std::fs::write(&new, serde_json::to_vec(&events)?)?;
        std::fs::rename(new, Self::file(data_dir))
    }

    /// Adds an event, which is newer than all others, unless it is there.
    pub fn add(&mut self, event: PlacedEvent) {
        if self.get(&event.id).is_some() {
            return;
        }
        self.events.insert(0, Arc::new(event));
        self.events.truncate(MOST_EVENTS);
    }

    /// The newest first.
    pub fn events(&self) -> &[Arc<PlacedEvent>] {
        &self.events
    }

    /// An event by its id.
    pub fn get(&self, id: &str) -> Option<&Arc<PlacedEvent>> {
        self.events.iter().find(|one| one.id == id)
    }
}

/// Looks for an event in the files of a journal: the one of an id, or the newest. Blocks.
///
/// # Errors
///
/// The journal cannot be read.
pub fn search(archive: &Archive, id: Option<&str>) -> Result<Option<PlacedEvent>, JournalError> {
    let wanted = id.map(parse_id);
    if wanted == Some(None) {
        return Ok(None);
    }
    for place in archive.places().iter().rev() {
        let mut newest = None;
        for_each_scored_event(archive.read(&place.name)?, |event| {
            let is_it = wanted.flatten().is_none_or(|(journal, decision)| {
                event.journal == journal && event.scored.decision == decision
            });
            if is_it {
                newest = Some(event);
            }
        });
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// The ends of curtailments that a segment has, the oldest first.
fn for_each_scored_event(mut content: Content, mut take: impl FnMut(PlacedEvent)) {
    // Most steps end nothing; what does says so in its text.
    content.snapshot = None;
    content
        .entries
        .retain(|raw| raw.text.contains("\"events\":["));
    let taken: Result<(), std::convert::Infallible> =
        Follower::default().follow(content, |piece| {
            if let Piece::Step(step) = piece {
                for scored in step.entry.events {
                    take(PlacedEvent::new(step.journal, step.seq, scored));
                }
            }
            Ok(())
        });
    let Ok(()) = taken;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        assert_eq!(parse_id("18f2a-42"), Some((0x18f2a, 42)));
        for wrong in ["", "-", "x-1", "1-", "1-x", "1"] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }
}
