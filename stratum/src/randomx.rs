//! RandomX: the memory a seed needs, shared by threads, and one virtual machine a thread.
//!
//! This file holds the crate's only `unsafe`. The binding keeps raw pointers and so is neither `Send` nor `Sync`; the
//! library itself allows any number of machines to read one initialised cache or dataset at once.

use randomx_rs::{RandomXCache, RandomXDataset, RandomXError, RandomXFlag, RandomXVM};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::chain::Hash;

pub mod fair;
mod lane;
mod strain;
pub mod verifier;

pub use verifier::Verifier;

/// How many seeds stay in memory: the one in use and its neighbour, so that an epoch switch has no gap.
const SEEDS_KEPT: usize = 2;

/// Why a hash could not be computed.
#[derive(Debug, Error, Clone)]
pub enum HashError {
    /// The library refused.
    #[error("RandomX failed while {doing}: {reason}; light mode needs 256 MiB a seed, full mode 2.3 GiB")]
    Library { doing: &'static str, reason: String },
    /// There are too many shares of those who have not proven themselves.
    #[error("too many unverified shares ({0:?}); send good ones first, or try again later")]
    Overloaded(fair::Overload),
    /// The verifier has stopped.
    #[error("the RandomX verifier has stopped")]
    Stopped,
}

/// How much memory to trade for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 256 MiB a seed, about 15 ms a hash.
    Light,
    /// 2.3 GiB a seed, about ten times faster.
    Full,
}

/// The initialised memory of one seed.
pub struct Memory {
    flags: RandomXFlag,
    cache: RandomXCache,
    dataset: Option<RandomXDataset>,
}

// SAFETY: `cache` and `dataset` are written only inside `Memory::build`, before the value is shared. Afterwards the
// library only reads them (`randomx.h`: a cache or dataset may be used by several machines), the reference counts beside
// the pointers are atomic (`Arc`), and releasing on another thread than the allocating one is a plain `free`/`munmap`.
#[allow(unsafe_code)]
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives only clones of the counted handles, whose pointees are never written again.
#[allow(unsafe_code)]
unsafe impl Sync for Memory {}

impl Memory {
    /// Computes the memory of a seed: half a second of one core in light mode, tens of seconds in full mode.
    pub fn build(seed: &Hash, mode: Mode) -> Result<Self, HashError> {
        let flags = RandomXFlag::get_recommended_flags();
        let cache = RandomXCache::new(flags, seed).map_err(|error| failed("preparing the cache", &error))?;
        let dataset = match mode {
            Mode::Light => None,
            Mode::Full => {
                let dataset = RandomXDataset::new(RandomXFlag::FLAG_DEFAULT, cache.clone(), 0);
                Some(dataset.map_err(|error| failed("preparing the dataset", &error))?)
            }
        };
        Ok(Self { flags, cache, dataset })
    }
}

/// A virtual machine, bound to the thread that made it.
pub struct Machine {
    vm: RandomXVM,
    // The machine reads this memory, so it must live as long.
    memory: Arc<Memory>,
}

impl Machine {
    /// A machine over this memory.
    pub fn new(memory: &Arc<Memory>) -> Result<Self, HashError> {
        let mut flags = memory.flags;
        if memory.dataset.is_some() {
            flags |= RandomXFlag::FLAG_FULL_MEM;
        }
        let vm = RandomXVM::new(flags, Some(memory.cache.clone()), memory.dataset.clone());
        Ok(Self { vm: vm.map_err(|error| failed("making a machine", &error))?, memory: memory.clone() })
    }

    /// Whether it works on this memory.
    pub fn reads(&self, memory: &Arc<Memory>) -> bool {
        Arc::ptr_eq(&self.memory, memory)
    }

    /// The RandomX hash of the bytes.
    pub fn hash(&self, bytes: &[u8]) -> Result<Hash, HashError> {
        let hash = self.vm.calculate_hash(bytes).map_err(|error| failed("hashing", &error))?;
        hash.try_into().map_err(|_| HashError::Library { doing: "hashing", reason: "the hash is not 32 bytes".to_owned() })
    }
}

/// The memories of the newest seeds, built once each and shared by verifier and miner.
pub struct Seeds {
    mode: Mode,
    recent: Mutex<Vec<Entry>>,
}

#[derive(Clone)]
struct Entry {
    seed: Hash,
    memory: Arc<OnceCell<Arc<Memory>>>,
}

impl Seeds {
    /// None yet.
    pub fn new(mode: Mode) -> Self {
        Self { mode, recent: Mutex::new(Vec::with_capacity(SEEDS_KEPT + 1)) }
    }

    /// The mode the memories are built for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The memory of a seed. Callers of the same seed wait for one build; the least recently asked seed is forgotten, but
    /// lives on while a machine uses it.
    pub async fn memory(&self, seed: Hash) -> Result<Arc<Memory>, HashError> {
        let cell = self.entry(seed).memory;
        let mode = self.mode;
        let memory = cell
            .get_or_try_init(|| async move {
                let started = std::time::Instant::now();
                let built = tokio::task::spawn_blocking(move || Memory::build(&seed, mode).map(Arc::new));
                let memory = built.await.map_err(|_| HashError::Stopped)??;
                tracing::info!(seed = %hex::encode(seed), ?mode, took_ms = started.elapsed().as_millis() as u64, "seed prepared");
                Ok(memory)
            })
            .await?;
        Ok(memory.clone())
    }

    fn entry(&self, seed: Hash) -> Entry {
        // The list is consistent at every step, so a panic elsewhere does not spoil it.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.iter().position(|entry| entry.seed == seed);
        let entry = match known {
            Some(place) => recent.remove(place),
            None => Entry { seed, memory: Arc::new(OnceCell::new()) },
        };
        recent.push(entry.clone());
        if recent.len() > SEEDS_KEPT {
            recent.remove(0);
        }
        entry
    }
}

fn failed(doing: &'static str, error: &RandomXError) -> HashError {
    HashError::Library { doing, reason: error.to_string() }
}
