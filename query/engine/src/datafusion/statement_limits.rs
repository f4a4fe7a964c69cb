//! What one statement may use, where DataFusion's own code can find it: among its options.
//!
//! Rules of the optimizer and functions are told the session's options and nothing else of the
//! statement that they work for.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::not_impl_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use headframe_query_front::{ErrorCode, QueryError};

/// The limits of a statement.
#[derive(Debug, Clone)]
pub struct StatementLimits {
    values: Arc<MemoryReservation>,
    deadline: Option<Instant>,
}

impl StatementLimits {
    /// Values that functions make are paid by `pool`; planning ends at the deadline.
    pub fn new(pool: &Arc<dyn MemoryPool>, deadline: Option<Instant>) -> Self {
        Self {
            values: Arc::new(MemoryConsumer::new("values of functions").register(pool)),
            deadline,
        }
    }

    /// The limits of the statement that these options belong to.
    pub fn find(options: &ConfigOptions) -> Option<&Self> {
        options.extensions.get::<Self>()
    }

    /// Pays for values, until what is returned is dropped.
    pub fn reserve(&self, bytes: usize) -> Result<MemoryReservation> {
        let reservation = self.values.new_empty();
        reservation.try_grow(bytes)?;
        Ok(reservation)
    }

    /// Refuses to go on planning after the deadline.
    pub fn check_deadline(&self) -> Result<()> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                let message = "planning the statement took longer than the query may run";
                let hint = "ask in several statements, or for more time with timeout_ms";
                let error = QueryError::new(ErrorCode::TimeLimit, message, hint);
                Err(DataFusionError::External(Box::new(error)))
            }
            _ => Ok(()),
        }
    }
}

impl ConfigExtension for StatementLimits {
    const PREFIX: &'static str = "statement_limits";
}

impl ExtensionOptions for StatementLimits {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        not_impl_err!("the limits of a statement have no option {key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
