//! Judges shares as a pool does.

use std::sync::Arc;

use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use headframe_stratum::work::difficulty::{miner_submits, target_from_hex};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::stand_in::Peer;

/// Knows the jobs that were given, and the shares that were taken.
pub struct Judge {
    memories: Vec<(u8, Arc<SeedMemory>)>,
    jobs: Vec<Value>,
    taken: Vec<(String, String)>,
}

impl Judge {
    pub fn new(seeds: &[u8]) -> Self {
        let build = |seed: &u8| {
            (
                *seed,
                Arc::new(SeedMemory::build(&[*seed; 32], Mode::Light).unwrap()),
            )
        };
        Self {
            memories: seeds.iter().map(build).collect(),
            jobs: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Remembers a job that is given out.
    pub fn given(&mut self, job: Value) -> Value {
        self.jobs.push(job.clone());
        job
    }

    /// Panics about a share that a pool would refuse.
    pub fn check(&mut self, share: &Value) {
        assert!(self.take(share), "a share came twice");
    }

    /// Forgets the share that was taken last.
    pub fn forget_last(&mut self) {
        self.taken.pop();
    }

    /// How many shares were taken.
    pub fn count_taken(&self) -> u64 {
        u64::try_from(self.taken.len()).unwrap()
    }

    /// Takes a share, unless it was taken before; panics about one that is wrong.
    pub fn take(&mut self, share: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (id, nonce) = (text(&share["job_id"]), text(&share["nonce"]));
        let job = self.jobs.iter().find(|job| job["job_id"] == *id);
        let job = job.expect("an unknown job");
        let mut blob = hex::decode(text(&job["blob"])).unwrap();
        let at = usize::try_from(job["nonce_offset"].as_u64().unwrap_or(39)).unwrap();
        let fixed = blob[at + 3];
        blob[at..at + 4].copy_from_slice(&hex::decode(&nonce).unwrap());
        assert!(
            fixed == 0 || fixed == blob[at + 3],
            "the last byte is the pool's"
        );
        let seed = hex::decode(text(&job["seed_hash"])).unwrap()[0];
        let known = self.memories.iter().find(|(known, _)| *known == seed);
        let hash = Vm::new(&known.unwrap().1).unwrap().hash(&blob).unwrap();
        assert_eq!(hex::encode(hash), text(&share["result"]));
        assert!(miner_submits(
            &hash,
            target_from_hex(&text(&job["target"])).unwrap()
        ));
        let share = (hex::encode(blob), nonce);
        let is_new = !self.taken.contains(&share);
        if is_new {
            self.taken.push(share);
        }
        is_new
    }
}

/// Takes what still comes until the miner closes the connection.
pub async fn take_rest<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, judge: &mut Judge) {
    loop {
        let line = peer.hear().await;
        match line["method"].as_str() {
            Some("submit") => {
                judge.check(&line["params"]);
                peer.accept(line["id"].as_u64().unwrap()).await;
            }
            Some("keepalived") => {}
            _ => return assert_eq!(line, Value::Null),
        }
    }
}

/// Takes so many shares of the newest job.
pub async fn take_shares<S: AsyncRead + AsyncWrite + Unpin>(
    peer: &mut Peer<S>,
    judge: &mut Judge,
    id: &str,
    count: usize,
) {
    let mut seen = 0;
    while seen < count {
        let (request, share) = peer.share().await;
        judge.check(&share);
        seen += usize::from(share["job_id"] == *id);
        peer.accept(request).await;
    }
}
