//! From found blocks to payouts: a window frozen for each, and every step of its reward, in the
//! order of the rows of `blocks`.
//!
//! What is due is a function of the tables `blocks` and `shares`; what was already written is read
//! from the tables `windows` and `payouts`. The streams of these two have one order, so the newest
//! row of each tells how far the work had come, and a restart at any moment goes on with the very
//! next row.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use headframe_ingest::ExclusiveAppender;
use headframe_schemas::Stream;
use headframe_schemas::stream::{payouts::Payouts as PayoutStream, windows::Windows};
use headframe_sinks::SinkError;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::payout::ShareSet;
use crate::payout::lifecycle::{BlockLifecycles, BlockTerms};
use crate::payout::tables::PayoutTables;
use crate::pipeline::derived::wait_until_recovered;
use crate::pipeline::{Context, Pipeline, StreamHandle};
use crate::signature::SigningKey;

mod amounts;
mod writer;

use writer::PayoutWriter;
pub use writer::Progress;

/// Between looks at the tables while something is waited for.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Between two looks at what came to `shares` while no block is found.
const READ_AHEAD_PAUSE: Duration = Duration::from_secs(30);

/// The terms of each pool's newest block that was not mined solo.
type NewestTerms = BTreeMap<String, BlockTerms>;

/// Windows and payouts.
pub struct Payouts;

impl Pipeline for Payouts {
    fn name(&self) -> &'static str {
        "payouts"
    }
    fn doc(&self) -> &'static str {
        "Freezes the window of each found block and states what each account is credited, matured \
        or reversed."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        stream.name() == "blocks"
    }

    fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move {
            let key = SigningKey::open(&context.keys.join("payouts.key"))?;
            tracing::info!(public_key = key.public_hex(), "payouts are signed");
            let tables = PayoutTables::open(&context.lake);
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
        })
    }
}

/// Recovers, then states what is due until something fails.
async fn work(
    context: &Context,
    tables: &PayoutTables,
    key: &SigningKey,
    committed: &mut tokio::sync::watch::Receiver<i64>,
) -> Result<(), PipelineFault> {
    let open = |stream| ExclusiveAppender::open(context.nats.clone(), stream, &context.settings);
    let (windows, payouts) = (open(&Windows).await?, open(&PayoutStream).await?);
    wait_until_recovered(&windows, &tables.windows).await?;
    wait_until_recovered(&payouts, &tables.payouts).await?;
    let mut writer = PayoutWriter::recover(tables, key, windows, payouts).await?;
    let (mut lifecycles, mut after) = (BlockLifecycles::default(), None);
    let mut newest_terms = NewestTerms::new();
    loop {
        let blocks = tables.blocks.refresh().await?;
        for row in tables.block_rows(&blocks, after).await? {
            // What a block that was mined solo wants of the table is its own share.
            if let Some(terms) = row.paid().filter(|_| !row.solo) {
                newest_terms.insert(row.pool.clone(), terms);
            }
            let unpaid = lifecycles.unpaid();
            let dues = lifecycles.next(&row);
            if lifecycles.unpaid() > unpaid {
                tracing::warn!(
                    block = row.hash,
                    height = row.height,
                    "block cannot be paid: no row of it has complete terms and a reward"
                );
            }
            for due in dues {
                while writer.write_step(&due).await? == Progress::Waiting {
                    tokio::time::sleep(POLL_PAUSE).await;
                }
            }
        }
        writer.check_complete()?;
        after = blocks.offset.or(after);
        metrics::gauge!("headframe_payouts_unpaid_blocks").set(lifecycles.unpaid() as f64);
        metrics::gauge!("headframe_payouts_offset").set(after.unwrap_or(0) as f64);
        // What was read ahead stays known when a block ends it.
        let changed = tokio::select! {
            biased;
            changed = committed.changed() => changed,
            never = read_ahead(tables, &newest_terms) => match never {},
        };
        changed.map_err(PipelineFault::plan("waiting for rows", "blocks"))?;
    }
}

/// Reads for as long as it runs what the next block of each pool will want of `shares`.
async fn read_ahead(tables: &PayoutTables, newest_terms: &NewestTerms) -> Infallible {
    loop {
        for (pool, terms) in newest_terms {
            let (started, before) = (Instant::now(), tables.scanner.work());
            if let Err(error) = read_ahead_of(tables, pool, terms).await {
                // A block's own scan says what is wrong, and to whom it matters.
                tracing::debug!(pool, %error, "shares cannot be read ahead");
            }
            tracing::debug!(
                pool,
                rows_summed = tables.scanner.work().since(before).summed,
                took_ms = started.elapsed().as_millis() as u64,
                "shares read ahead"
            );
        }
        tokio::time::sleep(READ_AHEAD_PAUSE).await;
    }
}

async fn read_ahead_of(
    tables: &PayoutTables,
    pool: &str,
    terms: &BlockTerms,
) -> Result<(), SinkError> {
    let shares = tables.shares.refresh().await?;
    let (set, scheme, wanted) = (ShareSet::of_pool(pool), terms.scheme, terms.window());
    tables
        .scanner
        .read_ahead(&shares, &set, scheme, wanted)
        .await
}

impl PipelineFault {
    /// A row that nothing in `blocks` leads to.
    fn inconsistent(table: &str, what: &str) -> Self {
        let why = format!(
            "{what}, to which the rows of blocks do not lead; run `headframe audit` and restore \
            the tables from a copy"
        );
        Self::plan("recovering payouts", table)(why)
    }
}
