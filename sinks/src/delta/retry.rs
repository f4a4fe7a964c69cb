//! Trying again while a store is away or full: pauses that grow, and a word about it to whoever
//! asks.
//!
//! A batch that cannot be written is held, never dropped; readiness must be able to say so without
//! reading a log.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::SinkError;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a writer holds a batch that it cannot write.
#[derive(Debug, Clone)]
pub struct HeldBatch {
    /// Since when.
    pub since: Instant,
    /// What the store says.
    pub why: String,
}

/// How a writer bears with a store that fails: it tries again until shutdown, and tells meanwhile.
#[derive(Debug)]
pub(crate) struct Retry {
    stop: CancellationToken,
    pub(crate) held: watch::Sender<Option<HeldBatch>>,
}

impl Retry {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            held: watch::channel(None).0,
        }
    }

    pub(crate) fn pause(&self) -> Pause {
        Pause {
            next: FIRST_PAUSE,
            stop: self.stop.clone(),
            held: self.held.clone(),
            since: None,
        }
    }
}

/// Pauses that grow, and end at shutdown. The batch counts as held from the first failure until
/// this is dropped.
pub(crate) struct Pause {
    next: Duration,
    stop: CancellationToken,
    held: watch::Sender<Option<HeldBatch>>,
    since: Option<Instant>,
}

impl Pause {
    pub(crate) async fn after(
        &mut self,
        error: &SinkError,
        doing: &'static str,
    ) -> Result<(), SinkError> {
        let pause_ms = self.next.as_millis() as u64;
        tracing::warn!(%error, doing, pause_ms, "storage failed, trying again");
        metrics::counter!("headframe_sink_retries_total").increment(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        self.held.send_replace(Some(HeldBatch {
            since,
            why: error.to_string(),
        }));
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(SinkError::Cancelled(doing)),
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.held.send_replace(None);
        }
    }
}
