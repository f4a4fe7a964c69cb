//! The hashing threads: each has its own machine and its own stripe of the nonces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

use crate::randomx::{SeedMemory, Vm};
use crate::work::difficulty::miner_submits;
use crate::work::template::{Hash, with_nonce};

/// One job to hash.
pub(super) struct HashTask {
    pub(super) job_id: String,
    pub(super) algo: String,
    pub(super) blob: Vec<u8>,
    /// Where the nonce goes.
    pub(super) nonce_offset: usize,
    pub(super) target: u64,
    pub(super) memory: Arc<SeedMemory>,
}

/// A solution.
pub(super) struct FoundShare {
    pub(super) task: Arc<HashTask>,
    pub(super) nonce: [u8; 4],
    pub(super) hash: Hash,
}

/// The threads. They end when told so or when dropped.
pub(super) struct HashingThreads {
    shared: Arc<SharedCommand>,
    threads: Vec<JoinHandle<()>>,
}

struct SharedCommand {
    command: Mutex<Command>,
    changed: Condvar,
    /// Counts changes of `command`, so that a busy thread notices one without the lock.
    version: AtomicU64,
}

enum Command {
    Pause,
    Hash(Arc<HashTask>),
    Stop,
}

impl HashingThreads {
    /// Starts `count` threads that report to `found` and count into `hashes`.
    pub(super) fn start(
        count: usize,
        hashes: Arc<AtomicU64>,
        found: mpsc::Sender<FoundShare>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(SharedCommand {
            command: Mutex::new(Command::Pause),
            changed: Condvar::new(),
            version: AtomicU64::new(0),
        });
        let mut threads = Self {
            shared: shared.clone(),
            threads: Vec::new(),
        };
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        for number in 0..count {
            let mut hasher = Hasher {
                number,
                count,
                shared: shared.clone(),
                hashes: hashes.clone(),
                found: found.clone(),
            };
            threads.threads.push(
                std::thread::Builder::new()
                    .name(format!("hash-{number}"))
                    .spawn(move || hasher.run())?,
            );
        }
        Ok(threads)
    }

    /// Switches to a job.
    pub(super) fn work(&self, task: HashTask) {
        self.shared.set(Command::Hash(Arc::new(task)));
    }

    /// Stops hashing until the next job.
    pub(super) fn pause(&self) {
        self.shared.set(Command::Pause);
    }

    /// Whether a solution is for the job being hashed.
    pub(super) fn is_current(&self, found: &FoundShare) -> bool {
        match &*self
            .shared
            .command
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Command::Hash(task) => Arc::ptr_eq(task, &found.task),
            Command::Pause | Command::Stop => false,
        }
    }

    /// Ends the threads and waits for them.
    pub(super) async fn stop(mut self) {
        self.shared.set(Command::Stop);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a hashing thread panicked");
        }
    }
}

impl Drop for HashingThreads {
    fn drop(&mut self) {
        self.shared.set(Command::Stop);
    }
}

impl SharedCommand {
    fn set(&self, command: Command) {
        *self.command.lock().unwrap_or_else(PoisonError::into_inner) = command;
        self.version.fetch_add(1, Relaxed);
        self.changed.notify_all();
    }

    /// Waits for an command newer than `seen`; `None` means stop.
    fn wait(&self, seen: u64) -> Option<(u64, Arc<HashTask>)> {
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let version = self.version.load(Relaxed);
            match &*command {
                Command::Stop => return None,
                Command::Hash(task) if version != seen => return Some((version, task.clone())),
                Command::Hash(_) | Command::Pause => {}
            }
            command = self
                .changed
                .wait(command)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Hasher {
    number: u32,
    count: u32,
    shared: Arc<SharedCommand>,
    hashes: Arc<AtomicU64>,
    found: mpsc::Sender<FoundShare>,
}

impl Hasher {
    fn run(&mut self) {
        let mut machine: Option<Vm> = None;
        let mut seen = 0;
        while let Some((version, task)) = self.shared.wait(seen) {
            seen = version;
            if !machine
                .as_ref()
                .is_some_and(|machine| machine.reads(&task.memory))
            {
                machine = None;
                match Vm::new(&task.memory) {
                    Ok(made) => machine = Some(made),
                    Err(error) => {
                        tracing::error!(%error, "a hashing thread waits for the next job")
                    }
                }
            }
            if let Some(machine) = &machine {
                self.hash(machine, &task, version);
            }
        }
    }

    /// Hashes this thread's stripe until the command changes or the nonces are used up.
    fn hash(&self, machine: &Vm, task: &Arc<HashTask>, version: u64) {
        let mut blob = task.blob.clone();
        // A last byte that is not zero is not ours to change (NiceHash).
        let fixed = blob
            .get(task.nonce_offset + 3)
            .map_or(0, |byte| u32::from(*byte) << 24);
        let last = if fixed == 0 { u32::MAX } else { 0x00ff_ffff };
        for nonce in (self.number..=last).step_by(self.count as usize) {
            if self.shared.version.load(Relaxed) != version {
                return;
            }
            let nonce = (nonce | fixed).to_le_bytes();
            blob = with_nonce(blob, task.nonce_offset, nonce);
            let hash = match machine.hash(&blob) {
                Ok(hash) => hash,
                Err(error) => {
                    tracing::error!(%error, "a hashing thread waits for the next job");
                    return;
                }
            };
            self.hashes.fetch_add(1, Relaxed);
            if miner_submits(&hash, task.target)
                && self
                    .found
                    .blocking_send(FoundShare {
                        task: task.clone(),
                        nonce,
                        hash,
                    })
                    .is_err()
            {
                return;
            }
        }
    }
}
