//! From found blocks to payouts: a window frozen for each, and every step of its reward, in the
//! order of the rows of `blocks`.
//!
//! What is due is a function of the tables `blocks` and `shares`; what was already said is read
//! from the tables `windows` and `payouts`. The streams of these two have one order, so the newest
//! row of each tells how far the work had come, and a restart at any moment goes on with the very
//! next row.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::{Chronicle, ChronicleError};
use headframe_schemas::Stream;
use headframe_schemas::stream::{payouts::Payouts as Stated, windows::Windows};
use headframe_sinks::SnapshotReader;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::payout::course::Courses;
use crate::payout::seal::Key;
use crate::payout::tables::Tables;
use crate::pipeline::{Context, Pipeline, StreamHandle};

mod scribe;

pub use scribe::Progress;
use scribe::Scribe;

/// Between looks at the tables while something is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Windows and payouts.
pub struct Payouts;

#[async_trait]
impl Pipeline for Payouts {
    fn name(&self) -> &'static str {
        "payouts"
    }
    fn doc(&self) -> &'static str {
        "Freezes the window of each found block and states what each account is credited, matured or reversed."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        stream.name() == "blocks"
    }

    async fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> Result<(), PipelineFault> {
        let key = Key::open(&context.keys.join("payouts.key"))?;
        tracing::info!(public_key = key.public_hex(), "payouts are signed");
        let tables = Tables::open(&context.lake);
        let mut committed = handle.committed.subscribe();
        loop {
            let ended = tokio::select! {
                ended = work(&context, &tables, &key, &mut committed) => ended,
                () = stop.cancelled() => return Ok(()),
            };
            // Whatever was in doubt is found out by reading the tables again.
            if let Err(fault) = ended {
                fault.pause(&stop).await?;
            }
        }
    }
}

/// Recovers, then states what is due until something fails.
async fn work(
    context: &Context,
    tables: &Tables,
    key: &Key,
    committed: &mut tokio::sync::watch::Receiver<i64>,
) -> Result<(), PipelineFault> {
    let open = |stream| Chronicle::open(context.nats.clone(), stream, &context.settings);
    let (windows, payouts) = (open(&Windows).await?, open(&Stated).await?);
    until_stored(&windows, &tables.windows).await?;
    until_stored(&payouts, &tables.payouts).await?;
    let mut scribe = Scribe::recover(tables, key, windows, payouts).await?;
    let (mut courses, mut after) = (Courses::default(), None);
    loop {
        let blocks = tables.blocks.refresh().await?;
        for row in tables.block_rows(&blocks, after).await? {
            let unpaid = courses.unpaid();
            let dues = courses.next(&row);
            if courses.unpaid() > unpaid {
                tracing::warn!(
                    block = row.hash,
                    height = row.height,
                    "block cannot be paid: no row of it has complete terms and a reward"
                );
            }
            for due in dues {
                while scribe.state(&due).await? == Progress::Waiting {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        scribe.caught_up()?;
        after = blocks.offset.or(after);
        metrics::gauge!("headframe_payouts_unpaid_blocks").set(courses.unpaid() as f64);
        metrics::gauge!("headframe_payouts_offset").set(after.unwrap_or(0) as f64);
        committed
            .changed()
            .await
            .map_err(PipelineFault::plan("waiting for rows", "blocks"))?;
    }
}

/// The sequence of the stream through which its table is complete; `None` while the table is of
/// another stream.
async fn through(
    chronicle: &Chronicle,
    table: &SnapshotReader,
) -> Result<Option<i64>, PipelineFault> {
    let snapshot = table.refresh().await?;
    let same = snapshot
        .binding
        .as_ref()
        .filter(|binding| binding.created_ns == chronicle.identity().created_ns);
    Ok(same.map(|binding| snapshot.offset.unwrap_or(binding.base) - binding.base))
}

/// Waits until the table of a stream holds everything that this writer knows of.
async fn until_written(chronicle: &Chronicle, table: &SnapshotReader) -> Result<(), PipelineFault> {
    let wanted = i64::try_from(chronicle.last()).unwrap_or(i64::MAX);
    while through(chronicle, table).await? < Some(wanted) {
        tokio::time::sleep(LOOK / 5).await;
    }
    Ok(())
}

/// Waits until the table of a stream holds everything the stream held when it was opened.
async fn until_stored(chronicle: &Chronicle, table: &SnapshotReader) -> Result<(), PipelineFault> {
    let name = table.table().name.clone();
    let wanted = i64::try_from(chronicle.last()).unwrap_or(i64::MAX);
    loop {
        match through(chronicle, table).await? {
            Some(through) if through == wanted => return Ok(()),
            Some(through) if through > wanted => {
                let why = format!(
                    "the table is complete through sequence {through} of a stream that ends at {wanted}"
                );
                return Err(PipelineFault::plan("recovering payouts", &name)(why));
            }
            _ => tokio::time::sleep(LOOK / 5).await,
        }
    }
}

impl PipelineFault {
    /// A step that nothing in `blocks` leads to.
    fn astray(table: &str, what: &str) -> Self {
        let why = format!(
            "{what}, to which the rows of blocks do not lead; run `headframe audit` and restore the tables from a copy"
        );
        Self::plan("recovering payouts", table)(why)
    }
}

/// Conflicts and lost answers pass by reading again; the rest as its cause does.
pub(crate) fn passes(error: &ChronicleError) -> bool {
    match error {
        ChronicleError::Conflict { .. } | ChronicleError::Unknown { .. } => true,
        ChronicleError::Refused(error) => error.retryable(),
        ChronicleError::Provision(error) => {
            matches!(error, headframe_ingest::ProvisionError::Nats { .. })
        }
    }
}
