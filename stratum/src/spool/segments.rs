//! Segments: the spool's files, written at the end, read from the front, removed when all of one is
//! in JetStream.
//!
//! A file is written by one process in one go of its life and never again: after a restart, or once
//! it is being read, new records go into a new one. So what was read from a file stays what is in
//! it, and a torn tail is never written over.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

use super::frame::{self, Piece};
use super::record::SpoolRecord;

/// A spool's file that could not be handled.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The disk.
    #[error(
        "cannot {attempt} {path}: {source}; check that the disk has room and the folder may be \
         written"
    )]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Somebody else writes there.
    #[error("{0} is in use by another pool; stop it or choose another data folder")]
    Locked(PathBuf),
}

/// The files of one spool.
#[derive(Debug)]
pub struct Segments {
    folder: PathBuf,
    most: u64,
    closed: VecDeque<Closed>,
    active: Option<Active>,
    next: u64,
    _lock: File,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    number: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    number: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// What one segment held.
#[derive(Debug)]
pub struct Segment {
    /// Which one.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
    /// Its records, oldest first.
    pub records: Vec<SpoolRecord>,
    /// Records that could not be read; their bytes are set aside.
    pub damaged: u64,
}

impl Segments {
    /// Opens a folder, which is made when it is not there, for this process alone. Files grow to
    /// `most` bytes.
    pub fn open(folder: &Path, most: u64) -> Result<Self, SpoolError> {
        let aside = folder.join("aside");
        fs::create_dir_all(&aside).map_err(failed("make", &aside))?;
        let path = folder.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Locked(folder.to_owned()),
            TryLockError::Error(source) => failed("lock", &path)(source),
        })?;
        let mut closed = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
            let entry = entry.map_err(failed("list", folder))?;
            let Some(number) = entry.file_name().to_str().and_then(number_of) else {
                continue;
            };
            let bytes = entry
                .metadata()
                .map_err(failed("look at", &entry.path()))?
                .len();
            closed.push(Closed { number, bytes });
        }
        closed.sort_unstable_by_key(|segment| segment.number);
        let next = closed.last().map_or(1, |last| last.number + 1);
        Ok(Self {
            folder: folder.to_owned(),
            most,
            closed: closed.into(),
            active: None,
            next,
            _lock: lock,
        })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>()
            + self.active.as_ref().map_or(0, |active| active.bytes)
    }

    /// Writes frames behind all others and returns when the disk holds them. After an error they
    /// are not in the spool, and the next go into a new file.
    pub fn append(&mut self, frames: &[u8]) -> Result<(), SpoolError> {
        let mut active = match self.active.take() {
            Some(active) if active.bytes < self.most => active,
            full => {
                self.close(full);
                self.create()?
            }
        };
        let written = active
            .file
            .write_all(frames)
            .and_then(|()| active.file.sync_data());
        if let Err(source) = written {
            let error = failed("write", &active.path)(source);
            self.take_back(active);
            return Err(error);
        }
        active.bytes += frames.len() as u64;
        self.active = Some(active);
        Ok(())
    }

    /// The oldest segment, whole; nothing is written into it any more. `None` when the spool is
    /// empty.
    pub fn oldest(&mut self) -> Result<Option<Segment>, SpoolError> {
        if self.closed.is_empty() {
            let active = self.active.take();
            self.close(active);
        }
        let Some(&Closed { number, .. }) = self.closed.front() else {
            return Ok(None);
        };
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let mut segment = Segment {
            number,
            bytes: bytes.len() as u64,
            records: Vec::new(),
            damaged: 0,
        };
        for piece in frame::scan(&bytes) {
            match piece {
                Piece::Record(range) => match SpoolRecord::decode(&bytes[range.clone()]) {
                    Ok(record) => segment.records.push(record),
                    Err(reason) => self.damage(&mut segment, &bytes, range, &reason)?,
                },
                Piece::Damaged(range) => {
                    self.damage(&mut segment, &bytes, range, "its checksum is wrong")?
                }
                Piece::Torn(range) => {
                    tracing::warn!(path = %path.display(), bytes = range.len(), "a record whose \
                                                                                 writing was cut \
                                                                                 short is left \
                                                                                 out");
                }
            }
        }
        Ok(Some(segment))
    }

    /// Removes a segment whose records are all elsewhere.
    pub fn remove(&mut self, number: u64) -> Result<(), SpoolError> {
        let path = self.path(number);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path)(error)),
        }
        self.closed.retain(|segment| segment.number != number);
        Ok(())
    }

    /// Keeps bytes beside the spool for a human, under a name that tells where they come from.
    pub fn set_aside(&self, name: &str, bytes: &[u8]) -> Result<(), SpoolError> {
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let path = self.folder.join("aside").join(plain);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    fn damage(
        &self,
        segment: &mut Segment,
        bytes: &[u8],
        range: Range<usize>,
        reason: &str,
    ) -> Result<(), SpoolError> {
        let name = format!("{:020}-{}.damaged", segment.number, range.start);
        self.set_aside(&name, &bytes[range.clone()])?;
        segment.damaged += 1;
        let (number, offset) = (segment.number, range.start);
        tracing::error!(
            segment = number,
            offset,
            bytes = range.len(),
            reason,
            "a record of the spool is damaged; its bytes are kept in aside"
        );
        Ok(())
    }

    /// What was said not to be durable should not come back; if it does all the same, it is a whole
    /// row or a torn one. A file without a record goes, for with a full disk each attempt would
    /// leave one.
    fn take_back(&mut self, active: Active) {
        let cut = if active.bytes == 0 {
            fs::remove_file(&active.path)
        } else {
            active.file.set_len(active.bytes)
        };
        if let Err(source) = &cut {
            tracing::warn!(path = %active.path.display(), error = %source, "the spool may hold \
                                                                            rows that were \
                                                                            refused");
        }
        if active.bytes > 0 || cut.is_err() {
            self.close(Some(active));
        }
    }

    fn close(&mut self, active: Option<Active>) {
        if let Some(active) = active {
            self.closed.push_back(Closed {
                number: active.number,
                bytes: active.bytes,
            });
        }
    }

    fn create(&mut self) -> Result<Active, SpoolError> {
        let number = self.next;
        let path = self.path(number);
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("make", &path))?;
        self.next += 1;
        // Without this the file itself could be missing after a power cut, whatever was synced into
        // it.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync", &self.folder))?;
        Ok(Active {
            number,
            path,
            file,
            bytes: 0,
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.spool"))
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".spool")?.parse().ok()
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::File {
        attempt,
        path,
        source,
    }
}
