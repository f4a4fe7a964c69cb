//! The hashing threads and what they work on: jobs of the coordinator with their leases.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use headframe_stratum::miner::hashing_threads::{FoundShare, HashTask, HashingThreads};
use headframe_stratum::miner::nonce_supply::{NonceRange, NonceSupply};
use headframe_stratum::randomx::{SeedMemory, Seeds};

use crate::cluster::Hash;
use crate::proto::messages::JobMessage;

/// The threads and their memory.
pub(super) struct Hashing {
    threads: HashingThreads,
    seeds: Arc<Seeds>,
    hashes: Arc<AtomicU64>,
    current: Mutex<Option<Current>>,
}

/// The job in hand.
#[derive(Clone)]
struct Current {
    number: u64,
    seed: Hash,
    blob: Vec<u8>,
    nonces: Arc<NonceSupply>,
}

impl Hashing {
    pub(super) fn new(threads: HashingThreads, seeds: Arc<Seeds>, hashes: Arc<AtomicU64>) -> Self {
        Self {
            threads,
            seeds,
            hashes,
            current: Mutex::new(None),
        }
    }

    /// Takes a job, or more leases of the one in hand. An error is about a message that no
    /// coordinator sends.
    pub(super) async fn take(&self, message: &JobMessage) -> Result<(), String> {
        if message.job == 0 {
            if !message.idle_reason.is_empty() {
                tracing::info!(reason = %message.idle_reason, "nothing to do");
            }
            self.rest();
            return Ok(());
        }
        let seed = hash(&message.seed).ok_or("a seed has 32 bytes")?;
        let offset = usize::try_from(message.nonce_offset).unwrap_or(usize::MAX);
        let is_inside = offset
            .checked_add(4)
            .is_some_and(|end| end <= message.blob.len());
        if !is_inside || message.target == 0 {
            return Err("a job's nonce lies outside its blob, or its target is zero".to_owned());
        }
        let ranges = message.leases.iter().filter_map(range);
        let known = self.lock().clone();
        let known = known.filter(|known| known.seed == seed && known.blob == message.blob);
        if let Some(known) = &known
            && known.number == message.job
        {
            ranges.for_each(|range| self.threads.extend(range));
            return Ok(());
        }
        let next = hash(&message.next_seed);
        self.seeds.request(seed, next);
        let memory = self.memory(seed).await?;
        // A job that differs only in its name goes on where the one before it was.
        let nonces = match known {
            Some(known) => {
                ranges.for_each(|range| known.nonces.push(range));
                known.nonces
            }
            None => {
                let fixed = message.blob.get(offset + 3).copied().unwrap_or(0);
                Arc::new(NonceSupply::new(fixed, ranges))
            }
        };
        *self.lock() = Some(Current {
            number: message.job,
            seed,
            blob: message.blob.clone(),
            nonces: nonces.clone(),
        });
        self.threads.work(HashTask {
            job_id: message.job.to_string(),
            algo: message.algo.clone(),
            blob: message.blob.clone(),
            nonce_offset: offset,
            target: message.target,
            seed,
            memory,
            nonces,
        });
        self.threads.fit_memory(&self.seeds);
        self.seeds.prepare_ahead(next);
        Ok(())
    }

    async fn memory(&self, seed: Hash) -> Result<Arc<SeedMemory>, String> {
        self.seeds
            .memory(seed)
            .await
            .map_err(|error| error.to_string())
    }

    /// Fits the threads to the memory that there is, whoever is the coordinator meanwhile. Does not
    /// end.
    pub(super) async fn follow_memory(&self) -> Infallible {
        self.threads.follow(&self.seeds).await
    }

    /// Hashes nothing until the next job.
    pub(super) fn rest(&self) {
        *self.lock() = None;
        self.threads.pause();
    }

    /// How many threads there are, and how many of them may hash.
    pub(super) fn thread_counts(&self) -> (usize, usize) {
        self.threads.counts()
    }

    /// Lets so many threads hash.
    pub(super) fn set_active(&self, count: usize) {
        self.threads.set_active(count);
    }

    /// Hashes since the start.
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.load(Relaxed)
    }

    /// Leases by epoch, and how many nonces of each were taken; and how many are left.
    pub(super) fn progress(&self) -> (Vec<(u64, u64)>, Option<u64>) {
        let current = self.lock();
        let nonces = current.as_ref().map(|current| &current.nonces);
        let progress = nonces.map(|nonces| nonces.progress()).unwrap_or_default();
        (progress, nonces.map(|nonces| nonces.left()))
    }

    /// The coordinator's number of the job a result is for.
    pub(super) fn job_of(found: &FoundShare) -> Option<u64> {
        found.task.job_id.parse().ok()
    }

    /// Ends the threads.
    pub(super) async fn stop(self) {
        self.threads.stop().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        // It is replaced whole, so a panic elsewhere does not spoil it.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok()
}

/// A lease as nonces; `None` for one that ends beyond them.
fn range(lease: &crate::proto::messages::Lease) -> Option<NonceRange> {
    let end = lease.start.checked_add(lease.len)?;
    (end <= 1 << 32).then_some(NonceRange {
        number: lease.epoch,
        start: lease.start,
        end,
    })
}
