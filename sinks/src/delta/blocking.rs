//! Work that computes for long, off the threads of the runtime.

use tokio::task::JoinHandle;

use crate::error::SinkError;

/// What came of work on a thread for blocking work. Its panic goes on here; one that never ran was
/// stopped with the runtime.
pub(crate) async fn blocking_result<T>(
    work: JoinHandle<Result<T, SinkError>>,
    action: &'static str,
) -> Result<T, SinkError> {
    match work.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SinkError::Cancelled(action)),
    }
}
