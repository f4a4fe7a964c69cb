//! The simulation's pool: sessions, jobs that may come back under other names, and a strict judge.

use std::collections::{HashMap, HashSet};

use headframe_stratum::miner::client::ShareToSend;
use headframe_stratum::miner::pool_message::PoolJob;
use rand::Rng;
use rand::rngs::StdRng;

use super::{model_hash, space_of};

/// The target of every job; what the model calls an upstream share is below it.
pub const TARGET: u64 = u64::MAX / 1_000;

pub struct Upstream {
    pub session: u64,
    pub is_up: bool,
    /// Earlier sessions over which it still answers.
    left: HashSet<u64>,
    jobs_by_id: HashMap<String, PoolJob>,
    /// Jobs of this session.
    jobs: Vec<PoolJob>,
    /// What it was sent and took, by blob and nonce.
    taken: HashSet<(u64, [u8; 4])>,
    last_blob: Option<Vec<u8>>,
    /// The session of each job.
    sessions: HashMap<String, u64>,
    count: u64,
    seed: u64,
    /// The coordinator's term, which has an extranonce of its own.
    term: u64,
    /// Whether it leases further jobs, as our own pool does.
    pub leases: bool,
}

impl Upstream {
    pub fn new(seed: u64, term: u64) -> Self {
        Self {
            session: 0,
            is_up: false,
            left: HashSet::new(),
            jobs_by_id: HashMap::new(),
            jobs: Vec::new(),
            taken: HashSet::new(),
            last_blob: None,
            sessions: HashMap::new(),
            count: 0,
            seed,
            term,
            leases: !seed.is_multiple_of(4) && seed % 5 != 1,
        }
    }

    /// A login; the pool may go on with the blob it gave before.
    pub fn log_in(&mut self, keeps_blob: bool, random: &mut StdRng) -> PoolJob {
        self.session += 1;
        self.is_up = true;
        self.jobs.clear();
        let blob = self.last_blob.clone().filter(|_| keeps_blob);
        self.add(blob, random)
    }

    /// The miner goes in order; the session that still is open for answers.
    pub fn leave(&mut self) -> u64 {
        self.is_up = false;
        self.left.insert(self.session);
        self.session
    }

    /// Whether a session was left, and is open for answers.
    pub fn is_left(&self, session: u64) -> bool {
        self.left.contains(&session)
    }

    /// Closes a session that was left. False when it was closed before.
    pub fn close(&mut self, session: u64) -> bool {
        self.left.remove(&session)
    }

    /// Another job: a new blob as a rule, sometimes the same one under another name.
    pub fn next_job(&mut self, random: &mut StdRng) -> PoolJob {
        let same = self.last_blob.clone().filter(|_| random.random_ratio(1, 8));
        self.add(same, random)
    }

    /// Jobs beside the newest one, each with a blob of its own.
    pub fn lease(&mut self, count: usize, random: &mut StdRng) -> Vec<PoolJob> {
        let newest = self.last_blob.clone();
        let jobs = (0..count).map(|_| self.add(None, random)).collect();
        self.last_blob = newest;
        jobs
    }

    fn add(&mut self, blob: Option<Vec<u8>>, random: &mut StdRng) -> PoolJob {
        self.count += 1;
        let blob = blob.unwrap_or_else(|| {
            let mut blob = vec![0; 76];
            let first = self.count + (self.term << 24) + (self.seed << 40);
            blob[..8].copy_from_slice(&first.to_le_bytes());
            blob
        });
        self.last_blob = Some(blob.clone());
        let job = PoolJob {
            job_id: format!("{:x}", random.random::<u64>()),
            algo: "rx/0".to_owned(),
            blob,
            nonce_offset: 39,
            target: TARGET,
            seed: [7; 32],
            next_seed: None,
            height: Some(self.count),
            network_difficulty: None,
            // A pool keeps the last byte or does not; it does not change its mind.
            nicehash: self.seed.is_multiple_of(4),
        };
        self.jobs.push(job.clone());
        self.jobs_by_id.insert(job.job_id.clone(), job.clone());
        self.sessions.insert(job.job_id.clone(), self.session);
        job
    }

    pub fn jobs_of_session(&self) -> impl Iterator<Item = &PoolJob> {
        self.jobs.iter()
    }

    /// Whatever the coordinator sends must be right, wherever it arrives.
    pub fn must_be_right(&self, share: &ShareToSend) {
        let job = self.jobs_by_id.get(&share.job_id);
        let job = job.expect("a share for a job that never was");
        let nonce = u32::from_le_bytes(share.nonce);
        assert_eq!(
            share.hash,
            model_hash(space_of(&job.blob), nonce),
            "a wrong share went upstream"
        );
        let top = u64::from_le_bytes(share.hash[24..].try_into().unwrap());
        assert!(top < job.target, "a share below the target went upstream");
        assert!(
            !job.nicehash || share.nonce[3] == job.fixed_byte(),
            "a share with a last byte that is not ours went upstream"
        );
    }

    /// The pool's answer.
    pub fn judge(&mut self, share: &ShareToSend) -> Option<String> {
        let job = self.jobs_by_id.get(&share.job_id);
        let job = job.filter(|job| self.sessions.get(&job.job_id) == Some(&share.session));
        let job = job.expect("a share for a job of another session");
        let hashed = (space_of(&job.blob), share.nonce);
        (!self.taken.insert(hashed)).then(|| "Duplicate share".to_owned())
    }
}
