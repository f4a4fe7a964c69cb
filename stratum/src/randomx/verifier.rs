//! The verifier: a few threads that compute RandomX hashes for shares, behind a bounded queue.
//!
//! A hash takes milliseconds of pure CPU, so it must not run on the async threads, and whoever asks for more than the
//! threads can do has to wait instead of filling memory.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

use super::{HashError, Machine, Memory, Seeds};
use crate::chain::Hash;

/// A pool of hashing threads. They end when the last handle is dropped.
pub struct Verifier {
    seeds: Arc<Seeds>,
    places: Semaphore,
    work: SyncSender<Work>,
}

struct Work {
    memory: Arc<Memory>,
    blob: Vec<u8>,
    answer: oneshot::Sender<Result<Hash, HashError>>,
}

impl Verifier {
    /// Starts `threads` threads with room for `queue` waiting hashes.
    pub fn start(seeds: Arc<Seeds>, threads: usize, queue: usize) -> std::io::Result<Self> {
        let (work, inbox) = sync_channel(queue.max(1));
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..threads.max(1) {
            let inbox = inbox.clone();
            std::thread::Builder::new().name(format!("verify-{number}")).spawn(move || run(&inbox))?;
        }
        Ok(Self { seeds, places: Semaphore::new(queue.max(1)), work })
    }

    /// The memories it works on.
    pub fn seeds(&self) -> &Arc<Seeds> {
        &self.seeds
    }

    /// The RandomX hash of a blob under a seed; waits for a place in the queue and, for a seed never seen, for its memory.
    pub async fn verify(&self, seed: Hash, blob: Vec<u8>) -> Result<Hash, HashError> {
        let memory = self.seeds.memory(seed).await?;
        let _place = self.places.acquire().await.map_err(|_| HashError::Stopped)?;
        let (answer, hash) = oneshot::channel();
        // A place in the semaphore is a place in the channel, so this never finds it full.
        self.work.try_send(Work { memory, blob, answer }).map_err(|_| HashError::Stopped)?;
        hash.await.map_err(|_| HashError::Stopped)?
    }
}

fn run(inbox: &Mutex<Receiver<Work>>) {
    let mut machine: Option<Machine> = None;
    loop {
        // The lock is held while waiting: one thread waits for work, the others for the lock.
        let received = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = received else { return };
        if work.answer.is_closed() {
            continue;
        }
        let started = Instant::now();
        let hash = hash(&mut machine, &work);
        metrics::histogram!("headframe_stratum_verify_seconds").record(started.elapsed().as_secs_f64());
        // Nobody waits any more when the session's task was cancelled; the hash is then of no use.
        let _ = work.answer.send(hash);
    }
}

fn hash(kept: &mut Option<Machine>, work: &Work) -> Result<Hash, HashError> {
    if let Some(machine) = kept.as_ref().filter(|machine| machine.reads(&work.memory)) {
        return machine.hash(&work.blob);
    }
    let machine = Machine::new(&work.memory)?;
    let hash = machine.hash(&work.blob);
    *kept = Some(machine);
    hash
}
