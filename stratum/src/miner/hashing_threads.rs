//! The hashing threads: each has its own machine, and all take nonces from one supply.

use core_affinity::CoreId;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

use super::nonce_supply::{NonceRange, NonceSupply};
use crate::randomx::{Mode, SeedMemory, Seeds, Vm};
use crate::work::difficulty::miner_submits;
use crate::work::template::{Hash, with_nonce};

/// One job to hash.
pub struct HashTask {
    /// The pool's name of the job.
    pub job_id: String,
    /// The algorithm's name.
    pub algo: String,
    /// What is hashed, with the nonce in place of four bytes.
    pub blob: Vec<u8>,
    /// Where the nonce goes.
    pub nonce_offset: usize,
    /// The top 64 bits of a solution are below it.
    pub target: u64,
    /// The key of RandomX.
    pub seed: Hash,
    /// The seed's memory. A job that gets a better one goes on with the same nonces.
    pub memory: Arc<SeedMemory>,
    /// The nonces to search.
    pub nonces: Arc<NonceSupply>,
}

impl HashTask {
    /// The same job on another memory of its seed.
    pub fn with_memory(&self, memory: Arc<SeedMemory>) -> Self {
        Self {
            job_id: self.job_id.clone(),
            algo: self.algo.clone(),
            blob: self.blob.clone(),
            nonce_offset: self.nonce_offset,
            target: self.target,
            seed: self.seed,
            memory,
            nonces: self.nonces.clone(),
        }
    }
}

/// A solution.
pub struct FoundShare {
    /// The job it is for.
    pub task: Arc<HashTask>,
    /// As it stands in the blob.
    pub nonce: [u8; 4],
    /// Its hash.
    pub hash: Hash,
}

/// How many threads hash, and how politely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Hashing threads.
    pub threads: usize,
    /// By how much they are nicer than this process is (0 to 19).
    pub nice: i32,
    /// Whether each keeps to a core of its own, where there is one for each and none is left over:
    /// the system then moves no thread away from the caches it has filled.
    pub pin: bool,
}

impl ThreadPlan {
    /// The core of each thread; none where threads go where the system has place for them.
    fn cores(&self) -> Vec<CoreId> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        // With fewer threads than cores, others who do the same would choose the same cores.
        match self.pin && cores.len() == self.threads {
            true => cores,
            false => Vec::new(),
        }
    }
}

/// The threads. They end when stopped or dropped.
pub struct HashingThreads {
    shared: Arc<SharedCommand>,
    threads: Vec<JoinHandle<()>>,
}

struct SharedCommand {
    command: Mutex<Command>,
    changed: Condvar,
    /// Counts changes of `command`, so that a busy thread notices one without the lock.
    version: AtomicU64,
    /// How many of the threads hash; the others rest.
    active: AtomicUsize,
    /// Whether all rest, because the dataset of the job's seed is being computed.
    resting: AtomicBool,
}

enum Command {
    Pause,
    Hash(Arc<HashTask>),
    Stop,
}

impl HashingThreads {
    /// Starts threads that report to `found` and count into `hashes`.
    pub fn start(
        plan: ThreadPlan,
        hashes: Arc<AtomicU64>,
        found: mpsc::Sender<FoundShare>,
    ) -> std::io::Result<Self> {
        let count = plan.threads.max(1);
        let shared = Arc::new(SharedCommand {
            command: Mutex::new(Command::Pause),
            changed: Condvar::new(),
            version: AtomicU64::new(0),
            active: AtomicUsize::new(count),
            resting: AtomicBool::new(false),
        });
        let mut threads = Self {
            shared: shared.clone(),
            threads: Vec::new(),
        };
        let cores = plan.cores();
        for number in 0..count {
            let core = cores.get(number).copied();
            let hasher = Hasher {
                number,
                shared: shared.clone(),
                hashes: hashes.clone(),
                found: found.clone(),
            };
            let run = move || {
                // A thread that may not be nicer hashes all the same.
                let _ = rustix::process::nice(plan.nice);
                // One that may not keep to its core does so, too.
                let _ = core.map(core_affinity::set_for_current);
                hasher.run();
            };
            threads.threads.push(
                std::thread::Builder::new()
                    .name(format!("hash-{number}"))
                    .spawn(run)?,
            );
        }
        Ok(threads)
    }

    /// Switches to a job.
    pub fn work(&self, task: HashTask) {
        self.shared.set(Command::Hash(Arc::new(task)));
    }

    /// Gives the job in hand more nonces; nothing happens without a job.
    pub fn extend(&self, range: NonceRange) {
        let command = self.shared.lock();
        if let Command::Hash(task) = &*command {
            task.nonces.push(range);
        }
        self.shared.changed.notify_all();
    }

    /// The job in hand.
    pub fn task(&self) -> Option<Arc<HashTask>> {
        match &*self.shared.lock() {
            Command::Hash(task) => Some(task.clone()),
            Command::Pause | Command::Stop => None,
        }
    }

    /// Stops hashing until the next job.
    pub fn pause(&self) {
        self.shared.set(Command::Pause);
    }

    /// Lets so many threads hash, at most those that were started; a resting thread first ends the
    /// nonce it has.
    pub fn set_active(&self, count: usize) {
        let command = self.shared.lock();
        self.shared.active.store(count, Relaxed);
        drop(command);
        self.shared.changed.notify_all();
    }

    /// Fits the threads to the memory that there is, now and whenever it changes. Does not end.
    pub async fn follow(&self, seeds: &Seeds) -> Infallible {
        let mut building = seeds.building();
        loop {
            building.borrow_and_update();
            self.fit_memory(seeds);
            if building.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Goes on with the dataset of the job's seed when it is there, and rests while it is computed
    /// on all cores: hashing without it would cost the build half of the processor time, for a
    /// tenth of the rate. To be called after each new job.
    pub fn fit_memory(&self, seeds: &Seeds) {
        let Some(task) = self.task() else { return };
        let mut is_resting = false;
        if task.memory.mode() == Mode::Light {
            match seeds.full(&task.seed) {
                Some(full) => self.work(task.with_memory(full)),
                None => is_resting = *seeds.building().borrow() == Some(task.seed),
            }
        }
        let command = self.shared.lock();
        self.shared.resting.store(is_resting, Relaxed);
        drop(command);
        self.shared.changed.notify_all();
    }

    /// How many threads were started, and how many of them may hash.
    pub fn counts(&self) -> (usize, usize) {
        let started = self.threads.len();
        (started, self.shared.active.load(Relaxed).min(started))
    }

    /// Whether a solution is for the job being hashed.
    pub fn is_current(&self, found: &FoundShare) -> bool {
        self.task()
            .is_some_and(|task| Arc::ptr_eq(&task.nonces, &found.task.nonces))
    }

    /// Ends the threads and waits for them.
    pub async fn stop(mut self) {
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
    fn lock(&self) -> std::sync::MutexGuard<'_, Command> {
        // A command is replaced whole, so a panic elsewhere does not spoil it.
        self.command.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, command: Command) {
        let mut current = self.lock();
        *current = command;
        self.version.fetch_add(1, Relaxed);
        drop(current);
        self.changed.notify_all();
    }

    fn is_active(&self, number: usize) -> bool {
        number < self.active.load(Relaxed) && !self.resting.load(Relaxed)
    }

    /// Waits for a command newer than `seen`, or for more nonces of the job of a thread that can
    /// hash it; `None` means stop.
    fn wait(&self, seen: u64, number: usize, can_hash: bool) -> Option<(u64, Arc<HashTask>)> {
        let mut command = self.lock();
        loop {
            let version = self.version.load(Relaxed);
            match &*command {
                Command::Stop => return None,
                Command::Hash(task)
                    if self.is_active(number)
                        && (version != seen || can_hash && !task.nonces.is_exhausted()) =>
                {
                    return Some((version, task.clone()));
                }
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
    number: usize,
    shared: Arc<SharedCommand>,
    hashes: Arc<AtomicU64>,
    found: mpsc::Sender<FoundShare>,
}

impl Hasher {
    fn run(&self) {
        let mut machine: Option<Vm> = None;
        let (mut seen, mut can_hash) = (0, true);
        while let Some((version, task)) = self.shared.wait(seen, self.number, can_hash) {
            seen = version;
            if !machine
                .as_ref()
                .is_some_and(|machine| machine.reads(&task.memory))
            {
                machine = None;
                match Vm::new(&task.memory) {
                    Ok(made) => machine = Some(made),
                    Err(error) => {
                        tracing::error!(%error, "a hashing thread waits for the next job");
                    }
                }
            }
            can_hash = machine
                .as_mut()
                .is_some_and(|machine| self.hash(machine, &task, version));
        }
    }

    /// Hashes until the command changes, this thread must rest or the nonces are used up; false
    /// when it failed.
    fn hash(&self, machine: &mut Vm, task: &Arc<HashTask>, version: u64) -> bool {
        let mut pipeline = machine.pipeline();
        let mut blob = task.blob.clone();
        let mut begun = [0; 4];
        loop {
            if self.shared.version.load(Relaxed) != version {
                return true;
            }
            let taken = self
                .shared
                .is_active(self.number)
                .then(|| task.nonces.take());
            let Some(nonce) = taken.flatten() else {
                break;
            };
            let nonce = nonce.to_le_bytes();
            blob = with_nonce(blob, task.nonce_offset, nonce);
            let ended = pipeline.next(&blob);
            let before = std::mem::replace(&mut begun, nonce);
            if ended.is_some_and(|hash| !self.check(task, before, hash)) {
                return false;
            }
        }
        let last = pipeline.last();
        last.is_none_or(|hash| self.check(task, begun, hash))
    }

    /// Counts a hash and reports it if it is a solution; false when the thread must not go on.
    fn check(
        &self,
        task: &Arc<HashTask>,
        nonce: [u8; 4],
        hash: Result<Hash, crate::randomx::HashError>,
    ) -> bool {
        let hash = match hash {
            Ok(hash) => hash,
            Err(error) => {
                tracing::error!(%error, "a hashing thread waits for the next job");
                return false;
            }
        };
        self.hashes.fetch_add(1, Relaxed);
        if !miner_submits(&hash, task.target) {
            return true;
        }
        let found = FoundShare {
            task: task.clone(),
            nonce,
            hash,
        };
        self.found.blocking_send(found).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const SEED: Hash = [3; 32];

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: did not happen");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_thread_for_each_core_keeps_to_its_own() {
        let all = core_affinity::get_core_ids().unwrap();
        let plan = |threads: usize, pin: bool| ThreadPlan {
            threads,
            nice: 0,
            pin,
        };
        assert_eq!(plan(all.len(), true).cores(), all);
        assert_eq!(plan(all.len(), false).cores(), []);
        assert_eq!(plan(all.len() + 1, true).cores(), []);
        let last = *all.last().unwrap();
        let kept_to = std::thread::spawn(move || {
            assert!(core_affinity::set_for_current(last));
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = kept_to.join().unwrap();
        let allowed = format!("Cpus_allowed_list:\t{}\n", last.id);
        assert!(status.contains(&allowed), "{status}");
    }

    #[tokio::test]
    async fn light_hashing_rests_while_its_dataset_is_computed() {
        let seeds = Seeds::new(Mode::Full);
        let memory = seeds.memory(SEED).await.unwrap();
        let hashes = Arc::new(AtomicU64::new(0));
        let (sender, _found) = mpsc::channel(1);
        let plan = ThreadPlan {
            threads: 1,
            nice: 0,
            pin: false,
        };
        let threads = HashingThreads::start(plan, hashes.clone(), sender).unwrap();
        threads.work(HashTask {
            job_id: "1".to_owned(),
            algo: "rx/0".to_owned(),
            blob: vec![7; 76],
            nonce_offset: 39,
            target: 1,
            seed: SEED,
            memory,
            nonces: Arc::new(NonceSupply::whole(0, false)),
        });
        let more = async |what: &str| {
            let before = hashes.load(Relaxed);
            until(what, || hashes.load(Relaxed) > before).await;
        };
        more("it hashes without the dataset").await;
        // Another seed's dataset is none of its business.
        seeds.pretend_building(Some([4; 32]));
        threads.fit_memory(&seeds);
        more("it hashes beside another seed's build").await;
        seeds.pretend_building(Some(SEED));
        threads.fit_memory(&seeds);
        // The hash in hand is ended, and none is begun: while it hashes, one is always under way.
        let supply = threads.task().unwrap().nonces.clone();
        let begun = || supply.progress().last().map_or(0, |(_, taken)| *taken);
        until("it rests", || hashes.load(Relaxed) == begun()).await;
        // Whoever throttles it does not end the rest.
        threads.set_active(1);
        assert_eq!(hashes.load(Relaxed), begun());
        // A build that was given up leaves it hashing as before.
        seeds.pretend_building(None);
        threads.fit_memory(&seeds);
        more("it hashes again").await;
        threads.stop().await;
    }
}
