//! The verifier: a few threads that compute RandomX hashes for shares, behind a queue that is fair.
//!
//! A hash takes milliseconds of pure CPU, so it must not run on the async threads, and whoever asks
//! for more than the threads can do has to wait instead of filling memory. Whose turn it is,
//! [`fair`](super::fair) decides.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot};

use super::fair::{Asker, Done, Overload, Queue, Settings};
use super::{HashError, Machine, Memory, Seeds};
use crate::chain::Hash;

/// A pool of hashing threads. They end when the last handle is dropped.
pub struct Verifier {
    seeds: Arc<Seeds>,
    /// For proven miners; they wait for a place, while strangers that find none are turned away.
    places: Semaphore,
    desk: Arc<Desk>,
}

/// Where threads and askers meet.
struct Desk {
    state: Mutex<State>,
    work_came: Condvar,
    /// The strain as of the last look, so that an easy pool's sessions need no lock to know it.
    strain: AtomicU64,
    started: Instant,
}

struct State {
    queue: Queue<Work>,
    open: bool,
}

struct Work {
    memory: Arc<Memory>,
    blob: Vec<u8>,
    claimed: Option<Hash>,
    answer: oneshot::Sender<Result<Hash, HashError>>,
}

/// Ourselves: proven, and nobody's budget.
const OURSELVES: Asker = Asker {
    session: 0,
    payer: None,
    proven: true,
};

impl Verifier {
    /// Starts `threads` threads with room for `queue` waiting hashes of proven miners.
    pub fn start(seeds: Arc<Seeds>, threads: usize, queue: usize) -> std::io::Result<Self> {
        Self::start_fair(seeds, threads, queue, Settings::default())
    }

    /// The same with settings of its own.
    pub fn start_fair(
        seeds: Arc<Seeds>,
        threads: usize,
        queue: usize,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let state = Mutex::new(State {
            queue: Queue::new(settings, threads),
            open: true,
        });
        let desk = Arc::new(Desk {
            state,
            work_came: Condvar::new(),
            strain: AtomicU64::new(1),
            started: Instant::now(),
        });
        // Made first, so that the threads already running end if a later one cannot start.
        let verifier = Self {
            seeds,
            places: Semaphore::new(queue.max(1)),
            desk,
        };
        for number in 0..threads.max(1) {
            let desk = verifier.desk.clone();
            std::thread::Builder::new()
                .name(format!("verify-{number}"))
                .spawn(move || desk.work())?;
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
        self.ask(OURSELVES, seed, blob, None).await
    }

    /// The same for a share whose sender claims to know the hash, in its turn and on its budget.
    pub async fn verify_share(
        &self,
        asker: Asker,
        seed: Hash,
        blob: Vec<u8>,
        claimed: Hash,
    ) -> Result<Hash, HashError> {
        self.ask(asker, seed, blob, Some(claimed)).await
    }

    /// By how much jobs should be harder than miners ask for, because verification cannot keep up.
    pub fn strain(&self) -> u64 {
        if self.desk.strain.load(Relaxed) == 1 {
            1
        } else {
            self.desk.look()
        }
    }

    async fn ask(
        &self,
        asker: Asker,
        seed: Hash,
        blob: Vec<u8>,
        claimed: Option<Hash>,
    ) -> Result<Hash, HashError> {
        let memory = self.seeds.memory(seed).await?;
        let _place = if asker.proven {
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
        self.desk.push(
            asker,
            Work {
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
        self.desk.state().open = false;
        self.desk.work_came.notify_all();
    }
}

impl Desk {
    /// Every change of the state is whole before the lock is let go, so a panic elsewhere does not
    /// spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Looks how strained verification is, and remembers it.
    fn look(&self) -> u64 {
        let strain = self.state().queue.strain(self.now_ms());
        self.strain.store(strain, Relaxed);
        strain
    }

    fn push(&self, asker: Asker, work: Work) -> Result<(), HashError> {
        let pushed = self.state().queue.push(asker, work, self.now_ms());
        self.work_came.notify_one();
        match pushed {
            Ok(gone) => {
                turn_away(gone, Overload::Strangers);
                Ok(())
            }
            Err((overload, work)) => {
                turn_away(vec![work], overload);
                Err(HashError::Overloaded(overload))
            }
        }
    }

    /// A thread's life.
    fn work(&self) {
        let mut machine: Option<Machine> = None;
        let mut state = self.state();
        loop {
            let Some((ticket, work)) = state.queue.pop(self.now_ms()) else {
                if !state.open {
                    return;
                }
                state = self
                    .work_came
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (proven, strangers) = state.queue.len();
            self.strain
                .store(state.queue.strain(self.now_ms()), Relaxed);
            drop(state);
            let lane = if ticket.is_stranger() {
                "unproven"
            } else {
                "proven"
            };
            metrics::gauge!("headframe_stratum_verify_waiting", "lane" => "proven")
                .set(proven as f64);
            metrics::gauge!("headframe_stratum_verify_waiting", "lane" => "unproven")
                .set(strangers as f64);
            metrics::histogram!("headframe_stratum_verify_wait_seconds", "lane" => lane)
                .record(ticket.waited_ms as f64 / 1000.0);
            let done = answer(&mut machine, work);
            state = self.state();
            turn_away(
                state.queue.done(ticket, done, self.now_ms()),
                Overload::Budget,
            );
            // A thread that strangers had to leave free may be free for them now.
            self.work_came.notify_one();
        }
    }
}

/// Tells those who wait for these hashes that there will be none.
fn turn_away(gone: Vec<Work>, overload: Overload) {
    for work in gone {
        metrics::counter!("headframe_stratum_verify_refused_total", "reason" => overload.word())
            .increment(1);
        // Nobody may wait any more.
        let _ = work.answer.send(Err(HashError::Overloaded(overload)));
    }
}

fn answer(machine: &mut Option<Machine>, work: Work) -> Done {
    if work.answer.is_closed() {
        return Done::Skipped;
    }
    let started = Instant::now();
    let hash = hash(machine, &work);
    let cost_s = started.elapsed().as_secs_f64();
    metrics::histogram!("headframe_stratum_verify_seconds").record(cost_s);
    let cost_ms = cost_s * 1000.0;
    let done = match (&hash, &work.claimed) {
        (Err(_), _) => Done::Skipped,
        (Ok(hash), Some(claimed)) if hash != claimed => Done::Bad { cost_ms },
        (Ok(_), _) => Done::Good { cost_ms },
    };
    // Nobody waits any more when the session's task was cancelled; the hash is then of no use.
    let _ = work.answer.send(hash);
    done
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
