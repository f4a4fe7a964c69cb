//! What a connection is doing, and since when, as its timers need to know.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::QueryConfig;

/// How long a connection may take for what it is doing.
pub(super) struct Timeouts {
    /// Between the first byte of a request and the end of its head.
    pub(super) header: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// For the whole body of a request.
    pub(super) body: Duration,
    /// Without taking a byte of an answer.
    pub(super) write: Duration,
}

impl Timeouts {
    /// Those of the configuration.
    pub(super) fn from_config(config: &QueryConfig) -> Self {
        Self {
            header: Duration::from_millis(config.header_timeout_ms),
            idle: Duration::from_millis(config.idle_timeout_ms),
            body: Duration::from_millis(config.body_timeout_ms),
            write: Duration::from_millis(config.write_timeout_ms),
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since then.
    Idle(Instant),
    /// Sending the head of a request, since then.
    Head(Instant),
    /// A request is being answered, which has limits of its own.
    Request,
}

/// What a connection is doing, shared by its stream, its service and its timer.
pub(super) struct Activity {
    phase: Mutex<Phase>,
    changed: Notify,
}

impl Default for Activity {
    /// A new connection has as long for its first request as for the head of any other.
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Head(Instant::now())),
            changed: Notify::new(),
        }
    }
}

impl Activity {
    /// Notes that bytes came. Those after the first of a request do not give it more time.
    pub(super) fn note_bytes(&self) {
        let mut phase = self.lock();
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(Instant::now());
            self.changed.notify_one();
        }
    }

    /// Notes that a request is being answered until the guard is dropped.
    pub(super) fn begin_request(activity: &Arc<Self>) -> InRequest {
        activity.set(Phase::Request);
        InRequest(activity.clone())
    }

    /// Resolves when the connection has taken too long for what it is doing.
    pub(super) async fn overdue(&self, timeouts: &Timeouts) {
        loop {
            let phase = *self.lock();
            let deadline = async {
                match phase {
                    Phase::Idle(since) => sleep_until(since + timeouts.idle).await,
                    Phase::Head(since) => sleep_until(since + timeouts.header).await,
                    Phase::Request => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = deadline => if *self.lock() == phase { return },
            }
        }
    }

    fn set(&self, phase: Phase) {
        *self.lock() = phase;
        self.changed.notify_one();
    }

    /// The phase is one value, so that a panic elsewhere cannot have left it half changed.
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request is being answered as long as this is there.
pub(super) struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.set(Phase::Idle(Instant::now()));
    }
}
