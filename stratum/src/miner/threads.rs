//! The hashing threads: each has its own machine and its own stripe of the nonces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

use crate::chain::{Hash, with_nonce};
use crate::difficulty::miner_submits;
use crate::randomx::{Machine, Memory};

/// One job to hash.
pub(super) struct Task {
    pub(super) job_id: String,
    pub(super) algo: String,
    pub(super) blob: Vec<u8>,
    /// Where the nonce goes.
    pub(super) nonce_offset: usize,
    pub(super) target: u64,
    pub(super) memory: Arc<Memory>,
}

/// A solution.
pub(super) struct Found {
    pub(super) task: Arc<Task>,
    pub(super) nonce: [u8; 4],
    pub(super) hash: Hash,
}

/// The threads. They end when told so or when dropped.
pub(super) struct Hashers {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

struct Board {
    order: Mutex<Order>,
    changed: Condvar,
    /// Counts changes of `order`, so that a busy thread notices one without the lock.
    version: AtomicU64,
}

enum Order {
    Pause,
    Hash(Arc<Task>),
    Stop,
}

impl Hashers {
    /// Starts `count` threads that report to `found` and count into `hashes`.
    pub(super) fn start(
        count: usize,
        hashes: Arc<AtomicU64>,
        found: mpsc::Sender<Found>,
    ) -> std::io::Result<Self> {
        let board = Arc::new(Board {
            order: Mutex::new(Order::Pause),
            changed: Condvar::new(),
            version: AtomicU64::new(0),
        });
        let mut hashers = Self {
            board: board.clone(),
            threads: Vec::new(),
        };
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        for number in 0..count {
            let mut hasher = Hasher {
                number,
                count,
                board: board.clone(),
                hashes: hashes.clone(),
                found: found.clone(),
            };
            hashers.threads.push(
                std::thread::Builder::new()
                    .name(format!("hash-{number}"))
                    .spawn(move || hasher.run())?,
            );
        }
        Ok(hashers)
    }

    /// Switches to a job.
    pub(super) fn work(&self, task: Task) {
        self.board.set(Order::Hash(Arc::new(task)));
    }

    /// Stops hashing until the next job.
    pub(super) fn pause(&self) {
        self.board.set(Order::Pause);
    }

    /// Whether a solution is for the job being hashed.
    pub(super) fn is_current(&self, found: &Found) -> bool {
        match &*self
            .board
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Order::Hash(task) => Arc::ptr_eq(task, &found.task),
            Order::Pause | Order::Stop => false,
        }
    }

    /// Ends the threads and waits for them.
    pub(super) async fn stop(mut self) {
        self.board.set(Order::Stop);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a hashing thread panicked");
        }
    }
}

impl Drop for Hashers {
    fn drop(&mut self) {
        self.board.set(Order::Stop);
    }
}

impl Board {
    fn set(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
        self.version.fetch_add(1, Relaxed);
        self.changed.notify_all();
    }

    /// Waits for an order newer than `seen`; `None` means stop.
    fn wait(&self, seen: u64) -> Option<(u64, Arc<Task>)> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let version = self.version.load(Relaxed);
            match &*order {
                Order::Stop => return None,
                Order::Hash(task) if version != seen => return Some((version, task.clone())),
                Order::Hash(_) | Order::Pause => {}
            }
            order = self
                .changed
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Hasher {
    number: u32,
    count: u32,
    board: Arc<Board>,
    hashes: Arc<AtomicU64>,
    found: mpsc::Sender<Found>,
}

impl Hasher {
    fn run(&mut self) {
        let mut machine: Option<Machine> = None;
        let mut seen = 0;
        while let Some((version, task)) = self.board.wait(seen) {
            seen = version;
            if !machine
                .as_ref()
                .is_some_and(|machine| machine.reads(&task.memory))
            {
                machine = None;
                match Machine::new(&task.memory) {
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

    /// Hashes this thread's stripe until the order changes or the nonces are used up.
    fn hash(&self, machine: &Machine, task: &Arc<Task>, version: u64) {
        let mut blob = task.blob.clone();
        // A last byte that is not zero is not ours to change (NiceHash).
        let fixed = blob
            .get(task.nonce_offset + 3)
            .map_or(0, |byte| u32::from(*byte) << 24);
        let last = if fixed == 0 { u32::MAX } else { 0x00ff_ffff };
        for nonce in (self.number..=last).step_by(self.count as usize) {
            if self.board.version.load(Relaxed) != version {
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
                    .blocking_send(Found {
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
