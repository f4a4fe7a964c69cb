//! The thread that writes the journal, and what waits for it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::JournalSettings;
use super::segment;

/// Steps that may wait for the thread; beyond that the disk hangs, and nobody waits.
const WAKEUPS: usize = 4;
/// The name of a segment whose first lines are not on the disk yet.
const UNFINISHED: &str = "unfinished";
const HANGS: &str = "the disk has taken nothing for several steps";
const ENDED: &str = "the thread that writes the journal has ended";

/// How the disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// Everything is on it.
    Written,
    /// Entries wait in memory: why.
    Trouble(String),
}

/// An entry with its line, and the snapshot that stands before it.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub seq: u64,
    pub snapshot: Option<String>,
    pub line: String,
}

/// What the thread and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub journal: u64,
    /// Set after trouble: the next entry begins a segment with a snapshot.
    pub wants_snapshot: AtomicBool,
    /// Entries that did not fit in memory any more.
    pub lost: AtomicU64,
    waiting: Mutex<VecDeque<Pending>>,
    trouble: Mutex<Option<String>>,
}

impl Shared {
    /// Entries after `seq` that are not on the disk.
    pub fn waiting_after(&self, seq: u64) -> Vec<(u64, String)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let after = waiting.iter().filter(|pending| pending.seq > seq);
        after
            .filter_map(|pending| Some((pending.seq, segment::entry_of_line(&pending.line)?)))
            .collect()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The handle of the thread; it ends when this is dropped and everything was tried once.
#[derive(Debug)]
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    wakeups: mpsc::SyncSender<oneshot::Sender<DiskState>>,
    max_waiting_bytes: usize,
}

impl Writer {
    pub fn start(folder: PathBuf, journal: u64, settings: JournalSettings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            journal,
            wants_snapshot: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            waiting: Mutex::default(),
            trouble: Mutex::default(),
        });
        let (wakeups, wakes) = mpsc::sync_channel::<oneshot::Sender<DiskState>>(WAKEUPS);
        let max_waiting_bytes = settings.max_waiting_bytes;
        let mut thread = Thread {
            folder,
            shared: shared.clone(),
            file: None,
            max_bytes: settings.max_bytes,
        };
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while let Ok(answer) = wakes.recv() {
                    let state = thread.write_all();
                    // The step may have gone on without the answer.
                    let _gone = answer.send(state);
                }
            })?;
        Ok(Self {
            shared,
            wakeups,
            max_waiting_bytes,
        })
    }

    /// Hands an entry to the thread and waits for it, at most so long.
    pub async fn write(&self, pending: Pending, patience: Duration) -> DiskState {
        self.enqueue(pending);
        let (answer, answered) = oneshot::channel();
        match self.wakeups.try_send(answer) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let known = self.shared.trouble();
                return DiskState::Trouble(known.unwrap_or_else(|| HANGS.to_owned()));
            }
            Err(TrySendError::Disconnected(_)) => {
                return DiskState::Trouble(ENDED.to_owned());
            }
        }
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(state)) => state,
            Ok(Err(_)) => DiskState::Trouble(ENDED.to_owned()),
            Err(_) => {
                let known = self.shared.trouble();
                let slow = || format!("the disk took no entry within {patience:?}");
                DiskState::Trouble(known.unwrap_or_else(slow))
            }
        }
    }

    fn enqueue(&self, pending: Pending) {
        let waiting = &self.shared.waiting;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(pending);
        let size = |one: &Pending| one.line.len() + one.snapshot.as_ref().map_or(0, String::len);
        let mut bytes: usize = waiting.iter().map(size).sum();
        while bytes > self.max_waiting_bytes && waiting.len() > 1 {
            if let Some(oldest) = waiting.pop_front() {
                bytes -= size(&oldest);
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                // What follows cannot be replayed from a snapshot before the lost entry.
                self.shared.wants_snapshot.store(true, Ordering::Relaxed);
            }
        }
    }
}

struct Thread {
    folder: PathBuf,
    shared: Arc<Shared>,
    file: Option<File>,
    max_bytes: u64,
}

impl Thread {
    /// Writes everything that waits, or leaves it there.
    fn write_all(&mut self) -> DiskState {
        let waiting = {
            let waiting = &self.shared.waiting;
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().cloned().collect::<Vec<_>>()
        };
        let Some(last) = waiting.last().map(|pending| pending.seq) else {
            return DiskState::Written;
        };
        match self.write(&waiting) {
            Ok(()) => {
                let shared = &self.shared;
                let mut left = shared
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                left.retain(|pending| pending.seq > last);
                drop(left);
                if shared.trouble().is_some() {
                    shared.set_trouble(None);
                    shared.wants_snapshot.store(true, Ordering::Relaxed);
                }
                DiskState::Written
            }
            Err(error) => {
                // A file in which a line may be torn is not written on.
                self.file = None;
                let path = self.folder.display();
                let reason = format!("cannot write the journal in {path}: {error}");
                self.shared.set_trouble(Some(reason.clone()));
                DiskState::Trouble(reason)
            }
        }
    }

    fn write(&mut self, waiting: &[Pending]) -> io::Result<()> {
        for pending in waiting {
            let snapshot = pending.snapshot.as_deref().unwrap_or_default();
            let text = format!("{snapshot}{}", pending.line);
            match &mut self.file {
                Some(file) if pending.snapshot.is_none() => file.write_all(text.as_bytes())?,
                file => {
                    if let Some(file) = file.take() {
                        file.sync_data()?;
                    }
                    self.file = Some(self.open_segment(pending.seq, &text)?);
                }
            }
        }
        match &self.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    /// A new segment with its first lines: it gets its name when they are on the disk, so that an
    /// empty segment is one that was damaged.
    fn open_segment(&self, seq: u64, text: &str) -> io::Result<File> {
        super::make_folder(&self.folder)?;
        self.remove_oldest()?;
        let mut attempt = 0;
        let mut path = self.folder.join(segment::name(seq, attempt));
        while path.try_exists()? {
            attempt += 1;
            path = self.folder.join(segment::name(seq, attempt));
        }
        let unfinished = self.folder.join(UNFINISHED);
        // What an attempt left there is nobody's.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&unfinished, &path)?;
        // The name must last, too.
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let segments = segment::list(&self.folder)?;
        let mut bytes: u64 = segments.iter().map(|one| one.bytes).sum();
        for oldest in &segments {
            if bytes <= self.max_bytes {
                break;
            }
            std::fs::remove_file(&oldest.path)?;
            bytes -= oldest.bytes;
        }
        Ok(())
    }
}
