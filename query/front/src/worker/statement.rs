//! A statement on a worker: it counts among the worker's until it has ended there, however it ends.

use futures::stream;

use crate::sql::{Description, Execution, SqlRequest};
use crate::worker::client::Failure;
use crate::worker::process::StatementGuard;

/// Has a statement planned by a worker.
pub async fn describe(guard: StatementGuard, request: &SqlRequest) -> Result<Description, Failure> {
    let described = guard.client().describe(request, guard.id()).await;
    if !matches!(described, Err(Failure::Lost)) {
        guard.done();
    }
    described
}

/// Runs a statement on a worker. A failure before its first rows leaves it to be tried elsewhere.
pub async fn execute(guard: StatementGuard, request: &SqlRequest) -> Result<Execution, Failure> {
    let (head, answer) = match guard.client().begin(request, guard.id()).await {
        Ok(begun) => begun,
        Err(failure) => {
            if matches!(failure, Failure::Told(_)) {
                guard.done();
            }
            return Err(failure);
        }
    };
    let schema = answer.schema().ok_or(Failure::Lost)?;
    let batches = stream::unfold(Some((answer, guard)), async |state| {
        let (mut answer, guard) = state?;
        match answer.next().await {
            Ok(Some(batch)) => Some((Ok(batch), Some((answer, guard)))),
            Ok(None) => {
                guard.done();
                None
            }
            Err(Failure::Told(error)) => {
                guard.done();
                Some((Err(error), None))
            }
            Err(Failure::Lost) => Some((Err(guard.loss().await), None)),
        }
    });
    Ok(Execution {
        schema,
        times: head.times(),
        coverage: head.into_coverage(),
        batches: Box::pin(batches),
    })
}
