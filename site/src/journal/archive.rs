//! The files of a journal, read while its controller runs or long after it has ended. Nothing is
//! written, and nothing is locked.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::JournalError;
use super::segment::{self, Content, Segment};
use crate::moment::Moment;

/// Lines of a segment that tell when it begins: a snapshot and an entry.
const FIRST_LINES: u64 = 2;

/// The segments that a folder had when it was opened.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
    segments: Vec<Segment>,
}

/// One segment, and when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPlace {
    /// The file's name.
    pub name: String,
    /// The sequence of its first entry.
    pub first_seq: u64,
    /// When its first entry was written; none when there is no entry that can be read.
    pub begins: Option<Moment>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The part of an entry that says when it was written.
#[derive(Deserialize)]
struct Timed {
    now: Moment,
}

impl Archive {
    /// Lists the segments of a folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or there is nothing in it.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let fail = |reason: String| JournalError {
            folder: folder.to_owned(),
            reason,
        };
        let segments = segment::list(folder).map_err(|error| fail(error.to_string()))?;
        if segments.is_empty() {
            return Err(fail("there is no journal".to_owned()));
        }
        Ok(Self {
            folder: folder.to_owned(),
            segments,
        })
    }

    /// Every segment, the oldest first. Blocks on the disk: looks into each.
    pub fn places(&self) -> Vec<SegmentPlace> {
        let place = |one: &Segment| {
            let name = one.path.file_name().and_then(|name| name.to_str());
            SegmentPlace {
                name: name.unwrap_or_default().to_owned(),
                first_seq: one.first_seq,
                begins: first_moment(&one.path).ok().flatten(),
                bytes: one.bytes,
            }
        };
        self.segments.iter().map(place).collect()
    }

    /// Whether there is such a segment.
    pub fn contains(&self, name: &str) -> bool {
        self.segment(name).is_ok()
    }

    /// Reads a segment. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// There is no such segment, or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Content, JournalError> {
        let known = self.segment(name)?;
        segment::read(known, 0).map_err(|error| self.fail(name, &error))
    }

    /// A segment as it is on the disk. Blocks on it.
    ///
    /// # Errors
    ///
    /// There is no such segment, or it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, JournalError> {
        let known = self.segment(name)?;
        std::fs::read(&known.path).map_err(|error| self.fail(name, &error))
    }

    /// Understands a segment that came from elsewhere.
    ///
    /// # Errors
    ///
    /// None that memory could give.
    pub fn parse(name: &str, bytes: &[u8]) -> io::Result<Content> {
        segment::read_lines(bytes, name, 0, u64::MAX)
    }

    fn segment(&self, name: &str) -> Result<&Segment, JournalError> {
        let mut all = self.segments.iter();
        let found = all.find(|one| one.path.file_name().is_some_and(|known| known == name));
        found.ok_or_else(|| JournalError {
            folder: self.folder.clone(),
            reason: format!("there is no segment {name}; the oldest are removed in time"),
        })
    }

    fn fail(&self, name: &str, error: &io::Error) -> JournalError {
        JournalError {
            folder: self.folder.clone(),
            reason: format!("{name}: {error}"),
        }
    }
}

fn first_moment(path: &Path) -> io::Result<Option<Moment>> {
    let lines = BufReader::new(File::open(path)?);
    let content = segment::read_lines(lines, "", 0, FIRST_LINES)?;
    let first = content.entries.first();
    let timed = first.and_then(|raw| serde_json::from_str::<Timed>(&raw.text).ok());
    Ok(timed.map(|timed| timed.now))
}
