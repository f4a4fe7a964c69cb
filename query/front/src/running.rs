//! Which queries run now, so that they can be listed and cancelled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::access::ReadScope;
use crate::error::{ErrorCode, QueryError};
use crate::slot_quotas::HeldSlot;

/// The queries that run now.
#[derive(Default)]
pub struct Registry {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

struct Entry {
    sql: String,
    /// What its caller may read.
    reads: ReadScope,
    started: Instant,
    rows: AtomicU64,
    cancel: CancellationToken,
}

/// A running query as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct RunningQuery {
    /// Its id.
    pub query_id: String,
    /// The statement.
    pub sql: String,
    /// Milliseconds since it began.
    pub running_ms: u128,
    /// Rows made so far.
    pub rows: u64,
}

impl Registry {
    /// Enters a query under the client's id or a new one. The ticket keeps it listed and holds its
    /// slot.
    pub fn enter(
        self: &Arc<Self>,
        id: Option<&str>,
        sql: &str,
        reads: &ReadScope,
        slot: HeldSlot,
    ) -> Result<Ticket, QueryError> {
        let id = match id {
            Some(id) => checked(id)?.to_owned(),
            None => uuid::Uuid::now_v7().simple().to_string(),
        };
        let cancel = CancellationToken::new();
        let entry = Arc::new(Entry {
            sql: sql.to_owned(),
            reads: reads.clone(),
            started: Instant::now(),
            rows: AtomicU64::new(0),
            cancel,
        });
        let mut entries = self.lock();
        if entries.contains_key(&id) {
            let message = format!("a query with the id {id} is running");
            return Err(QueryError::new(
                ErrorCode::IdInUse,
                message,
                "take another query_id, or none and one is made",
            ));
        }
        entries.insert(id.clone(), entry.clone());
        drop(entries);
        metrics::gauge!("headframe_queries_running").increment(1.0);
        Ok(Ticket {
            registry: self.clone(),
            id,
            entry,
            outcome: OnceLock::new(),
            _slot: slot,
        })
    }

    /// Cancels a query; false when none of this id runs.
    pub fn cancel(&self, id: &str) -> bool {
        let entry = self.lock().get(id).cloned();
        if let Some(entry) = &entry {
            entry.cancel.cancel();
        }
        entry.is_some()
    }

    /// The same for somebody who reads no more than this.
    pub fn cancel_as(&self, reads: &ReadScope, id: &str) -> bool {
        let entry = self.lock().get(id).cloned();
        let entry = entry.filter(|entry| entry.is_shown_to(reads));
        if let Some(entry) = &entry {
            entry.cancel.cancel();
        }
        entry.is_some()
    }

    /// Cancels every query, as a server does that stops.
    pub fn cancel_all(&self) {
        for entry in self.lock().values() {
            entry.cancel.cancel();
        }
    }

    /// The queries that run now and that somebody with this scope may see, the longest first.
    pub fn list_for(&self, reads: &ReadScope) -> Vec<RunningQuery> {
        let entries = self.lock();
        let mut list: Vec<RunningQuery> = entries
            .iter()
            .filter(|(_, entry)| entry.is_shown_to(reads))
            .map(|(id, entry)| RunningQuery {
                query_id: id.clone(),
                sql: entry.sql.clone(),
                running_ms: entry.started.elapsed().as_millis(),
                rows: entry.rows.load(Ordering::Relaxed),
            })
            .collect();
        list.sort_by_key(|query| std::cmp::Reverse(query.running_ms));
        list
    }

    /// The map is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// A miner sees its own queries, and who reads everybody's rows sees everybody's.
    fn is_shown_to(&self, reads: &ReadScope) -> bool {
        match reads {
            // Statements that show places are never somebody's own.
            ReadScope::Nothing | ReadScope::MinerPlaces { .. } => false,
            ReadScope::Miner(_) => self.reads == *reads,
            ReadScope::Readers | ReadScope::Everything => true,
        }
    }
}

/// Keeps a query listed; dropping it ends that and frees the slot.
pub struct Ticket {
    registry: Arc<Registry>,
    id: String,
    entry: Arc<Entry>,
    outcome: OnceLock<ErrorCode>,
    _slot: HeldSlot,
}

impl Ticket {
    /// The query's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Resolves when someone cancels the query.
    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.entry.cancel.clone().cancelled_owned()
    }

    /// Notes rows made.
    pub fn saw(&self, rows: usize) {
        self.entry.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Notes how the query failed; the first failure counts.
    pub fn failed(&self, code: ErrorCode) {
        let _ = self.outcome.set(code);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = self.outcome.get().map_or("done", |code| code.parts().0);
        metrics::counter!("headframe_queries_total", "outcome" => outcome).increment(1);
        metrics::histogram!("headframe_query_seconds").record(self.entry.started.elapsed());
        self.registry.lock().remove(&self.id);
        metrics::gauge!("headframe_queries_running").decrement(1.0);
    }
}

/// A query cannot have this id: its path is that of answers that are kept up.
const RESERVED_ID: &str = "live";

fn checked(id: &str) -> Result<&str, QueryError> {
    if id == RESERVED_ID {
        return Err(QueryError::bad_request(
            format!("query_id cannot be {RESERVED_ID}: /api/v1/sql/{RESERVED_ID} is another route"),
            "take another query_id, or none and one is made",
        ));
    }
    let fits = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits {
        return Ok(id);
    }
    Err(QueryError::bad_request(
        "query_id must be 1 to 64 letters, digits, - or _",
        "leave it out and one is made",
    ))
}
