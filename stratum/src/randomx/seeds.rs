//! The memories of the newest seeds, built once each and shared by verifier and miner.
//!
//! A seed can be verified as soon as its cache is there, half a second after it is asked for. In
//! full mode its dataset follows in the background, and whoever asks next gets the faster memory.
//! So neither a start nor an epoch has a gap.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::page_report::PageReport;
use super::plan::{self, Action, DatasetState, ModeChoice, ModeSetting};
use super::{BuildThreads, HashError, Mode, SeedMemory, pages, system_memory};
use crate::work::template::Hash;

/// How many seeds stay in memory: the one in use and its neighbour, so that an epoch switch has no
/// gap.
const SEEDS_KEPT: usize = 2;
/// Between looks at the memory while there is too little of it.
const MEMORY_RETRY: Duration = Duration::from_secs(2);
/// After a dataset could not be had.
const BUILD_RETRY: Duration = Duration::from_secs(60);

/// The section `[stratum.randomx]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomxSettings {
    /// `auto`, `full` (2.3 GiB a seed, ten times faster) or `light` (256 MiB a seed).
    pub mode: ModeSetting,
    /// Use huge pages: reserved ones of 1 GiB or 2 MiB first (`vm.nr_hugepages`), else transparent
    /// ones, which the kernel gives where `transparent_hugepage/enabled` is not `never`. Without
    /// any RandomX is a third slower.
    pub huge_pages: bool,
    /// Threads that build the dataset of the seed in use; 0 = all cores.
    pub build_threads: usize,
}

impl Default for RandomxSettings {
    fn default() -> Self {
        Self {
            mode: ModeSetting::Auto,
            huge_pages: true,
            build_threads: 0,
        }
    }
}

/// The memories.
pub struct Seeds {
    choice: ModeChoice,
    huge_pages: bool,
    build_threads: BuildThreads,
    recent: Mutex<Vec<Entry>>,
    requested: watch::Sender<RequestedSeeds>,
    /// The seed whose dataset is computed on all cores.
    building: watch::Sender<Option<Hash>>,
}

#[derive(Clone)]
struct Entry {
    seed: Hash,
    light: Arc<OnceCell<Arc<SeedMemory>>>,
    full: Option<Arc<SeedMemory>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RequestedSeeds {
    current: Option<Hash>,
    next: Option<Hash>,
}

impl Seeds {
    /// None yet. Datasets are built only while [`Seeds::build_datasets`] runs.
    pub fn new(mode: Mode) -> Self {
        let wish = if mode == Mode::Full {
            ModeSetting::Full
        } else {
            ModeSetting::Light
        };
        Self::with(&RandomxSettings {
            mode: wish,
            ..RandomxSettings::default()
        })
    }

    /// The same, as configured; `auto` looks at the memory now.
    pub fn with(settings: &RandomxSettings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if settings.build_threads == 0 {
            cores
        } else {
            settings.build_threads
        };
        Self {
            choice: plan::choose_mode(settings.mode, system_memory::available()),
            huge_pages: settings.huge_pages,
            build_threads: BuildThreads { count, nice: 0 },
            recent: Mutex::new(Vec::with_capacity(SEEDS_KEPT + 1)),
            requested: watch::Sender::default(),
            building: watch::Sender::default(),
        }
    }

    /// Lets the threads that compute datasets be nicer than the rest of the process (0 to 19).
    pub fn with_build_nice(mut self, nice: i32) -> Self {
        self.build_threads.nice = nice;
        self
    }

    /// The mode the memories are built for.
    pub fn mode(&self) -> Mode {
        self.choice.mode
    }

    /// The mode, and why it was chosen.
    pub fn choice(&self) -> &ModeChoice {
        &self.choice
    }

    /// The best memory there is of a seed: the full one once it is built, else the light one.
    /// Callers of the same seed wait for one build; the least recently asked seed is forgotten, but
    /// lives on while a machine uses it.
    pub async fn memory(&self, seed: Hash) -> Result<Arc<SeedMemory>, HashError> {
        let entry = self.entry(seed);
        if let Some(full) = entry.full {
            return Ok(full);
        }
        let huge_pages = self.huge_pages;
        let build = || async move {
            let started = Instant::now();
            let built = tokio::task::spawn_blocking(move || {
                SeedMemory::light(&seed, huge_pages).map(Arc::new)
            });
            let memory = built.await.map_err(|_| HashError::Stopped)??;
            prepared(&seed, Mode::Light, started);
            Ok(memory)
        };
        Ok(entry.light.get_or_try_init(build).await?.clone())
    }

    /// Says which seed the work has and which one follows, so that their datasets can be built.
    pub fn request(&self, current: Hash, next: Option<Hash>) {
        let requested = RequestedSeeds {
            current: Some(current),
            next,
        };
        self.requested.send_if_modified(|known| {
            let changed = *known != requested;
            *known = requested;
            changed
        });
    }

    /// Has the next epoch's cache made ahead, so that the epoch's first job is hashed at once.
    pub fn prepare_ahead(self: &Arc<Self>, next: Option<Hash>) {
        let Some(next) = next.filter(|next| !self.is_prepared(next)) else {
            return;
        };
        let seeds = self.clone();
        tokio::spawn(async move {
            if let Err(error) = seeds.memory(next).await {
                tracing::warn!(%error, "the next epoch's cache could not be made ahead");
            }
        });
    }

    /// Whether shares of a seed can be verified at once.
    pub fn is_prepared(&self, seed: &Hash) -> bool {
        self.recent()
            .iter()
            .any(|entry| entry.seed == *seed && entry.light.initialized())
    }

    /// Whether a seed has its dataset.
    pub fn is_full(&self, seed: &Hash) -> bool {
        self.full(seed).is_some()
    }

    /// The memory of a seed that has its dataset.
    pub fn full(&self, seed: &Hash) -> Option<Arc<SeedMemory>> {
        let recent = self.recent();
        let entry = recent.iter().find(|entry| entry.seed == *seed)?;
        entry.full.clone()
    }

    /// The seed whose dataset is being computed on all cores, and whenever that changes: when the
    /// dataset is there, or the build was given up, it is none.
    pub fn building(&self) -> watch::Receiver<Option<Hash>> {
        self.building.subscribe()
    }

    /// Pretends that a dataset is being computed, or is not.
    #[cfg(test)]
    pub(crate) fn pretend_building(&self, seed: Option<Hash>) {
        self.building.send_replace(seed);
    }

    /// Builds and releases datasets as requested until `stop`; in light mode there is nothing to
    /// do.
    pub async fn build_datasets(&self, stop: CancellationToken) {
        if self.mode() == Mode::Light {
            return stop.cancelled().await;
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let build = async {
            let mut requested = self.requested.subscribe();
            loop {
                requested.borrow_and_update();
                let pause = match plan::next_action(&self.dataset_state()) {
                    Action::Build(seed) => self.build(seed, true, &cancelled).await,
                    Action::BuildAhead(seed) => self.build(seed, false, &cancelled).await,
                    Action::Release(seed) => self.release(&seed),
                    Action::Wait => MEMORY_RETRY,
                    Action::Rest => Duration::MAX,
                };
                tokio::select! {
                    changed = requested.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = build => {}
        }
        cancelled.store(true, Relaxed);
    }

    fn dataset_state(&self) -> DatasetState {
        let built: Vec<Hash> = self
            .recent()
            .iter()
            .filter(|entry| entry.full.is_some())
            .map(|entry| entry.seed)
            .collect();
        let requested = self.requested.borrow().clone();
        let full = requested
            .current
            .is_some_and(|current| built.contains(&current));
        metrics::gauge!("headframe_stratum_randomx_full").set(f64::from(u8::from(full)));
        DatasetState {
            current: requested.current,
            next: requested.next,
            built,
            available: system_memory::available(),
        }
    }

    /// Builds one dataset, on all cores or, ahead of its time, on few; returns how long to wait
    /// before the next action.
    async fn build(&self, seed: Hash, on_all_cores: bool, cancelled: &Arc<AtomicBool>) -> Duration {
        let light = match self.memory(seed).await {
            Ok(light) => light,
            Err(error) => {
                tracing::error!(%error, "the seed's cache could not be built; trying again");
                return BUILD_RETRY;
            }
        };
        let mut threads = self.build_threads;
        if !on_all_cores {
            // The shares of the running epoch come first.
            threads.count = (threads.count / 4).max(1);
        }
        let _building = on_all_cores.then(|| Building::begin(&self.building, seed));
        let (started, huge_pages, cancelled) = (Instant::now(), self.huge_pages, cancelled.clone());
        let built = tokio::task::spawn_blocking(move || {
            SeedMemory::full(&light, threads, huge_pages, &cancelled)
        })
        .await;
        match built {
            Ok(Ok(full)) => {
                if let Some(entry) = self.recent().iter_mut().find(|entry| entry.seed == seed) {
                    entry.full = Some(Arc::new(full));
                }
                prepared(&seed, Mode::Full, started);
                Duration::ZERO
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the dataset could not be built; shares are verified in \
                                         light mode");
                BUILD_RETRY
            }
            Err(_) => BUILD_RETRY,
        }
    }

    /// Gives a dataset up. Its memory becomes free when the last machine on it has gone.
    fn release(&self, seed: &Hash) -> Duration {
        if let Some(entry) = self.recent().iter_mut().find(|entry| entry.seed == *seed) {
            entry.full = None;
            tracing::info!(seed = %hex::encode(seed), "dataset released");
        }
        Duration::ZERO
    }

    fn recent(&self) -> MutexGuard<'_, Vec<Entry>> {
        // The list is consistent at every step, so a panic elsewhere does not spoil it.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, seed: Hash) -> Entry {
        let mut recent = self.recent();
        let known = recent.iter().position(|entry| entry.seed == seed);
        let entry = match known {
            Some(place) => recent.remove(place),
            None => Entry {
                seed,
                light: Arc::new(OnceCell::new()),
                full: None,
            },
        };
        recent.push(entry.clone());
        if recent.len() > SEEDS_KEPT {
            recent.remove(0);
        }
        let memories = recent
            .iter()
            .map(|entry| {
                plan::CACHE
                    + if entry.full.is_some() {
                        plan::DATASET
                    } else {
                        0
                    }
            })
            .sum::<u64>();
        metrics::gauge!("headframe_stratum_randomx_bytes").set(memories as f64);
        entry
    }
}

/// While it lives, the dataset of a seed is being computed on all cores.
struct Building<'a>(&'a watch::Sender<Option<Hash>>);

impl<'a> Building<'a> {
    fn begin(building: &'a watch::Sender<Option<Hash>>, seed: Hash) -> Self {
        building.send_replace(Some(seed));
        Self(building)
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

fn prepared(seed: &Hash, mode: Mode, started: Instant) {
    let took = started.elapsed();
    metrics::histogram!("headframe_stratum_seed_prepared_seconds", "mode" => mode.as_str())
        .record(took.as_secs_f64());
    let pages = pages::report();
    for (bytes, kind) in pages.by_kind() {
        metrics::gauge!("headframe_stratum_randomx_page_bytes", "pages" => kind).set(bytes as f64);
    }
    tracing::info!(
        seed = %hex::encode(seed), ?mode, took_ms = took.as_millis() as u64, %pages, "seed prepared"
    );
    if pages.is_slow() {
        tracing::warn!(%pages, "RandomX loses about a third of its speed to 4 KiB pages; {}",
            PageReport::advice());
    }
}
