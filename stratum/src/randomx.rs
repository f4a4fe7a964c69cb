//! RandomX: the memory a seed needs, shared by threads, and one virtual machine a thread.
//!
//! Everything `unsafe` of the crate is here, in [`library`] and in [`pages`]: RandomX is C++. What
//! leaves this folder is safe: a machine keeps the memory it reads alive.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thiserror::Error;

use crate::work::template::Hash;
use library::{Cache, Dataset, Flags, RawVm};

pub mod fair_queue;
mod library;
mod overload;
pub mod page_report;
pub mod pages;
pub mod plan;
mod round_robin;
mod seeds;
pub mod system_memory;
pub mod vectors;
pub mod verifier;

pub use seeds::{RandomxSettings, Seeds};
pub use verifier::Verifier;

/// Why a hash could not be computed.
#[derive(Debug, Error, Clone)]
pub enum HashError {
    /// The library refused.
    #[error(
        "RandomX failed while {doing}: {reason}; light mode needs 256 MiB a seed, full mode 2.3 GiB"
    )]
    Library { doing: &'static str, reason: String },
    /// There are too many shares of those who have not proven themselves.
    #[error("too many unverified shares ({0:?}); send good ones first, or try again later")]
    Overloaded(fair_queue::Overload),
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

impl Mode {
    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Light => "light",
            Mode::Full => "full",
        }
    }
}

/// Threads that compute a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildThreads {
    /// How many; at least one computes.
    pub count: usize,
    /// By how much they are nicer than this process (0 to 19).
    pub nice: i32,
}

/// The initialised memory of one seed, read by any number of machines.
pub struct SeedMemory {
    flags: Flags,
    cache: Arc<Cache>,
    dataset: Option<Dataset>,
}

impl SeedMemory {
    /// Computes the memory of a seed, or of any other key, on one thread: half a second in light
    /// mode, a minute in full mode.
    pub fn build(seed: &[u8], mode: Mode) -> Result<Self, HashError> {
        let light = Self::light(seed, true)?;
        match mode {
            Mode::Light => Ok(light),
            Mode::Full => {
                let threads = BuildThreads { count: 1, nice: 0 };
                Self::full(&light, threads, true, &AtomicBool::new(false))
            }
        }
    }

    /// The cache alone, in huge pages as far as the system has them, if wished for.
    pub fn light(seed: &[u8], huge_pages: bool) -> Result<Self, HashError> {
        let made =
            flags_to_try(huge_pages).find_map(|flags| Some((flags, Cache::new(flags, seed)?)));
        let (flags, cache) = made.ok_or_else(|| failed("preparing the cache", "no memory"))?;
        Ok(Self {
            flags,
            cache: Arc::new(cache),
            dataset: None,
        })
    }

    /// The same seed with its dataset, computed on these threads until `cancelled`.
    pub fn full(
        light: &SeedMemory,
        threads: BuildThreads,
        huge_pages: bool,
        cancelled: &AtomicBool,
    ) -> Result<Self, HashError> {
        let cache = light.cache.clone();
        let dataset = flags_to_try(huge_pages)
            .find_map(|flags| Dataset::new(flags, &cache, threads, cancelled));
        let dataset = dataset.ok_or_else(|| {
            failed(
                "preparing the dataset",
                "no memory, or stopped before its end",
            )
        })?;
        Ok(Self {
            flags: light.flags,
            cache,
            dataset: Some(dataset),
        })
    }

    /// Whether its memory was asked for in huge pages.
    pub fn has_huge_pages(&self) -> bool {
        self.flags.has_huge_pages()
    }

    /// Whether it has the dataset.
    pub fn mode(&self) -> Mode {
        if self.dataset.is_some() {
            Mode::Full
        } else {
            Mode::Light
        }
    }
}

/// A virtual machine, bound to the thread that made it.
pub struct Vm {
    raw: RawVm,
    // The machine reads this memory, so it must live as long; fields are dropped in the order of
    // their declaration.
    memory: Arc<SeedMemory>,
}

impl Vm {
    /// A machine over this memory.
    pub fn new(memory: &Arc<SeedMemory>) -> Result<Self, HashError> {
        // SAFETY: the machine is kept beside the memory, which is dropped after it.
        let raw = unsafe { RawVm::new(memory.flags, &memory.cache, memory.dataset.as_ref()) };
        let raw = raw.ok_or_else(|| {
            failed(
                "making a machine",
                "no memory for its scratchpad or its code",
            )
        })?;
        Ok(Self {
            raw,
            memory: memory.clone(),
        })
    }

    /// Whether it works on this memory.
    pub fn reads(&self, memory: &Arc<SeedMemory>) -> bool {
        Arc::ptr_eq(&self.memory, memory)
    }

    /// The RandomX hash of the bytes.
    pub fn hash(&self, bytes: &[u8]) -> Result<Hash, HashError> {
        checked(self.raw.hash(bytes))
    }

    /// A pipeline on this machine: each hash is read while the next one begins.
    pub fn pipeline(&mut self) -> Pipeline<'_> {
        Pipeline {
            vm: self,
            begun: false,
        }
    }
}

/// Hashes one after the other, each begun as the one before it ends, as miners do.
pub struct Pipeline<'a> {
    vm: &'a mut Vm,
    begun: bool,
}

impl Pipeline<'_> {
    /// Begins the hash of the bytes; the hash of the bytes before them, if there were any.
    pub fn next(&mut self, bytes: &[u8]) -> Option<Result<Hash, HashError>> {
        if self.begun {
            return Some(checked(self.vm.raw.next(bytes)));
        }
        self.vm.raw.first(bytes);
        self.begun = true;
        None
    }

    /// The hash that was begun last, if one was.
    pub fn last(self) -> Option<Result<Hash, HashError>> {
        self.begun.then(|| checked(self.vm.raw.last()))
    }
}

/// The library has no other way to tell that it failed.
fn checked(hash: Hash) -> Result<Hash, HashError> {
    if hash == [0; 32] {
        Err(failed("hashing", "the hash is all zeros"))
    } else {
        Ok(hash)
    }
}

/// The flags to try, the best first.
fn flags_to_try(huge_pages: bool) -> impl Iterator<Item = Flags> {
    [true, false]
        .into_iter()
        .filter(move |huge| huge_pages || !huge)
        .map(Flags::new)
}

fn failed(doing: &'static str, reason: &str) -> HashError {
    HashError::Library {
        doing,
        reason: reason.to_owned(),
    }
}
