//! Why a pipeline stopped: a name for the operator, and what to do.

use headframe_ingest::{ProvisionError, ReadFault, state::StateError};
use headframe_sinks::SinkError;

/// Why a pipeline stopped. None of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum PipelineFault {
    /// The stream cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// The table cannot be written on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The stream's settings would break the guarantees.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// A state of another version of this program.
    #[error(transparent)]
    State(#[from] StateError),
    /// A plan failed on rows that were accepted.
    #[error("{action} for table {table}: {why}")]
    Plan {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// What is wrong.
        why: String,
    },
}

impl PipelineFault {
    pub(crate) fn plan<E: std::fmt::Display>(action: &'static str, table: &str) -> impl FnOnce(E) -> Self {
        let table = table.to_owned();
        move |error| Self::Plan { action, table, why: error.to_string() }
    }

    /// Whether shutdown ended the pipeline.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, Self::Sink(SinkError::Cancelled(_)))
    }
}
