//! A segment: one file of the journal, its lines and their checksums.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes that one line may have; a longer one was not written by us.
const MOST_LINE_BYTES: u64 = 64 * 1024 * 1024;
/// The greatest sequence that a segment may begin with.
const MOST_SEQ: u64 = 1 << 62;
/// Hexadecimal digits of a checksum.
const SUM_DIGITS: usize = 16;

/// A file.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The sequence of its first entry, which its name says.
    pub first_seq: u64,
    /// Its size.
    pub bytes: u64,
}

/// What a segment says.
#[derive(Debug, Default)]
pub struct Content {
    /// The state before its first entry, as JSON.
    pub snapshot: Option<String>,
    /// Entries.
    pub entries: Vec<RawEntry>,
    /// Why reading ended before the end of the file.
    pub complaint: Option<String>,
    /// It ended at a last line without an end, as when the writer was killed.
    pub is_torn: bool,
}

/// An entry that is not understood yet.
#[derive(Debug)]
pub struct RawEntry {
    /// The sequence of the first entry after the start that wrote it.
    pub journal: u64,
    /// Its own.
    pub seq: u64,
    /// JSON.
    pub text: String,
}

impl RawEntry {
    /// Its line as it stands in the segment, without the checksum and the end of the line.
    pub fn line(&self) -> String {
        let Self { journal, seq, text } = self;
        format!("{{\"entry\":{{\"journal\":{journal},\"seq\":{seq},\"entry\":{text}}}}}")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Snapshot {
        journal: u64,
        seq: u64,
        #[serde(borrow)]
        state: &'a RawValue,
    },
    Entry {
        journal: u64,
        seq: u64,
        #[serde(borrow)]
        entry: &'a RawValue,
    },
}

/// The line of a snapshot before the entry `seq`.
pub(super) fn snapshot_line<S: Serialize>(
    journal: u64,
    seq: u64,
    state: &S,
) -> serde_json::Result<String> {
    let state = serde_json::value::to_raw_value(state)?;
    let line = Line::Snapshot {
        journal,
        seq,
        state: &state,
    };
    Ok(with_sum(&serde_json::to_string(&line)?))
}

/// The line of an entry.
pub(super) fn entry_line<E: Serialize>(
    journal: u64,
    seq: u64,
    entry: &E,
) -> serde_json::Result<String> {
    let entry = serde_json::value::to_raw_value(entry)?;
    let line = Line::Entry {
        journal,
        seq,
        entry: &entry,
    };
    Ok(with_sum(&serde_json::to_string(&line)?))
}

/// The entry in a line that [`entry_line`] made.
pub(super) fn entry_of_line(line: &str) -> Option<String> {
    match parse(line.strip_suffix('\n')?)? {
        Line::Entry { entry, .. } => Some(entry.get().to_owned()),
        Line::Snapshot { .. } => None,
    }
}

/// A line of JSON with its checksum before it.
pub fn with_sum(json: &str) -> String {
    format!("{} {json}\n", sum(json))
}

/// The JSON of such a line, given without its end; nothing where it was changed.
pub fn checked(line: &str) -> Option<&str> {
    let (digits, json) = line.split_at_checked(SUM_DIGITS)?;
    let json = json.strip_prefix(' ')?;
    (digits == sum(json)).then_some(json)
}

fn sum(json: &str) -> String {
    let mut digits = blake3::hash(json.as_bytes()).to_hex().to_string();
    digits.truncate(SUM_DIGITS);
    digits
}

fn parse(line: &str) -> Option<Line<'_>> {
    serde_json::from_str(checked(line)?).ok()
}

/// The segments of a folder, the oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(first_seq) = name.to_str().and_then(first_seq) else {
            continue;
        };
        let bytes = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            // Removed between the listing and this look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        found.push(Segment {
            path: entry.path(),
            first_seq,
            bytes,
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A name for a segment that begins with `seq`; `attempt` tells files of the same entry apart.
pub(super) fn name(seq: u64, attempt: u32) -> String {
    format!("{seq:020}-{attempt:04}.journal")
}

/// Names of files in a folder that look like segments and are none of ours.
pub(super) fn foreign_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_strange = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".journal") && first_seq(name).is_none())
    };
    entries
        .map(|entry| entry.path())
        .filter(is_strange)
        .collect()
}

fn first_seq(name: &str) -> Option<u64> {
    let (seq, attempt) = name.strip_suffix(".journal")?.split_once('-')?;
    attempt.parse::<u32>().ok()?;
    // What nobody reaches by counting was not written by us.
    seq.parse::<u64>().ok().filter(|seq| *seq <= MOST_SEQ)
}

/// Reads a segment: its snapshot and the entries after `seq`.
pub(super) fn read(segment: &Segment, seq: u64) -> io::Result<Content> {
    let name = segment.path.display().to_string();
    read_lines(
        BufReader::new(File::open(&segment.path)?),
        &name,
        seq,
        u64::MAX,
    )
}

/// Reads at most so many lines of a segment: its snapshot and the entries after `seq`. Complaints
/// name it by `name`.
pub(super) fn read_lines(
    mut lines: impl BufRead,
    name: &str,
    seq: u64,
    most: u64,
) -> io::Result<Content> {
    let mut content = Content::default();
    let mut line = Vec::new();
    for number in 1..=most {
        line.clear();
        let mut limited = io::Read::take(&mut lines, MOST_LINE_BYTES);
        if limited.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line
            .strip_suffix(b"\n")
            .and_then(|text| std::str::from_utf8(text).ok());
        match text.and_then(parse) {
            Some(Line::Snapshot { state, .. }) => {
                content.snapshot = Some(state.get().to_owned());
            }
            Some(Line::Entry {
                journal,
                seq: at,
                entry,
            }) if at > seq => content.entries.push(RawEntry {
                journal,
                seq: at,
                text: entry.get().to_owned(),
            }),
            Some(Line::Entry { .. }) => {}
            None => {
                content.complaint = Some(format!("{name}, line {number}: torn or changed"));
                content.is_torn = !line.ends_with(b"\n") && (line.len() as u64) < MOST_LINE_BYTES;
                break;
            }
        }
    }
    Ok(content)
}
