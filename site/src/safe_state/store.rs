//! The file, its lock, and a reserve of space for when the disk is full.
//!
//! A new file takes the place of the old one. Where none can be made, what is to be kept goes into
//! a reserve whose blocks were taken when there was space; the newer of both counts.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::{SafeState, StandingState};
use crate::control::output::Counters;
use crate::journal::{checked_line, line_with_sum};
use crate::moment::Moment;

const FILE: &str = "safety.json";
const NEW_FILE: &str = "safety.json.new";
const RESERVE: &str = "safety.reserve";
const LOCK: &str = "controller.lock";
/// Bytes of the reserve.
const RESERVED: usize = 256 * 1024;
/// Bytes that are read of a file; a longer one was not written by us.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// How long a step waits for the disk.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a start does: nothing is controlled yet, and what is slow is not broken.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

/// Why a controller cannot work with a folder.
#[derive(Debug, Error)]
#[error("data_dir {folder}: {reason}")]
pub struct OpenError {
    /// The folder.
    pub folder: PathBuf,
    /// What is wrong and what to do.
    pub reason: String,
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub struct Found {
    /// What an earlier start kept.
    pub state: Option<SafeState>,
    /// What is there and cannot be believed.
    pub damage: Vec<String>,
    /// What else is to be said.
    pub complaints: Vec<String>,
}

/// Keeps the state in its folder, which no other controller uses meanwhile.
#[derive(Debug)]
pub struct SafeStore {
    folder: PathBuf,
    number: u64,
    patience: Duration,
    written: Option<StandingState>,
    under_way: Option<(StandingState, oneshot::Receiver<io::Result<()>>)>,
    /// Held as long as the controller works; without it the folder cannot be written.
    _lock: Option<File>,
}

impl SafeStore {
    /// Locks the folder, which is made, and reads what is kept there. A folder that cannot be
    /// written is no error.
    ///
    /// # Errors
    ///
    /// Another controller works with it.
    pub fn open(folder: &Path) -> Result<(Self, Found), OpenError> {
        let mut found = Found::default();
        let mut builder = std::fs::DirBuilder::new();
        if let Err(error) = builder.recursive(true).mode(0o700).create(folder) {
            found
                .complaints
                .push(format!("{}: {error}", folder.display()));
        }
        let lock = lock(folder, &mut found)?;
        for name in [FILE, RESERVE] {
            match read(&folder.join(name), name == RESERVE) {
                Ok(Some(state)) => {
                    let known = found.state.as_ref().map_or(0, |known| known.number);
                    if state.number > known {
                        found.state = Some(state);
                    }
                }
                Ok(None) => {}
                Err(reason) => found.damage.push(format!("{name}: {reason}")),
            }
        }
        let number = found.state.as_ref().map_or(0, |state| state.number);
        let store = Self {
            folder: folder.to_owned(),
            number,
            patience: PATIENCE_AT_START,
            written: None,
            under_way: None,
            _lock: lock,
        };
        Ok((store, found))
    }

    /// Writes what is to be kept, when it changed, and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// Why it is not there; it is tried again at the next call.
    pub async fn keep(
        &mut self,
        kept: StandingState,
        counters: Counters,
        now: Moment,
    ) -> Result<(), String> {
        if self.under_way.is_some() {
            self.finish().await?;
        }
        if self.written.as_ref() == Some(&kept) {
            return Ok(());
        }
        self.number += 1;
        let state = SafeState {
            number: self.number,
            at: now,
            counters,
            kept: kept.clone(),
        };
        let json = serde_json::to_string(&state).map_err(|error| error.to_string())?;
        let (text, folder) = (line_with_sum(&json), self.folder.clone());
        let (answer, answered) = oneshot::channel();
        std::thread::Builder::new()
            .name("safety".to_owned())
            .spawn(move || {
                // The step may have gone on without the answer.
                let _gone = answer.send(write(&folder, &text));
            })
            .map_err(|error| error.to_string())?;
        self.under_way = Some((kept, answered));
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), String> {
        let Some((kept, answered)) = &mut self.under_way else {
            return Ok(());
        };
        let path = self.folder.join(FILE);
        let fail = |reason: &str| format!("cannot write {}: {reason}", path.display());
        let patience = std::mem::replace(&mut self.patience, PATIENCE);
        let Ok(ended) = tokio::time::timeout(patience, answered).await else {
            return Err(fail(&format!("nothing was taken within {patience:?}")));
        };
        let kept = std::mem::take(kept);
        self.under_way = None;
        match ended {
            Ok(Ok(())) => {
                self.written = Some(kept);
                Ok(())
            }
            Ok(Err(error)) => Err(fail(&error.to_string())),
            Err(_) => Err(fail("the thread that writes it has ended")),
        }
    }
}

/// Locks the folder. Without a place for the lock there is none, which is said.
fn lock(folder: &Path, found: &mut Found) -> Result<Option<File>, OpenError> {
    let path = folder.join(LOCK);
    let opened = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        // A disk that can only be read is locked, too.
        .or_else(|error| File::open(&path).map_err(|_| error));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => {
            found
                .complaints
                .push(format!("{}: {error}", path.display()));
            return Ok(None);
        }
    };
    match file.try_lock() {
        Ok(()) => {
            let pid = format!("{}\n", std::process::id());
            // It is for people; the lock holds without it.
            let _unsaid = file
                .set_len(0)
                .and_then(|()| file.write_all(pid.as_bytes()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut said = String::new();
            let _unsaid = file.take(32).read_to_string(&mut said);
            let who = match said.trim() {
                "" => "another controller".to_owned(),
                pid => format!("another controller, process {pid},"),
            };
            Err(OpenError {
                folder: folder.to_owned(),
                reason: format!("{who} works with it; stop that one, or name another folder"),
            })
        }
        Err(TryLockError::Error(error)) => {
            found
                .complaints
                .push(format!("{}: {error}", path.display()));
            Ok(None)
        }
    }
}

/// What a file keeps; nothing where there is none, or a reserve that was never used.
fn read(path: &Path, is_reserve: bool) -> Result<Option<SafeState>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let is_unused = bytes.first().is_none_or(|first| *first == 0);
    if is_reserve && is_unused {
        return Ok(None);
    }
    let line = bytes.split(|byte| *byte == b'\n').next();
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let json = line.and_then(checked_line).ok_or("torn or changed")?;
    let state = serde_json::from_str(json).map_err(|error| error.to_string())?;
    Ok(Some(state))
}

fn write(folder: &Path, text: &str) -> io::Result<()> {
    match replace(folder, text) {
        Ok(()) => {
            // What was torn there would be taken for damage at the next start.
            if read(&folder.join(RESERVE), true).is_err() {
                let _later = overwrite(folder, text);
            }
            let _later = reserve(folder);
            Ok(())
        }
        Err(error) => overwrite(folder, text).map_err(|_| error),
    }
}

fn replace(folder: &Path, text: &str) -> io::Result<()> {
    let path = folder.join(NEW_FILE);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&path, folder.join(FILE))?;
    // The name must last, too.
    File::open(folder)?.sync_all()
}

/// Takes the blocks of the reserve, once.
fn reserve(folder: &Path) -> io::Result<()> {
    let path = folder.join(RESERVE);
    if std::fs::metadata(&path).is_ok_and(|file| file.len() >= RESERVED as u64) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&vec![0; RESERVED])?;
    file.sync_all()
}

/// Writes into blocks that the disk has given already.
fn overwrite(folder: &Path, text: &str) -> io::Result<()> {
    if text.len() > RESERVED {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let path = folder.join(RESERVE);
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COUNTERS: Counters = Counters {
        command: 1,
        notice: 1,
        decision: 1,
    };
    const NOW: Moment = Moment {
        elapsed_ms: 5,
        utc_us: 7,
    };

    fn kept(segment: u64) -> StandingState {
        StandingState {
            segment,
            ..StandingState::default()
        }
    }

    fn found(folder: &Path) -> Found {
        SafeStore::open(folder).unwrap().1
    }

    #[tokio::test]
    async fn what_is_kept_is_found_again_and_any_changed_byte_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, new) = SafeStore::open(folder.path()).unwrap();
        assert!(new.state.is_none() && new.damage.is_empty());
        store.keep(kept(3), COUNTERS, NOW).await.unwrap();
        store.keep(kept(4), COUNTERS, NOW).await.unwrap();
        let second = SafeStore::open(folder.path()).unwrap_err().to_string();
        let pid = format!("process {}", std::process::id());
        assert!(second.contains(&pid), "{second}");
        drop(store);
        assert_eq!(found(folder.path()).state.unwrap().kept, kept(4));
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(!found(folder.path()).damage.is_empty(), "{place}");
        }
        std::fs::write(&path, "").unwrap();
        assert!(!found(folder.path()).damage.is_empty());
    }

    #[tokio::test]
    async fn where_no_new_file_can_be_made_the_reserve_is_used_until_one_can() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = SafeStore::open(folder.path()).unwrap();
        store.keep(kept(1), COUNTERS, NOW).await.unwrap();
        let block = folder.path().join(NEW_FILE);
        std::fs::create_dir(&block).unwrap();
        store.keep(kept(2), COUNTERS, NOW).await.unwrap();
        drop(store);
        let (mut store, two) = SafeStore::open(folder.path()).unwrap();
        assert_eq!(two.state.unwrap().kept, kept(2));
        std::fs::remove_file(folder.path().join(RESERVE)).unwrap();
        let error = store.keep(kept(3), COUNTERS, NOW).await.unwrap_err();
        assert!(error.contains(FILE), "{error}");
        std::fs::write(folder.path().join(RESERVE), "torn").unwrap();
        std::fs::remove_dir(block).unwrap();
        store.keep(kept(3), COUNTERS, NOW).await.unwrap();
        drop(store);
        let three = found(folder.path());
        assert_eq!(three.state.unwrap().kept, kept(3));
        assert_eq!(three.damage, Vec::<String>::new());
    }
}
