//! What a connection is doing, and since when, as its timers need to know.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Version;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::connection::settings::ConnectionSettings;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, since then.
    Idle(Instant),
    /// Sending the head of a request, since then.
    Head(Instant),
    /// Requests are being answered, which have limits of their own.
    Requests,
}

/// What a connection is doing, shared by its stream, its service and its timer.
pub(super) struct Activity {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    phase: Phase,
    /// Requests that are being answered; HTTP/2 has many at once.
    requests: usize,
    /// Whether the connection has begun to speak HTTP/2, whose clients send more than requests.
    is_http2: bool,
    /// Of each answer over HTTP/2 whose next piece the client has not made space for, since when.
    /// The socket cannot tell: HTTP/2 stops one answer and goes on with the others.
    untaken: BTreeMap<u64, Instant>,
    next_id: u64,
    /// When it had to make way for another connection.
    ended: Option<Instant>,
}

impl Default for Activity {
    /// A new connection has as long for its first request as for the head of any other.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Head(Instant::now()),
                requests: 0,
                is_http2: false,
                untaken: BTreeMap::new(),
                next_id: 0,
                ended: None,
            }),
            changed: Notify::new(),
        }
    }
}

impl Activity {
    /// Notes that bytes came. Those after the first of a request do not give it more time, and over
    /// HTTP/2 they need not belong to a request at all.
    pub(super) fn note_bytes(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Idle(_)) && !state.is_http2 {
            state.phase = Phase::Head(Instant::now());
            self.changed.notify_one();
        }
    }

    /// Notes that a request is being answered until the guard is dropped.
    pub(super) fn begin_request(activity: &Arc<Self>, version: Version) -> InRequest {
        let is_http2 = version == Version::HTTP_2;
        let mut state = activity.lock();
        state.is_http2 |= is_http2;
        state.requests += 1;
        state.next_id += 1;
        if state.phase != Phase::Requests {
            state.phase = Phase::Requests;
            activity.changed.notify_one();
        }
        InRequest {
            activity: activity.clone(),
            http2_id: is_http2.then_some(state.next_id),
        }
    }

    /// Since when the connection waits for a request or the end of one's head; `None` while it is
    /// answered, and when it was ended.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let state = self.lock();
        match state.phase {
            Phase::Idle(since) | Phase::Head(since) if state.ended.is_none() => Some(since),
            _ => None,
        }
    }

    /// Ends the connection, so that another one has its place.
    pub(super) fn end(&self) {
        self.lock().ended = Some(Instant::now());
        self.changed.notify_one();
    }

    /// Resolves when the connection has taken too long for what it is doing.
    pub(super) async fn overdue(&self, settings: &ConnectionSettings) {
        loop {
            let deadline = self.lock().deadline(settings);
            let passed = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = passed => if self.lock().deadline(settings) == deadline { return },
            }
        }
    }

    /// The state is changed by one step at a time, none of which can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When what the connection does now has taken too long, if nothing changes until then.
    fn deadline(&self, settings: &ConnectionSettings) -> Option<Instant> {
        if self.ended.is_some() {
            return self.ended;
        }
        match self.phase {
            Phase::Idle(since) => Some(since + settings.idle),
            Phase::Head(since) => Some(since + settings.header),
            Phase::Requests if self.is_http2 => {
                let oldest = self.untaken.values().min().copied();
                // Without one the time is another at each look, so that nothing ends then.
                Some(oldest.unwrap_or_else(Instant::now) + settings.write)
            }
            Phase::Requests => None,
        }
    }
}

/// A request is being answered as long as this is there.
pub(super) struct InRequest {
    activity: Arc<Activity>,
    /// Set over HTTP/2, where an answer may stand still alone.
    http2_id: Option<u64>,
}

impl InRequest {
    /// Whether the answer is one of many on its connection.
    pub(super) fn is_http2(&self) -> bool {
        self.http2_id.is_some()
    }

    /// Notes that the client has space for the next piece of the answer.
    pub(super) fn note_wanted(&self) {
        if let Some(id) = self.http2_id {
            self.activity.lock().untaken.remove(&id);
        }
    }

    /// Notes that a piece was handed over, which the client has to take.
    pub(super) fn note_handed_over(&self) {
        if let Some(id) = self.http2_id {
            self.activity.lock().untaken.insert(id, Instant::now());
        }
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        self.note_wanted();
        let mut state = self.activity.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.phase = Phase::Idle(Instant::now());
            self.activity.changed.notify_one();
        }
    }
}
