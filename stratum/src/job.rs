//! Jobs: one connection's ring of the work it was given.
//!
//! XMRig drops the connection when two jobs look alike, also across a reconnect, so a job id is a random prefix drawn a
//! connection plus a counter, and its extranonce carries the same counter: no two jobs share a blob.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::chain::{Extranonce, Hash, Template};
use crate::difficulty::Difficulty;

/// Jobs remembered a connection; older ones count as expired.
const RING: usize = 8;
/// Solutions remembered a job, which bounds memory when somebody sends shares of no worth.
pub const MAX_NONCES: usize = 16_384;

/// One piece of work as one connection got it.
#[derive(Debug)]
pub struct Job {
    /// Unique over connections and restarts.
    pub id: String,
    /// The block it would make.
    pub template: Arc<dyn Template>,
    /// What makes its blob unlike any other.
    pub extranonce: Extranonce,
    /// What a share of it is worth.
    pub difficulty: Difficulty,
    nonces: HashSet<[u8; 4]>,
}

/// What became of a nonce's reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// Never seen on this job; it is now.
    New,
    /// Seen before, whatever its verdict was.
    Seen,
    /// The job has had more shares than are remembered.
    Full,
}

impl Job {
    /// The blob as sent to the miner.
    pub fn blob(&self) -> Vec<u8> {
        self.template.hashing_blob(self.extranonce)
    }

    /// Remembers a nonce.
    pub fn reserve(&mut self, nonce: [u8; 4]) -> Reservation {
        if self.nonces.contains(&nonce) {
            return Reservation::Seen;
        }
        if self.nonces.len() >= MAX_NONCES {
            return Reservation::Full;
        }
        self.nonces.insert(nonce);
        Reservation::New
    }
}

/// A connection's newest jobs.
#[derive(Debug)]
pub struct JobRing {
    prefix: u64,
    extranonce: Extranonce,
    jobs: VecDeque<Job>,
}

impl JobRing {
    /// An empty ring. `prefix` must be random; `instance` and `connection` must not both repeat.
    pub fn new(prefix: u64, instance: u32, connection: u32) -> Self {
        Self { prefix, extranonce: Extranonce { instance, connection, job: 0 }, jobs: VecDeque::with_capacity(RING) }
    }

    /// Makes a new job and makes it the current one. `difficulty` is capped at the network's, above which a miner would
    /// throw blocks away.
    pub fn issue(&mut self, template: Arc<dyn Template>, difficulty: u64) -> &Job {
        let assigned = Difficulty::capped(difficulty, template.network_difficulty());
        self.extranonce.job = self.extranonce.job.wrapping_add(1);
        if self.jobs.len() == RING {
            self.jobs.pop_front();
        }
        let id = format!("{:016x}{:x}", self.prefix, self.extranonce.job);
        let job = Job { id, template, extranonce: self.extranonce, difficulty: assigned, nonces: HashSet::new() };
        self.jobs.push_back(job);
        &self.jobs[self.jobs.len() - 1]
    }

    /// The job of this id, if it is still remembered.
    pub fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().rev().find(|job| job.id == id)
    }

    /// The job the miner should be working on.
    pub fn current(&self) -> Option<&Job> {
        self.jobs.back()
    }

    /// Whether a job's block still builds on the chain's end.
    pub fn builds_on(job: &Job, tip: &Hash) -> bool {
        job.template.prev() == *tip
    }
}
