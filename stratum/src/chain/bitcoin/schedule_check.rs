//! When the key schedule is checked against the node: before the first job, at each new key, and
//! after a refused proof.
//!
//! The first check holds everything up, for there is nothing to mine before it. Later ones run
//! beside the mining, so that a new key brings no gap; what they find withdraws the work at the
//! next look.

use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use super::header::{LEN, id};
use super::keys::KeySchedule;
use super::rpc::Rpc;
use super::sha256d::{from_printed, reversed};
use crate::chain::{ChainError, Hash};
use crate::randomx::{HashError, Mode, SeedMemory, Vm};
use evidence::{Sample, ScheduleMismatch, heights, judge};

pub mod evidence;

/// Epochs looked at before the first job: two intervals that differ do not agree on three keys in a
/// row.
const FIRST_EPOCHS: u64 = 3;
/// Epochs looked at later.
const LATER_EPOCHS: u64 = 1;
/// Blocks after which the end of the chain is looked at again, also within an epoch: the node's own
/// may be shorter.
const AGAIN_BLOCKS: u64 = 32;

/// Between two lines of a long check in the log.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What is known of the schedule's fit.
pub(super) struct ScheduleCheck {
    rpc: Rpc,
    state: Mutex<State>,
    /// Held by whoever makes the first check; others wait for its verdict.
    first: tokio::sync::Mutex<()>,
    progress: Arc<Progress>,
}

/// How far a check is.
#[derive(Debug, Default)]
struct Progress {
    hashed: AtomicUsize,
    /// Blocks to be hashed; 0 while no first check runs.
    blocks: AtomicUsize,
}

impl Progress {
    /// One more block was hashed; a long check says so in the log now and then.
    fn advance(&self, said: &mut Instant) {
        let hashed = self.hashed.fetch_add(1, Relaxed) + 1;
        if said.elapsed() >= SAY_EVERY {
            *said = Instant::now();
            let blocks = self.blocks.load(Relaxed);
            tracing::info!(
                hashed,
                blocks,
                "checking the key schedule against the node's blocks"
            );
        }
    }
}

/// Sets the progress back however a check ends.
struct Running<'a>(&'a Progress);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.blocks.store(0, Relaxed);
        self.0.hashed.store(0, Relaxed);
    }
}

#[derive(Default)]
struct State {
    verdict: Option<Verdict>,
    running: JoinSet<Result<Verdict, ChainError>>,
}

#[derive(Debug, Clone)]
struct Verdict {
    schedule: KeySchedule,
    tip: u64,
    fit: Result<(), ScheduleMismatch>,
}

impl ScheduleCheck {
    pub(super) fn new(rpc: Rpc) -> Self {
        Self {
            rpc,
            state: Mutex::default(),
            first: tokio::sync::Mutex::default(),
            progress: Arc::default(),
        }
    }

    /// Why the schedule does not fit the node's chain, whose newest block is at `tip`; `None` when
    /// it does.
    pub(super) async fn mismatch(
        &self,
        schedule: KeySchedule,
        tip: u64,
    ) -> Result<Option<ScheduleMismatch>, ChainError> {
        if let Some(verdict) = self.known(schedule, tip) {
            return Ok(verdict.fit.err());
        }
        let _first = self.first.lock().await;
        // Whoever had to wait finds the verdict of the check that it waited for.
        if let Some(verdict) = self.known(schedule, tip) {
            return Ok(verdict.fit.err());
        }
        let _running = Running(&self.progress);
        let progress = self.progress.clone();
        let verdict = check(self.rpc.clone(), schedule, tip, FIRST_EPOCHS, progress).await?;
        self.lock().verdict = Some(verdict.clone());
        Ok(verdict.fit.err())
    }

    /// How far the first check is, while it runs.
    pub(super) fn progress(&self) -> Option<String> {
        let blocks = self.progress.blocks.load(Relaxed);
        let hashed = self.progress.hashed.load(Relaxed).min(blocks);
        (blocks > 0).then(|| {
            format!(
                "checking the key schedule: {hashed} of the node's {blocks} newest blocks hashed"
            )
        })
    }

    /// The next look checks again: the node said that a block's proof of work was wrong.
    pub(super) fn doubt(&self) {
        self.lock().verdict = None;
    }

    /// What an earlier look found, if it still says something about this tip. Starts a later check
    /// when one is due.
    fn known(&self, schedule: KeySchedule, tip: u64) -> Option<Verdict> {
        let mut state = self.lock();
        while let Some(done) = state.running.try_join_next() {
            match done {
                Ok(Ok(verdict)) => state.verdict = Some(verdict),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the key schedule could not be checked again")
                }
                Err(error) => tracing::error!(%error, "the check of the key schedule ended early"),
            }
        }
        let verdict = state
            .verdict
            .clone()
            .filter(|verdict| verdict.schedule == schedule)?;
        let new_key = schedule.key_height(tip) != schedule.key_height(verdict.tip);
        let due = new_key || tip.abs_diff(verdict.tip) >= AGAIN_BLOCKS;
        if verdict.fit.is_err() {
            // Nothing is mined meanwhile, so a new block is worth a whole look.
            return (tip == verdict.tip).then_some(verdict);
        }
        if due && state.running.is_empty() {
            state.running.spawn(check(
                self.rpc.clone(),
                schedule,
                tip,
                LATER_EPOCHS,
                Arc::default(),
            ));
        }
        Some(verdict)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Every step leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn check(
    rpc: Rpc,
    schedule: KeySchedule,
    tip: u64,
    epochs: u64,
    progress: Arc<Progress>,
) -> Result<Verdict, ChainError> {
    let samples = Arc::new(samples(&rpc, &schedule, tip, epochs).await?);
    let hashed = samples.clone();
    progress.blocks.store(samples.len(), Relaxed);
    // Hashing is pure CPU and takes half a second a key.
    let judged = tokio::task::spawn_blocking(move || {
        let mut machine: Option<(Hash, Vm)> = None;
        let mut said = Instant::now();
        judge(&schedule, &hashed, |key, bytes| {
            let hash = hash(&mut machine, key, bytes);
            progress.advance(&mut said);
            hash
        })
    });
    let judged = judged.await.map_err(|_| HashError::Stopped).flatten();
    let fit = judged.map_err(|error| {
        ChainError::Template(format!("the node's blocks could not be checked: {error}"))
    })?;
    if fit.is_ok() {
        tracing::info!(
            tip,
            blocks = samples.len(),
            interval = schedule.interval,
            "the key schedule fits the node's blocks"
        );
    }
    Ok(Verdict { schedule, tip, fit })
}

fn hash(kept: &mut Option<(Hash, Vm)>, key: &Hash, bytes: &[u8]) -> Result<Hash, HashError> {
    if let Some((_, machine)) = kept.as_ref().filter(|(of, _)| of == key) {
        return machine.hash(bytes);
    }
    // One memory at a time.
    *kept = None;
    let machine = Vm::new(&Arc::new(SeedMemory::build(key, Mode::Light)?))?;
    let hash = machine.hash(bytes)?;
    *kept = Some((*key, machine));
    Ok(hash)
}

async fn samples(
    rpc: &Rpc,
    schedule: &KeySchedule,
    tip: u64,
    epochs: u64,
) -> Result<Vec<Sample>, ChainError> {
    if tip == 0 {
        return Ok(Vec::new());
    }
    let newest = header(rpc, tip).await?;
    let bits = super::header::Header::parse(&newest).bits;
    let mut samples: Vec<Sample> = Vec::new();
    let mut key: Option<(u64, Hash)> = None;
    for height in heights(schedule, tip, bits, epochs) {
        let key_height = schedule.key_height(height);
        let key = match key.filter(|(of, _)| *of == key_height) {
            Some((_, key)) => key,
            None => {
                key.insert((key_height, block_hash(rpc, key_height).await?))
                    .1
            }
        };
        let header = if height == tip {
            newest
        } else {
            header(rpc, height).await?
        };
        samples.push(Sample {
            height,
            header,
            key,
        });
    }
    // A reorg in between would pair headers with keys of another chain.
    if block_hash(rpc, tip).await? != reversed(id(&newest)) {
        return Err(ChainError::Template(
            "the node's chain changed while it was checked".to_owned(),
        ));
    }
    Ok(samples)
}

/// The id of the block at a height, internal order: as a key, the bytes RandomX is given.
pub(super) async fn block_hash(rpc: &Rpc, height: u64) -> Result<Hash, ChainError> {
    let text: String = rpc.call("getblockhash", json!([height])).await?;
    from_printed(&text)
        .ok_or_else(|| ChainError::Template(format!("getblockhash {height} is not 64 hex digits")))
}

async fn header(rpc: &Rpc, height: u64) -> Result<[u8; LEN], ChainError> {
    let hash: String = rpc.call("getblockhash", json!([height])).await?;
    let text: String = rpc.call("getblockheader", json!([hash, false])).await?;
    let mut header = [0; LEN];
    hex::decode_to_slice(&text, &mut header).map_err(|_| {
        ChainError::Template(format!(
            "getblockheader of block {height} is not {LEN} bytes in hex"
        ))
    })?;
    if hex::encode(id(&header)) != hash {
        return Err(ChainError::Template(format!(
            "the header of block {height} is not the one of its hash"
        )));
    }
    Ok(header)
}
