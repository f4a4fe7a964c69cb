//! Streams that a pipeline derives: how far their tables have come.

use std::time::Duration;

use headframe_ingest::ExclusiveAppender;
use headframe_sinks::SnapshotReader;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;

/// Between looks at a table while it is waited for.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Works until shutdown (`Ok`) or a fault that nobody here can decide. After one that passes the
/// work begins anew, so that whatever was in doubt is read again.
pub(super) async fn work_until_stopped<F>(
    stop: &CancellationToken,
    work: impl Fn() -> F,
) -> Result<(), PipelineFault>
where
    F: Future<Output = Result<(), PipelineFault>>,
{
    loop {
        let ended = tokio::select! {
            ended = work() => ended,
            () = stop.cancelled() => return Ok(()),
        };
        if let Err(fault) = ended {
            fault.pause(stop).await?;
        }
    }
}

/// The sequence of the stream through which its table is complete; `None` while the table is of
/// another stream.
pub(super) async fn committed_through(
    appender: &ExclusiveAppender,
    table: &SnapshotReader,
) -> Result<Option<i64>, PipelineFault> {
    let snapshot = table.refresh().await?;
    let same = snapshot
        .binding
        .as_ref()
        .filter(|binding| binding.created_ns == appender.identity().created_ns);
    Ok(same.map(|binding| snapshot.offset.unwrap_or(binding.base) - binding.base))
}

/// Waits until the table of a stream holds everything that this writer knows of.
pub(super) async fn wait_until_committed(
    appender: &ExclusiveAppender,
    table: &SnapshotReader,
) -> Result<(), PipelineFault> {
    let wanted = i64::try_from(appender.last_seq()).unwrap_or(i64::MAX);
    while committed_through(appender, table).await? < Some(wanted) {
        tokio::time::sleep(POLL_PAUSE).await;
    }
    Ok(())
}

/// Waits until the table of a stream holds everything the stream held when it was opened.
pub(super) async fn wait_until_recovered(
    appender: &ExclusiveAppender,
    table: &SnapshotReader,
) -> Result<(), PipelineFault> {
    let name = table.table().name.clone();
    let wanted = i64::try_from(appender.last_seq()).unwrap_or(i64::MAX);
    loop {
        match committed_through(appender, table).await? {
            Some(through) if through == wanted => return Ok(()),
            Some(through) if through > wanted => {
                let why = format!(
                    "the table is complete through sequence {through} of a stream that ends at \
                    {wanted}"
                );
                return Err(PipelineFault::plan("recovering", &name)(why));
            }
            _ => tokio::time::sleep(POLL_PAUSE).await,
        }
    }
}
