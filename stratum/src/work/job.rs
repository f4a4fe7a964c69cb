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
/// Leased jobs remembered a connection, besides.
const LEASED: usize = 1_024;
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
    /// Jobs for other machines of the same miner, the newest last.
    leased: VecDeque<Job>,
    /// How many of them were made beside the current job.
    beside_current: usize,
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
            leased: VecDeque::new(),
            beside_current: 0,
        }
    }

    /// The same for a miner that searches three bytes of the nonce only, if `nicehash`.
    pub fn with_nicehash(self, nicehash: bool) -> Self {
        Self { nicehash, ..self }
    }

    /// Makes a new job and makes it the current one. `difficulty` is what the template makes of it.
    pub fn issue(&mut self, template: Arc<dyn Template>, difficulty: u64) -> &Job {
        let assigned = template.assign(difficulty);
        if self.jobs.len() == RING {
            self.jobs.pop_front();
            let kept = &self.jobs;
            let is_kept = |leased: &Job| {
                let of = |job: &Job| Arc::ptr_eq(&job.template, &leased.template);
                kept.iter().any(of)
            };
            self.leased.retain(is_kept);
        }
        let job = self.next_job(template, assigned);
        self.beside_current = 0;
        // Exactly one more place: a ring that doubled would mostly be empty.
        self.jobs.reserve_exact(1);
        self.jobs.push_back(job);
        &self.jobs[self.jobs.len() - 1]
    }

    /// Makes so many jobs beside the current one, which differ from it in the extranonce alone. How
    /// many were made: none where there is no current one, where it has all that it may have, or
    /// where the nonces are split by a byte.
    pub fn lease(&mut self, count: usize) -> usize {
        let current = self.jobs.back().filter(|job| job.fixed_byte.is_none());
        let Some((template, difficulty)) =
            current.map(|job| (job.template.clone(), job.difficulty))
        else {
            return 0;
        };
        let count = count.min(LEASED - self.beside_current);
        self.beside_current += count;
        for _ in 0..count {
            if self.leased.len() == LEASED {
                self.leased.pop_front();
            }
            let job = self.next_job(template.clone(), difficulty);
            self.leased.push_back(job);
        }
        count
    }

    /// The last so many leased jobs, the newest last.
    pub fn newest_leased(&self, count: usize) -> impl Iterator<Item = &Job> {
        self.leased
            .iter()
            .skip(self.leased.len().saturating_sub(count))
    }

    fn next_job(&mut self, template: Arc<dyn Template>, difficulty: Difficulty) -> Job {
        self.extranonce.job = self.extranonce.job.wrapping_add(1);
        Job {
            prefix: self.prefix,
            template,
            extranonce: self.extranonce,
            difficulty,
            fixed_byte: self.nicehash.then(|| fixed_byte(self.extranonce.job)),
            nonces: BTreeSet::new(),
        }
    }

    /// The job of this id, if it is still remembered.
    pub fn find(&mut self, id: &str) -> Option<&mut Job> {
        let number = u32::from_str_radix(id.get(PREFIX_LEN..)?, 16).ok()?;
        let jobs = self.jobs.iter_mut().rev();
        jobs.chain(self.leased.iter_mut().rev())
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
