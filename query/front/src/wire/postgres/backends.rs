//! The sessions that are open, so that one connection can cancel what another does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The key that cancels, in bytes: as many as version 3.0 of the protocol has.
const KEY_BYTES: usize = 4;

/// The sessions that are open.
#[derive(Default)]
pub(super) struct Backends {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: i32,
    sessions: HashMap<i32, Session>,
}

struct Session {
    key: [u8; KEY_BYTES],
    query: RunningQuery,
}

/// The id of the query that a session runs.
#[derive(Clone, Default)]
pub(super) struct RunningQuery(Arc<Mutex<Option<String>>>);

/// Keeps a session listed.
pub(super) struct Backend {
    backends: Arc<Backends>,
    /// Its number.
    pub(super) number: i32,
    /// What cancels its queries.
    pub(super) key: [u8; KEY_BYTES],
    /// What it runs.
    pub(super) query: RunningQuery,
}

impl Backends {
    /// Lists a new session until it is dropped.
    pub(super) fn register(self: &Arc<Self>) -> Backend {
        let random = uuid::Uuid::new_v4().into_bytes();
        let [a, b, c, d, ..] = random;
        let key = [a, b, c, d];
        let query = RunningQuery::default();
        let mut open = self.lock();
        let mut number = open.last;
        loop {
            number = number.checked_add(1).unwrap_or(1).max(1);
            if !open.sessions.contains_key(&number) {
                break;
            }
        }
        open.last = number;
        let session = Session {
            key,
            query: query.clone(),
        };
        open.sessions.insert(number, session);
        Backend {
            backends: self.clone(),
            number,
            key,
            query,
        }
    }

    /// The id of the query that a session runs, for whoever knows its key.
    pub(super) fn query_of(&self, number: i32, key: &[u8]) -> Option<String> {
        let open = self.lock();
        let session = open.sessions.get(&number)?;
        let same = key.len() == KEY_BYTES
            && key
                .iter()
                .zip(session.key)
                .fold(0, |sum, (a, b)| sum | (a ^ b))
                == 0;
        same.then(|| session.query.id()).flatten()
    }

    /// The list is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningQuery {
    /// Notes that a query runs until the mark is dropped.
    pub(super) fn mark(&self, id: &str) -> RunningMark {
        *self.lock() = Some(id.to_owned());
        RunningMark(self.clone())
    }

    /// The id of what runs.
    pub(super) fn id(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query runs as long as this is there.
pub(super) struct RunningMark(RunningQuery);

impl Drop for RunningMark {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.backends.lock().sessions.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_key_finds_the_query() {
        let backends = Arc::new(Backends::default());
        let one = backends.register();
        let other = backends.register();
        assert_ne!(one.number, other.number);
        assert_eq!(
            backends.query_of(one.number, &one.key),
            None,
            "it runs nothing"
        );
        let mark = one.query.mark("q1");
        assert_eq!(
            backends.query_of(one.number, &one.key).as_deref(),
            Some("q1")
        );
        let wrong = one.key.map(|byte| !byte);
        assert_eq!(backends.query_of(one.number, &wrong), None);
        assert_eq!(backends.query_of(one.number, &[]), None);
        assert_eq!(backends.query_of(other.number, &other.key), None);
        drop(mark);
        assert_eq!(backends.query_of(one.number, &one.key), None);
        let number = one.number;
        drop(one);
        assert!(!backends.lock().sessions.contains_key(&number));
    }
}
