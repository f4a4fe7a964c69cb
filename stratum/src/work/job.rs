//! Jobs: one connection's ring of the work it was given.
//!
//! XMRig drops the connection when two jobs look alike, also across a reconnect, so a job id is a
//! random prefix drawn a connection plus a counter, and its extranonce carries the same counter: no
//! two jobs share a blob.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::difficulty::Difficulty;
use super::template::{Extranonce, Template, with_nonce};

/// Jobs remembered a connection; older ones count as expired.
const RING: usize = 8;
/// Digits of an id before the job's number.
const PREFIX_LEN: usize = 16;
/// Solutions remembered a job, which bounds memory when somebody sends shares of no worth.
pub const MAX_NONCES: usize = 16_384;

/// One piece of work as one connection got it. Kept small: a connection has eight, and there are
/// thousands of connections.
#[derive(Debug)]
pub struct Job {
    prefix: u64,
    /// The block it would make.
    pub template: Arc<dyn Template>,
    /// What makes its blob unlike any other.
    pub extranonce: Extranonce,
    /// What a share of it is worth.
    pub difficulty: Difficulty,
    /// The nonce's last byte, when it is not the miner's to choose (NiceHash). Never zero: a byte
    /// that is not zero is what tells a miner to leave it alone.
    pub fixed_byte: Option<u8>,
    /// Most jobs see few shares or none, for which a tree takes least.
    nonces: BTreeSet<[u8; 4]>,
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
    /// Its id, unique over connections and restarts: the connection's prefix and the job's number,
    /// in hex.
    pub fn id(&self) -> String {
        format!("{:016x}{:x}", self.prefix, self.extranonce.job)
    }

    /// The blob as sent to the miner.
    pub fn blob(&self) -> Vec<u8> {
        let blob = self.template.hashing_blob(self.extranonce);
        match self.fixed_byte {
            Some(byte) => with_nonce(blob, self.template.nonce_offset(), [0, 0, 0, byte]),
            None => blob,
        }
    }

    /// Whether the miner was free to choose this nonce.
    pub fn takes(&self, nonce: [u8; 4]) -> bool {
        self.fixed_byte.is_none_or(|byte| nonce[3] == byte)
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
    nicehash: bool,
    jobs: VecDeque<Job>,
}

impl JobRing {
    /// An empty ring. `prefix` must be random; `instance` and `connection` must not both repeat.
    pub fn new(prefix: u64, instance: u32, connection: u32) -> Self {
        Self {
            prefix,
            extranonce: Extranonce {
                instance,
                connection,
                job: 0,
            },
            nicehash: false,
            jobs: VecDeque::new(),
        }
    }

    /// The same for a miner that searches three bytes of the nonce only, if `nicehash`.
    pub fn with_nicehash(self, nicehash: bool) -> Self {
        Self { nicehash, ..self }
    }

    /// Makes a new job and makes it the current one. `difficulty` is what the template makes of it.
    pub fn issue(&mut self, template: Arc<dyn Template>, difficulty: u64) -> &Job {
        let assigned = template.assign(difficulty);
        self.extranonce.job = self.extranonce.job.wrapping_add(1);
        if self.jobs.len() == RING {
            self.jobs.pop_front();
        }
        let fixed_byte = self.nicehash.then(|| fixed_byte(self.extranonce.job));
        // Exactly one more place: a ring that doubled would mostly be empty.
        self.jobs.reserve_exact(1);
        self.jobs.push_back(Job {
            prefix: self.prefix,
            template,
            extranonce: self.extranonce,
            difficulty: assigned,
            fixed_byte,
            nonces: BTreeSet::new(),
        });
        &self.jobs[self.jobs.len() - 1]
    }

    /// The job of this id, if it is still remembered.
    pub fn find(&mut self, id: &str) -> Option<&mut Job> {
        let number = u32::from_str_radix(id.get(PREFIX_LEN..)?, 16).ok()?;
        self.jobs
            .iter_mut()
            .rev()
            .find(|job| job.extranonce.job == number && job.id() == id)
    }

    /// The job the miner should be working on.
    pub fn current(&self) -> Option<&Job> {
        self.jobs.back()
    }
}

/// 1 to 255, another one for each of 255 jobs in a row.
fn fixed_byte(job: u32) -> u8 {
    u8::try_from(job % 255 + 1).unwrap_or(u8::MAX)
}

/// How long a miner of this hashrate may be left with a job before its nonces run out, with time
/// to spare: the rate is an estimate, and a miner without nonces reconnects. Four bytes last for
/// hours, in which the chain brings new jobs anyway.
pub fn lifetime(job: Option<&Job>, hashrate_hs: f64) -> Duration {
    if job.is_none_or(|job| job.fixed_byte.is_none()) {
        return Duration::MAX;
    }
    const NONCES: f64 = (1u32 << 24) as f64;
    const RESERVE: f64 = 4.0;
    Duration::from_secs_f64((NONCES / RESERVE / hashrate_hs.max(1.0)).clamp(1.0, 3600.0))
}
