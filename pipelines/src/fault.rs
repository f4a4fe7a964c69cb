//! Why a pipeline stopped: a name for the operator, and what to do.

use std::error::Error;
use std::time::Duration;

use datafusion::common::DataFusionError;
use headframe_ingest::{AppendError, DecoderStateError, ProvisionError, ReadFault};
use headframe_sinks::SinkError;
use tokio_util::sync::CancellationToken;

use crate::signature::SigningKeyError;

/// Pause before something that is away is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Why a pipeline stopped. None of these passes by itself, but for those of
/// [`PipelineFault::is_transient`], on which it never stops.
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
    /// Rows about money cannot be stated.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// There is no key to sign with.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// A state of another version of this program.
    #[error(transparent)]
    State(#[from] DecoderStateError),
    /// Stored rows cannot be read just now.
    #[error("{action} for table {table}: the storage failed: {why}")]
    Storage {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// What the storage said.
        why: String,
    },
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
    pub(crate) fn plan<E: std::fmt::Display>(
        action: &'static str,
        table: &str,
    ) -> impl FnOnce(E) -> Self {
        let table = table.to_owned();
        move |error| Self::Plan {
            action,
            table,
            why: error.to_string(),
        }
    }

    /// The same for an error of the query engine, which may be one of the storage that it read
    /// from.
    pub(crate) fn query(action: &'static str, table: &str) -> impl FnOnce(DataFusionError) -> Self {
        let table = table.to_owned();
        move |error| match of_storage(&error) {
            true => Self::Storage {
                action,
                table,
                why: error.to_string(),
            },
            false => Self::Plan {
                action,
                table,
                why: error.to_string(),
            },
        }
    }

    /// Whether trying again can help without anybody deciding anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Storage { .. } | Self::Provision(ProvisionError::Nats { .. }) => true,
            Self::Sink(error) => error.is_transient(),
            Self::Read(fault) => fault.retryable(),
            Self::Append(error) => appending_can_succeed_later(error),
            _ => false,
        }
    }

    /// Waits before the next attempt; a fault that does not pass, or shutdown, is returned at once.
    pub(crate) async fn pause(self, stop: &CancellationToken) -> Result<(), Self> {
        if !self.is_transient() {
            return Err(self);
        }
        tracing::warn!(fault = %self, "trying again");
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => Ok(()),
            () = stop.cancelled() => Err(Self::Sink(SinkError::Cancelled("waiting for the storage \
                or NATS"))),
        }
    }

    /// Whether shutdown ended the pipeline.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, Self::Sink(SinkError::Cancelled(_)))
    }
}

/// Conflicts and lost answers pass by reading again; the rest as its cause does.
fn appending_can_succeed_later(error: &AppendError) -> bool {
    match error {
        AppendError::Conflict { .. } | AppendError::Unknown { .. } => true,
        AppendError::Refused(error) => error.retryable(),
        AppendError::Provision(error) => matches!(error, ProvisionError::Nats { .. }),
    }
}

/// Whether an object store or the system's own files are at the root of an error.
fn of_storage(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<object_store::Error>() || error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_storage_is_found_under_those_of_the_engine() {
        let away = || object_store::Error::Generic {
            store: "S3",
            source: "connection refused".into(),
        };
        let read = DataFusionError::ParquetError(Box::new(
            datafusion::parquet::errors::ParquetError::External(Box::new(away())),
        ));
        for (error, passes) in [
            (DataFusionError::ObjectStore(Box::new(away())), true),
            (read.context("reading a file"), true),
            (DataFusionError::External(Box::new(away())), true),
            (
                DataFusionError::Execution("division by zero".to_owned()),
                false,
            ),
        ] {
            let said = error.to_string();
            assert_eq!(
                PipelineFault::query("adding up windows", "hashrate_rollups")(error).is_transient(),
                passes,
                "{said}"
            );
        }
    }
}
