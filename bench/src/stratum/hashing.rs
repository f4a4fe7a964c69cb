//! Threads that mine: one RandomX memory for all miners, so that thousands of them fit on one
//! machine.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use headframe_stratum::randomx::{Mode, SeedMemory, Seeds, Vm};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Hashes that may wait for a thread.
const WAITING: usize = 65_536;

/// The threads' queue. They end when it is dropped.
pub struct HashingThreads {
    seeds: Arc<Seeds>,
    requests: SyncSender<HashRequest>,
}

struct HashRequest {
    memory: Arc<SeedMemory>,
    blob: Vec<u8>,
    answer: oneshot::Sender<[u8; 32]>,
}

impl HashingThreads {
    /// Starts the threads at a nice level; datasets, if wished for, are built until `stop`.
    pub fn start(
        threads: usize,
        nice: i32,
        full: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let (requests, inbox) = sync_channel(WAITING);
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..threads.max(1) {
            let inbox = inbox.clone();
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            thread
                .spawn(move || run_thread(&inbox, nice))
                .context("a hashing thread does not start")?;
        }
        let seeds = Arc::new(Seeds::new(if full { Mode::Full } else { Mode::Light }));
        let (builder, stop) = (seeds.clone(), stop.clone());
        tokio::spawn(async move { builder.build_datasets(stop).await });
        Ok(Self { seeds, requests })
    }

    /// Gets a seed's cache ready before its first hash.
    pub async fn prepare(&self, seed: [u8; 32]) {
        // What fails here fails again, and is told, at the first hash.
        let _ = self.seeds.memory(seed).await;
    }

    /// The memory of a seed as it should be for measuring: with its dataset, if wished for.
    pub async fn memory(&self, seed: [u8; 32]) -> anyhow::Result<Arc<SeedMemory>> {
        self.seeds.request(seed, None);
        loop {
            let memory = self.seeds.memory(seed).await?;
            if memory.mode() == self.seeds.mode() {
                return Ok(memory);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The hash of a blob; `None` when too many wait already, or RandomX failed.
    pub async fn hash(&self, seed: [u8; 32], blob: Vec<u8>) -> Option<[u8; 32]> {
        self.seeds.request(seed, None);
        let memory = self.seeds.memory(seed).await.ok()?;
        let (answer, hash) = oneshot::channel();
        self.requests
            .try_send(HashRequest {
                memory,
                blob,
                answer,
            })
            .ok()?;
        hash.await.ok()
    }
}

fn run_thread(inbox: &Mutex<Receiver<HashRequest>>, nice: i32) {
    // Elsewhere each miner has a machine of its own; here the pool comes first. Where that is not
    // allowed they share.
    let _ = rustix::process::nice(nice);
    let mut machine: Option<Vm> = None;
    loop {
        let received = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(requests) = received else { return };
        if machine
            .as_ref()
            .is_none_or(|machine| !machine.reads(&requests.memory))
        {
            machine = Vm::new(&requests.memory).ok();
        }
        if let Some(hash) = machine
            .as_ref()
            .and_then(|machine| machine.hash(&requests.blob).ok())
        {
            // A miner that was stopped waits no more.
            let _ = requests.answer.send(hash);
        }
    }
}
