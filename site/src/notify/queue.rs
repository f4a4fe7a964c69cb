//! What waits for one channel: bounded, the most serious first, each with the time before which it
//! is not tried.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::notice::{Notice, Severity};

/// Notices that wait for one channel.
pub const MOST_WAITING: usize = 100;

/// A notice that waits for its next attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// What is sent.
    pub notice: Notice,
    /// Attempts so far.
    pub attempts: u32,
    /// When it came.
    pub since: Instant,
    /// When it may be tried.
    pub not_before: Instant,
}

impl Waiting {
    /// A new one.
    pub fn new(notice: Notice) -> Self {
        let now = Instant::now();
        Self {
            notice,
            attempts: 0,
            since: now,
            not_before: now,
        }
    }

    /// Whether it is too old to be worth anything: news after half an hour, others after a day.
    pub fn is_stale(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        match self.notice.severity {
            Severity::Info => age > Duration::from_secs(1_800),
            _ => age > Duration::from_secs(86_400),
        }
    }
}

/// The queue of one channel, from which one task takes.
#[derive(Debug, Default)]
pub struct Queue {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    waiting: Vec<Waiting>,
    /// One was taken, and the next one not yet.
    is_one_out: bool,
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None is being sent, or could be now.
    pub fn is_idle(&self) -> bool {
        let (held, now) = (self.held(), Instant::now());
        !held.is_one_out && held.waiting.iter().all(|one| one.not_before > now)
    }

    /// Adds one. When there are too many, the oldest of the least serious has to go; it is
    /// answered, and may be the one that came.
    pub fn push(&self, one: Waiting) -> Option<Waiting> {
        let waiting = &mut self.held().waiting;
        waiting.push(one);
        self.changed.notify_one();
        if waiting.len() <= MOST_WAITING {
            return None;
        }
        let least = waiting.iter().enumerate();
        let least = least.min_by_key(|(_, one)| (one.notice.severity, one.since));
        let index = least.map(|(index, _)| index)?;
        Some(waiting.remove(index))
    }

    /// Takes the most serious that may be tried, the oldest of these; waits for one.
    pub async fn next(&self) -> Waiting {
        self.held().is_one_out = false;
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let soonest = {
                let held = &mut *self.held();
                let waiting = &mut held.waiting;
                let ready = waiting.iter().enumerate();
                let ready = ready.filter(|(_, one)| one.not_before <= now);
                let first = ready
                    .min_by_key(|(_, one)| (std::cmp::Reverse(one.notice.severity), one.since));
                if let Some(index) = first.map(|(index, _)| index) {
                    held.is_one_out = true;
                    return waiting.remove(index);
                }
                waiting.iter().map(|one| one.not_before).min()
            };
            match soonest {
                Some(soonest) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(soonest) => {}
                    }
                }
                None => changed.await,
            }
        }
    }
}
