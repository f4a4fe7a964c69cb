//! The last bodies of a signal as they came, to show what a decision stood on.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::moment::Moment;

/// Bodies that are held.
const MOST_BODIES: usize = 50;

/// One body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBody {
    /// When it came.
    pub at: Moment,
    /// All of it.
    pub body: Bytes,
}

/// The last 50 bodies. One that repeats the one before shares its bytes.
#[derive(Debug, Default)]
pub struct Evidence(Mutex<VecDeque<RawBody>>);

impl Evidence {
    /// Adds one, and drops the oldest when there are too many.
    pub fn add(&self, at: Moment, body: Bytes) {
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = bodies.back().filter(|last| last.body == body);
        let body = same.map_or(body, |last| last.body.clone());
        if bodies.len() >= MOST_BODIES {
            bodies.pop_front();
        }
        bodies.push_back(RawBody { at, body });
    }

    /// All of them, the newest last.
    pub fn all(&self) -> Vec<RawBody> {
        let bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.iter().cloned().collect()
    }
}
