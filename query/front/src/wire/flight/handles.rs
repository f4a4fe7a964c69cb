//! What clients hold on to: prepared statements, and tickets for answers that nobody asked for yet.
//!
//! A handle is a random number that means something here only, and to its owner only. How many
//! there are, what they take and how long they last is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use crate::access::Principal;
use crate::access::accounts::secret;
use crate::error::{ErrorCode, QueryError};
use crate::wire::flight::statement::Statement;

/// Bytes of a handle.
const BYTES: usize = 16;
/// Handles of one principal; the one that was not used for longest gives way.
const MAX_OF_OWNER: usize = 1_024;
/// Handles of all principals.
const MAX_HANDLES: usize = 16_384;
/// Bytes of all their statements and parameters.
const MAX_BYTES: usize = 64 << 20;

/// What a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandleKind {
    /// A prepared statement.
    Prepared,
    /// A statement that is to run.
    Ticket,
}

impl HandleKind {
    /// How long it lasts unused.
    pub(super) fn life(self) -> Duration {
        match self {
            HandleKind::Prepared => Duration::from_secs(3_600),
            HandleKind::Ticket => Duration::from_secs(300),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            HandleKind::Prepared => "prepared statement",
            HandleKind::Ticket => "ticket",
        }
    }
}

/// The handles of one server.
#[derive(Default)]
pub(super) struct Handles(Mutex<HashMap<[u8; BYTES], Entry>>);

struct Entry {
    owner: Principal,
    kind: HandleKind,
    statement: Arc<Statement>,
    used: Instant,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= self.kind.life()
    }
}

impl Handles {
    /// A handle of a new statement.
    pub(super) fn insert(
        &self,
        owner: &Principal,
        kind: HandleKind,
        statement: Arc<Statement>,
        now: Instant,
    ) -> Result<Bytes, QueryError> {
        let handle: [u8; BYTES] =
            secret::random().map_err(|error| QueryError::internal(error.to_string()))?;
        let mut entries = self.lock();
        entries.retain(|_, entry| !entry.is_over(now));
        let own = |entry: &Entry| entry.owner == *owner;
        if entries.values().filter(|entry| own(entry)).count() >= MAX_OF_OWNER {
            let own = entries.iter().filter(|(_, entry)| own(entry));
            let oldest = own
                .min_by_key(|(_, entry)| entry.used)
                .map(|(handle, _)| *handle);
            entries.retain(|handle, _| Some(*handle) != oldest);
        }
        let bytes: usize = entries.values().map(|entry| entry.statement.bytes()).sum();
        if entries.len() >= MAX_HANDLES || bytes + statement.bytes() > MAX_BYTES {
            return Err(QueryError::new(
                ErrorCode::ConcurrencyLimit,
                "clients hold as many statements as this server keeps",
                "close prepared statements that are not needed, and try again in a minute",
            ));
        }
        let entry = Entry {
            owner: owner.clone(),
            kind,
            statement,
            used: now,
        };
        entries.insert(handle, entry);
        Ok(Bytes::copy_from_slice(&handle))
    }

    /// The statement of a handle.
    pub(super) fn get(
        &self,
        owner: &Principal,
        kind: HandleKind,
        handle: &[u8],
        now: Instant,
    ) -> Result<Arc<Statement>, QueryError> {
        self.with_entry(owner, kind, handle, now, |entry| entry.statement.clone())
    }

    /// Puts a statement in the place of the one that a handle has.
    pub(super) fn replace(
        &self,
        owner: &Principal,
        kind: HandleKind,
        handle: &[u8],
        statement: Arc<Statement>,
        now: Instant,
    ) -> Result<(), QueryError> {
        self.with_entry(owner, kind, handle, now, |entry| {
            entry.statement = statement
        })
    }

    /// Forgets a handle; answers whether it was there.
    pub(super) fn remove(&self, owner: &Principal, kind: HandleKind, handle: &[u8]) -> bool {
        let mut entries = self.lock();
        let is_own = |entry: &Entry| entry.owner == *owner && entry.kind == kind;
        match <[u8; BYTES]>::try_from(handle) {
            Ok(handle) if entries.get(&handle).is_some_and(is_own) => {
                entries.remove(&handle).is_some()
            }
            _ => false,
        }
    }

    fn with_entry<T>(
        &self,
        owner: &Principal,
        kind: HandleKind,
        handle: &[u8],
        now: Instant,
        act: impl FnOnce(&mut Entry) -> T,
    ) -> Result<T, QueryError> {
        let mut entries = self.lock();
        let found = <[u8; BYTES]>::try_from(handle)
            .ok()
            .and_then(|handle| entries.get_mut(&handle));
        let found = found
            .filter(|entry| entry.owner == *owner && entry.kind == kind && !entry.is_over(now));
        let Some(entry) = found else {
            let message = format!("there is no such {}, or it was forgotten", kind.as_str());
            let hint = format!(
                "make a new one: it is forgotten after {} minutes without use, and at a restart",
                kind.life().as_secs() / 60
            );
            return Err(QueryError::new(ErrorCode::NotFound, message, hint));
        };
        entry.used = now;
        Ok(act(entry))
    }

    /// Each change is one insertion, removal or replacement, whole or not there.
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; BYTES], Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn statement(bytes: usize) -> Arc<Statement> {
        Arc::new(Statement::without_columns("x".repeat(bytes)))
    }

    #[test]
    fn a_handle_is_its_owners_and_of_one_kind_until_its_time_is_over() {
        let handles = Handles::default();
        let (reader, operator) = (Principal::reader(), Principal::operator());
        let now = Instant::now();
        let kind = HandleKind::Ticket;
        let handle = handles.insert(&reader, kind, statement(1), now).unwrap();
        let has = |owner: &Principal, kind, at| handles.get(owner, kind, &handle, at).is_ok();
        assert!(has(&reader, kind, now));
        assert!(!has(&operator, kind, now));
        assert!(!has(&reader, HandleKind::Prepared, now));
        assert!(!handles.remove(&operator, kind, &handle));
        let late = now + kind.life() - Duration::from_millis(1);
        assert!(has(&reader, kind, late), "and that was a use");
        assert!(!has(&reader, kind, late + kind.life()));
        assert!(handles.remove(&reader, kind, &handle));
        assert!(!handles.remove(&reader, kind, &handle));
    }

    #[test]
    fn handles_are_bounded_in_number_and_in_bytes() {
        let handles = Handles::default();
        let (owner, other) = (Principal::reader(), Principal::operator());
        let now = Instant::now();
        let kind = HandleKind::Prepared;
        let kept = handles.insert(&other, kind, statement(1), now).unwrap();
        let first = handles.insert(&owner, kind, statement(1), now).unwrap();
        for number in 1..=MAX_OF_OWNER {
            let at = now + Duration::from_millis(number as u64);
            handles.insert(&owner, kind, statement(1), at).unwrap();
        }
        assert_eq!(handles.lock().len(), MAX_OF_OWNER + 1);
        assert!(handles.get(&owner, kind, &first, now).is_err());
        assert!(handles.get(&other, kind, &kept, now).is_ok());
        let full = handles.insert(&other, kind, statement(MAX_BYTES), now);
        assert_eq!(full.unwrap_err().code, ErrorCode::ConcurrencyLimit);
        let later = now + 2 * kind.life();
        assert!(handles.insert(&other, kind, statement(1), later).is_ok());
        assert_eq!(handles.lock().len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_handle(bytes in vec(any::<u8>(), 0..40)) {
            let handles = Handles::default();
            let owner = Principal::reader();
            let now = Instant::now();
            let kind = HandleKind::Ticket;
            handles.insert(&owner, kind, statement(1), now).unwrap();
            prop_assert!(handles.get(&owner, kind, &bytes, now).is_err());
            prop_assert!(!handles.remove(&owner, kind, &bytes));
        }
    }
}
