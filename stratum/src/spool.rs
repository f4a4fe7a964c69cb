//! The spool: where rows wait on the disk while JetStream is away, so that a miner's work is not
//! refused.
//!
//! `frame` and `record` say how rows lie in a file, `segments` handles the files, `durable_queue`
//! decides which row goes where. What a row is called, its producer and number, is settled before
//! JetStream is first offered it, so a row that JetStream had after all is the same row when it
//! comes again, and the reader of the stream drops it.

use headframe_ingest::lasting_state::{LastingChange, LastingState};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub mod durable_queue;
pub mod frame;
pub mod record;
pub mod segments;

use durable_queue::{DurableQueue, QueueLimits};

/// Rows a message.
const MESSAGE_ROWS: usize = 5_000;
/// Bytes a message: a quarter of what a NATS server takes unless it is told otherwise.
const MESSAGE_BYTES: usize = 256 * 1024;
/// The least a spool may hold.
const LEAST_BYTES: u64 = 1024 * 1024;

/// The section `[stratum.spool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Where it is; `stratum/spool` in the data folder when empty.
    pub folder: PathBuf,
    /// Bytes it may take on the disk. A share takes about 300.
    pub max_bytes: u64,
    /// Milliseconds JetStream may take to confirm a row before it goes to the spool.
    pub patience_ms: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            max_bytes: 1024 * 1024 * 1024,
            patience_ms: 400,
        }
    }
}

impl SpoolConfig {
    /// Refuses what cannot work when a row must be durable after `durable_timeout_s`: the key, its
    /// value and the reason.
    pub fn validate(&self, durable_timeout_s: u64) -> Result<(), (&'static str, String, String)> {
        if self.max_bytes < LEAST_BYTES {
            let reason = format!("must be at least {LEAST_BYTES}");
            return Err(("spool.max_bytes", self.max_bytes.to_string(), reason));
        }
        if self.patience_ms == 0
            || self.patience_ms.saturating_mul(2) > durable_timeout_s.saturating_mul(1000)
        {
            let reason = "must be at least 1 and at most half of durable_timeout_s, or nothing is \
                          left for the disk"
                .to_owned();
            return Err(("spool.patience_ms", self.patience_ms.to_string(), reason));
        }
        Ok(())
    }

    /// Bytes a file grows to: small enough that its end comes soon, for only then its space is free
    /// again.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(64 * 1024, 8 * 1024 * 1024)
    }

    pub(crate) fn limits(&self) -> QueueLimits {
        let patience = Duration::from_millis(self.patience_ms);
        QueueLimits {
            rows: MESSAGE_ROWS,
            bytes: MESSAGE_BYTES,
            spool: self.max_bytes,
            patience,
        }
    }
}

/// How the spool is, for status lines and readiness.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SpoolState {
    /// Whether rows go to the disk, because JetStream does not confirm them or older ones wait
    /// there.
    pub spooling: bool,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Rows made durable on the disk since the start.
    pub rows: u64,
    /// Records that could not be read back; their bytes are set aside.
    pub damaged: u64,
    /// Why good shares are refused, if they are.
    pub refuses: Option<String>,
}

/// The state, shared with whoever wants to know. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct SpoolWatch(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    state: SpoolState,
    /// Rows go to the disk.
    spooling: LastingState,
    /// Good shares are refused.
    refusing: LastingState,
}

impl SpoolWatch {
    /// The state now.
    pub fn state(&self) -> SpoolState {
        self.watched().state.clone()
    }

    /// Takes over what the durable queue says, and tells when something begins or ends.
    pub(crate) fn note<W>(&self, durable_queue: &DurableQueue<W>) {
        let mut watched = self.watched();
        let now = Instant::now();
        let is_spooling = durable_queue.is_spooling();
        match watched.spooling.update(is_spooling, now) {
            Some(LastingChange::Lasts(_)) => tracing::warn!(
                "rows go to the spool: jetstream does not confirm, or older rows wait there"
            ),
            Some(LastingChange::Ended(lasted)) => tracing::info!(
                lasted_s = lasted.as_secs_f64(),
                "the spool is empty; rows go to jetstream"
            ),
            None => {}
        }
        let state = &mut watched.state;
        if is_spooling != state.spooling {
            state.spooling = is_spooling;
            metrics::gauge!("headframe_stratum_spooling").set(f64::from(u8::from(state.spooling)));
        }
        if durable_queue.used() != state.bytes {
            state.bytes = durable_queue.used();
            metrics::gauge!("headframe_stratum_spool_bytes").set(state.bytes as f64);
        }
        let refuses = durable_queue.refuses();
        if refuses.is_some() != state.refuses.is_some() {
            state.refuses = refuses.map(|reason| reason.to_string());
        }
        let reason = state.refuses.clone();
        match watched.refusing.update(reason.is_some(), now) {
            Some(LastingChange::Lasts(_)) => tracing::error!(reason, "good shares are refused"),
            Some(LastingChange::Ended(lasted)) => tracing::info!(
                lasted_s = lasted.as_secs_f64(),
                "good shares are taken again"
            ),
            None => {}
        }
    }

    pub(crate) fn spooled(&self, rows: usize) {
        metrics::counter!("headframe_stratum_spooled_rows_total").increment(rows as u64);
        self.watched().state.rows += rows as u64;
    }

    pub(crate) fn damaged(&self, records: u64) {
        metrics::counter!("headframe_stratum_spool_damaged_total").increment(records);
        self.watched().state.damaged += records;
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
