//! A pipeline: what it makes of a stream, and every one there is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use headframe_ingest::{Nats, StreamSettings, Tail};
use headframe_schemas::Stream;
use headframe_sinks::{HeldBatch, Lake, TableWriter};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::anomaly::AnomalyConfig;
use crate::energy::level::Thresholds;
use crate::fault::PipelineFault;

pub mod allocations;
pub mod anomalies;
mod derived;
pub mod evidence;
pub mod payouts;
pub mod raw_table;
pub mod rollups;
pub mod violations;

/// When a batch is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// A batch is committed when its first message is this old, in milliseconds.
    pub commit_ms: u64,
    /// A batch is committed when it has this many rows.
    pub commit_rows: usize,
    /// A batch is committed when it takes this many bytes in memory.
    pub commit_bytes: usize,
    /// Pause between two commits of a rollup, in milliseconds; live queries do not wait for them.
    pub rollup_ms: u64,
    /// Rows a rollup takes in one step.
    pub rollup_rows: i64,
    /// Memory for the rows of one stream that no commit holds yet, in bytes.
    pub tail_bytes: usize,
    /// From which part of an allocation on its use is a warning, and critical.
    pub allocation: Thresholds,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            commit_ms: 2_000,
            commit_rows: 250_000,
            commit_bytes: 64 << 20,
            rollup_ms: 5_000,
            rollup_rows: 2_000_000,
            tail_bytes: 256 << 20,
            allocation: Thresholds::default(),
        }
    }
}

impl PipelineConfig {
    /// Refuses values that cannot work, each with its key.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("commit_ms", self.commit_ms),
            ("commit_rows", self.commit_rows as u64),
            ("commit_bytes", self.commit_bytes as u64),
            ("rollup_ms", self.rollup_ms),
            ("rollup_rows", self.rollup_rows.max(0) as u64),
            ("tail_bytes", self.tail_bytes as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("pipelines.{key} must be more than 0")),
            None if self.commit_ms > 600_000 => {
                Err("pipelines.commit_ms must be at most 600000 (ten minutes)".to_owned())
            }
            None => self.allocation.validate(),
        }
    }

    pub(crate) fn commit_age(&self) -> Duration {
        Duration::from_millis(self.commit_ms)
    }
}

/// One stream in this process: the rows no commit holds yet, and how far commits have come.
pub struct StreamHandle {
    /// The stream.
    pub stream: &'static dyn Stream,
    /// Rows newer than the last commit.
    pub tail: Arc<Tail>,
    /// The last sequence committed to the raw table.
    pub committed: watch::Sender<i64>,
    base: AtomicI64,
    writers: Mutex<Vec<watch::Receiver<Option<HeldBatch>>>>,
}

impl std::fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamHandle")
            .field("stream", &self.stream.name())
            .finish_non_exhaustive()
    }
}

impl StreamHandle {
    /// A handle whose tail begins after table sequence `after`.
    pub fn new(stream: &'static dyn Stream, after: i64, config: &PipelineConfig) -> Arc<Self> {
        let tail = Arc::new(Tail::new(after, config.tail_bytes));
        Arc::new(Self {
            stream,
            tail,
            committed: watch::channel(after).0,
            base: AtomicI64::new(0),
            writers: Mutex::default(),
        })
    }

    /// What is added to a stream sequence to get the table's.
    pub fn base(&self) -> i64 {
        self.base.load(Ordering::Acquire)
    }

    /// Sets what is added to a stream sequence to get the table's.
    pub fn set_base(&self, base: i64) {
        self.base.store(base, Ordering::Release);
    }

    /// Since when a batch of this stream's tables waits for a store that is away or full, and why;
    /// `None` while all is well.
    pub fn held(&self) -> Option<HeldBatch> {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers
            .iter()
            .filter_map(|writer| writer.borrow().clone())
            .min_by_key(|held| held.since)
    }

    /// Watches a writer of one of this stream's tables for as long as it lives.
    pub(crate) fn watch(&self, writer: &TableWriter) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|writer| writer.has_changed().is_ok());
        writers.push(writer.held());
    }

    pub(crate) fn commit(&self, through: i64) {
        self.tail.committed(through);
        self.committed.send_replace(through);
    }
}

/// What pipelines work with.
#[derive(Clone)]
pub struct Context {
    /// The connection.
    pub nats: Nats,
    /// The tables.
    pub lake: Lake,
    /// When batches are closed.
    pub config: PipelineConfig,
    /// How anomalies are found.
    pub anomalies: AnomalyConfig,
    /// How streams are made that do not exist.
    pub settings: StreamSettings,
    /// The folder of this process's own keys, made when a pipeline needs one.
    pub keys: PathBuf,
}

/// What is made of a stream.
///
/// The future is boxed by hand: `async_trait` adds bounds under which the compiler proves of every
/// type of DataFusion that it may be sent, anew for each implementation: five seconds each.
pub trait Pipeline: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// Whether it has anything to do with this stream.
    fn takes(&self, stream: &dyn Stream) -> bool;
    /// Works until shutdown (`Ok`) or a fault that nobody here can decide.
    fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>>;
}

/// Every pipeline.
pub const ALL: &[&dyn Pipeline] = &[
    &raw_table::RawTable,
    &rollups::Rollups,
    &payouts::Payouts,
    &allocations::Allocations,
    &evidence::Evidence,
    &anomalies::Anomalies,
    &violations::Violations,
];
