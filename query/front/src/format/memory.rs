//! Memory that encoders hold of answers: a limit for each answer inside one for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

const MIB: usize = 1 << 20;

/// The limits, and what all answers hold together.
#[derive(Debug, Clone)]
pub struct AnswerMemory {
    held: Arc<AtomicUsize>,
    all: usize,
    each: usize,
}

/// What one encoder holds; dropping it gives it back.
#[derive(Debug)]
pub struct AnswerReservation {
    memory: AnswerMemory,
    bytes: usize,
}

impl AnswerMemory {
    /// The configured limits with nothing held.
    pub fn new(config: &QueryConfig) -> Self {
        Self {
            held: Arc::default(),
            all: config.memory_mib * MIB,
            each: config.query_memory_mib * MIB,
        }
    }

    /// A reservation of nothing yet.
    pub fn reservation(&self) -> AnswerReservation {
        AnswerReservation {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl AnswerReservation {
    /// Holds `more` bytes beside those held already.
    pub fn try_grow(&mut self, more: usize) -> Result<(), QueryError> {
        self.try_resize(self.bytes.saturating_add(more))
    }

    /// Holds exactly `bytes`.
    pub fn try_resize(&mut self, bytes: usize) -> Result<(), QueryError> {
        if bytes > self.memory.each {
            return Err(refusal(bytes, self.memory.each, "one answer"));
        }
        let others = |held: usize| held.saturating_sub(self.bytes);
        let held = self
            .memory
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                let after = others(held).saturating_add(bytes);
                (after <= self.memory.all).then_some(after)
            });
        if held.is_err() {
            return Err(refusal(bytes, self.memory.all, "all answers together"));
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for AnswerReservation {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn refusal(bytes: usize, limit: usize, whose: &str) -> QueryError {
    let message = format!(
        "the query needs more memory than it may use: writing the answer takes {bytes} bytes, and \
         {whose} may take {limit}"
    );
    QueryError::new(
        ErrorCode::MemoryLimit,
        message,
        "ask for fewer or shorter values, or for ndjson, csv or arrow, which are sent as they are \
         made",
    )
}
