//! The verifier: a few threads that compute RandomX hashes for shares, behind a queue that is fair.
//!
//! A hash takes milliseconds of pure CPU, so it must not run on the async threads, and whoever asks
//! for more than the threads can do has to wait instead of filling memory. Whose turn it is,
//! [`fair_queue`](super::fair_queue) decides.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

use super::fair_queue::{Caller, FairQueue, FairnessSettings, HashOutcome, Overload};
use super::{HashError, SeedMemory, Seeds, Vm};
use crate::work::template::Hash;

/// A pool of hashing threads. They end when the last handle is dropped.
pub struct Verifier {
    seeds: Arc<Seeds>,
    /// For proven miners; they wait for a place, while strangers that find none are turned away.
    places: Semaphore,
    queue: Arc<WorkQueue>,
}

/// Where threads and callers meet.
struct WorkQueue {
    state: Mutex<State>,
    work_arrived: Condvar,
    /// The overload as of the last look, so that an easy pool's sessions need no lock to know it.
    overload: AtomicU64,
    started: Instant,
}

struct State {
    queue: FairQueue<HashRequest>,
    open: bool,
}

struct HashRequest {
    memory: Arc<SeedMemory>,
    blob: Vec<u8>,
    claimed: Option<Hash>,
    answer: oneshot::Sender<Result<Hash, HashError>>,
}

/// Ourselves: proven, and nobody's budget.
const POOL_ITSELF: Caller = Caller {
    session: 0,
    payer: None,
    proven: true,
};

impl Verifier {
    /// Starts `threads` threads with space for `queue` waiting hashes of proven miners.
    pub fn start(seeds: Arc<Seeds>, threads: usize, queue: usize) -> std::io::Result<Self> {
        Self::start_with(seeds, threads, queue, FairnessSettings::default())
    }

    /// The same with settings of its own.
    pub fn start_with(
        seeds: Arc<Seeds>,
        threads: usize,
        queue: usize,
        settings: FairnessSettings,
    ) -> std::io::Result<Self> {
        let state = Mutex::new(State {
            queue: FairQueue::new(settings, threads),
            open: true,
        });
        let shared = Arc::new(WorkQueue {
            state,
            work_arrived: Condvar::new(),
            overload: AtomicU64::new(1),
            started: Instant::now(),
        });
        // Made first, so that the threads already running end if a later one cannot start.
        let verifier = Self {
            seeds,
            places: Semaphore::new(queue.max(1)),
            queue: shared,
        };
        for number in 0..threads.max(1) {
            let queue = verifier.queue.clone();
            std::thread::Builder::new()
                .name(format!("verify-{number}"))
                .spawn(move || queue.run_thread())?;
        }
        Ok(verifier)
    }

    /// The memories it works on.
    pub fn seeds(&self) -> &Arc<Seeds> {
        &self.seeds
    }

    /// The RandomX hash of a blob under a seed, for ourselves; waits for a place in the queue and,
    /// for a seed never seen, for its memory.
    pub async fn verify(&self, seed: Hash, blob: Vec<u8>) -> Result<Hash, HashError> {
        self.request(POOL_ITSELF, seed, blob, None).await
    }

    /// The same for a share whose sender claims to know the hash, in its turn and on its budget.
    pub async fn verify_share(
        &self,
        caller: Caller,
        seed: Hash,
        blob: Vec<u8>,
        claimed: Hash,
    ) -> Result<Hash, HashError> {
        self.request(caller, seed, blob, Some(claimed)).await
    }

    /// By how much jobs should be harder than miners ask for, because verification cannot keep up.
    pub fn overload_factor(&self) -> u64 {
        if self.queue.overload.load(Relaxed) == 1 {
            1
        } else {
            self.queue.update_overload()
        }
    }

    async fn request(
        &self,
        caller: Caller,
        seed: Hash,
        blob: Vec<u8>,
        claimed: Option<Hash>,
    ) -> Result<Hash, HashError> {
        let memory = self.seeds.memory(seed).await?;
        let _place = if caller.proven {
            Some(
                self.places
                    .acquire()
                    .await
                    .map_err(|_| HashError::Stopped)?,
            )
        } else {
            None
        };
        let (answer, hash) = oneshot::channel();
        self.queue.push(
            caller,
            HashRequest {
                memory,
                blob,
                claimed,
                answer,
            },
        )?;
        hash.await.map_err(|_| HashError::Stopped)?
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.queue.state().open = false;
        self.queue.work_arrived.notify_all();
    }
}

impl WorkQueue {
    /// Every change of the state is whole before the lock is let go, so a panic elsewhere does not
    /// spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Looks how strained verification is, and remembers it.
    fn update_overload(&self) -> u64 {
        let overload = self.state().queue.overload_factor(self.now_ms());
        self.overload.store(overload, Relaxed);
        overload
    }

    fn push(&self, caller: Caller, work: HashRequest) -> Result<(), HashError> {
        let pushed = self.state().queue.push(caller, work, self.now_ms());
        self.work_arrived.notify_one();
        match pushed {
            Ok(gone) => {
                refuse_waiting(gone, Overload::Unproven);
                Ok(())
            }
            Err((overload, work)) => {
                refuse_waiting(vec![work], overload);
                Err(HashError::Overloaded(overload))
            }
        }
    }

    /// A thread's life.
    fn run_thread(&self) {
        let mut machine: Option<Vm> = None;
        let mut state = self.state();
        loop {
            let Some((ticket, work)) = state.queue.pop(self.now_ms()) else {
                if !state.open {
                    return;
                }
                state = self
                    .work_arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (proven, unproven) = state.queue.len();
            self.overload
                .store(state.queue.overload_factor(self.now_ms()), Relaxed);
            drop(state);
            let lane = if ticket.is_unproven() {
                "unproven"
            } else {
                "proven"
            };
            metrics::gauge!("headframe_stratum_verify_waiting", "lane" => "proven")
                .set(proven as f64);
            metrics::gauge!("headframe_stratum_verify_waiting", "lane" => "unproven")
                .set(unproven as f64);
            metrics::histogram!("headframe_stratum_verify_wait_seconds", "lane" => lane)
                .record(ticket.waited_ms as f64 / 1000.0);
            let done = answer(&mut machine, work);
            state = self.state();
            refuse_waiting(
                state.queue.done(ticket, done, self.now_ms()),
                Overload::Budget,
            );
            // A thread that strangers had to leave free may be free for them now.
            self.work_arrived.notify_one();
        }
    }
}

/// Tells those who wait for these hashes that there will be none.
fn refuse_waiting(gone: Vec<HashRequest>, overload: Overload) {
    for work in gone {
        metrics::counter!("headframe_stratum_verify_refused_total", "reason" => overload.as_str())
            .increment(1);
        // Nobody may wait any more.
        let _ = work.answer.send(Err(HashError::Overloaded(overload)));
    }
}

fn answer(machine: &mut Option<Vm>, work: HashRequest) -> HashOutcome {
    if work.answer.is_closed() {
        return HashOutcome::Skipped;
    }
    let started = Instant::now();
    let hash = hash(machine, &work);
    let cost_s = started.elapsed().as_secs_f64();
    metrics::histogram!("headframe_stratum_verify_seconds").record(cost_s);
    let cost_ms = cost_s * 1000.0;
    let done = match (&hash, &work.claimed) {
        (Err(_), _) => HashOutcome::Skipped,
        (Ok(hash), Some(claimed)) if hash != claimed => HashOutcome::Bad { cost_ms },
        (Ok(_), _) => HashOutcome::Good { cost_ms },
    };
    // Nobody waits any more when the session's task was cancelled; the hash is then of no use.
    let _ = work.answer.send(hash);
    done
}

fn hash(kept: &mut Option<Vm>, work: &HashRequest) -> Result<Hash, HashError> {
    if let Some(machine) = kept.as_ref().filter(|machine| machine.reads(&work.memory)) {
        return machine.hash(&work.blob);
    }
    let machine = Vm::new(&work.memory)?;
    let hash = machine.hash(&work.blob);
    *kept = Some(machine);
    hash
}
