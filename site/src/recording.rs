//! What a journal says, in order: states, steps, and the places where something is missing.

use std::path::PathBuf;

use crate::entry::{Memory, StepEntry};
use crate::journal::{Archive, Content, JournalError, SegmentPlace};
use crate::moment::Moment;

/// Holes that are described; of further ones there is only the number.
const MOST_HOLES: usize = 20;

/// The journal of a controller whose folder is at hand.
///
/// # Errors
///
/// There is none: why, and what to do.
pub fn open(data_dir: &std::path::Path) -> Result<Archive, JournalError> {
    let folder: PathBuf = data_dir.join("journal");
    Archive::open(&folder).map_err(|error| JournalError {
        reason: format!(
            "{}; name the configuration of the controller with --config, or ask the running \
             controller with --url",
            error.reason
        ),
        ..error
    })
}

/// The segments that hold a period, with the one before it, which has the state that it begins in.
///
/// Times are microseconds since 1970; `to_us` is not part of the period.
pub fn of_period(places: &[SegmentPlace], from_us: i64, to_us: i64) -> &[SegmentPlace] {
    let begins_us = |place: &SegmentPlace| place.begins.map(|begins| begins.utc_us);
    let first = places
        .iter()
        .rposition(|place| begins_us(place).is_some_and(|begins| begins <= from_us))
        .unwrap_or(0);
    let end = places
        .iter()
        .position(|place| begins_us(place).is_some_and(|begins| begins >= to_us))
        .unwrap_or(places.len());
    places.get(first..end).unwrap_or_default()
}

/// One thing that a journal says.
#[derive(Debug)]
pub enum Piece {
    /// The state before the next step, as it was written beside the steps.
    Snapshot {
        /// The state.
        memory: Box<Memory>,
        /// The next step is the first after a start: the state does not follow on the step before.
        is_first: bool,
    },
    /// A step.
    Step(Box<Step>),
    /// Steps are missing before the next one: where and why.
    Hole(String),
}

/// A step with its place.
#[derive(Debug)]
pub struct Step {
    /// The journal: the sequence of the first step after a start of the controller.
    pub journal: u64,
    /// Its sequence.
    pub seq: u64,
    /// Whether it is the first after a start.
    pub is_first: bool,
    /// What was written.
    pub entry: StepEntry,
    /// Its line in the file.
    pub line: String,
}

/// Follows a journal segment by segment.
#[derive(Debug, Default)]
pub struct Follower {
    last: Option<(u64, u64)>,
    holes: Vec<String>,
    further_holes: usize,
}

impl Follower {
    /// Hands the pieces of the next segment on, each once, until something says stop.
    ///
    /// # Errors
    ///
    /// What `take` says.
    pub fn follow<E>(
        &mut self,
        content: Content,
        mut take: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut snapshot = content.snapshot;
        for raw in content.entries {
            if self.last.is_some_and(|(_, seq)| raw.seq <= seq) {
                // The state before a step that was taken already is of no use.
                snapshot = None;
                continue;
            }
            let is_first = self.last.is_none_or(|(journal, _)| journal != raw.journal);
            let missing = match self.last {
                Some((journal, seq)) if journal == raw.journal => raw.seq - seq - 1,
                // A journal begins with the step that gives it its number.
                Some(_) => raw.seq.saturating_sub(raw.journal),
                None => 0,
            };
            if missing > 0 {
                let hole = format!("{missing} steps before step {} are missing", raw.seq);
                self.hole(hole, &mut take)?;
            }
            self.last = Some((raw.journal, raw.seq));
            if let Some(text) = snapshot.take() {
                match serde_json::from_str(&text) {
                    Ok(memory) => take(Piece::Snapshot {
                        memory: Box::new(memory),
                        is_first,
                    })?,
                    Err(error) => {
                        let hole = format!("the state before step {}: {error}", raw.seq);
                        self.hole(hole, &mut take)?;
                    }
                }
            }
            match serde_json::from_str(&raw.text) {
                Ok(entry) => take(Piece::Step(Box::new(Step {
                    journal: raw.journal,
                    seq: raw.seq,
                    is_first,
                    line: raw.line(),
                    entry,
                })))?,
                Err(error) => self.hole(format!("step {}: {error}", raw.seq), &mut take)?,
            }
        }
        // The end of the newest segment may not be written yet; what is lost shows in the next one.
        Ok(())
    }

    fn hole<E>(
        &mut self,
        hole: String,
        mut take: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.holes.len() < MOST_HOLES {
            true => self.holes.push(hole.clone()),
            false => self.further_holes += 1,
        }
        take(Piece::Hole(hole))
    }

    /// Every hole that was found.
    pub fn holes(&self) -> Vec<String> {
        let mut holes = self.holes.clone();
        if self.further_holes > 0 {
            holes.push(format!("and {} more", self.further_holes));
        }
        holes
    }
}

/// From when to when something was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecordedPeriod {
    /// The first step.
    pub first: Option<Moment>,
    /// The last step.
    pub last: Option<Moment>,
    /// Steps.
    pub steps: u64,
}

impl RecordedPeriod {
    /// Takes a step in.
    pub fn add(&mut self, now: Moment) {
        self.first = self.first.or(Some(now));
        self.last = Some(now);
        self.steps += 1;
    }
}
