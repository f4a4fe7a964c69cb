//! The audit of a block: its window and every amount computed again from the tables alone, and each
//! difference named.
//!
//! Nothing is believed that can be computed. It reads committed files where they lie, needs no
//! server, and writes nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::prelude::{col, lit};
use headframe_schemas::stream::payouts::Payout;
use headframe_schemas::stream::windows::WindowRow;
use headframe_sinks::{Lake, Snapshot, SnapshotReader};

use super::lifecycle::{BlockLifecycles, PayoutStep, StepKind};
use super::tables::PayoutTables;
use super::window_scan::{self, WindowEnd};
use crate::clock::now_us;
use crate::fault::PipelineFault;

mod files;
pub mod proof;
pub mod replay;
mod step_check;
mod window_check;

/// Said where the whole table is missing, which retention does not do to a pool that still gets
/// shares.
const NO_SHARES: &str =
    "shares: there is no share at all; the table is gone, or this is not its folder";

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Differences: what is not as it should be.
    pub differences: Vec<String>,
    /// What could not be checked, or not yet.
    pub unchecked: Vec<String>,
    /// What was looked at and found right.
    pub notes: Vec<String>,
}

impl AuditReport {
    /// Whether everything was looked at and is right.
    pub fn is_fine(&self) -> bool {
        self.differences.is_empty() && self.unchecked.is_empty()
    }

    fn add_difference(&mut self, difference: String) {
        self.differences.push(difference);
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  {note}"))?;
        self.unchecked
            .iter()
            .try_for_each(|what| writeln!(f, "NOT CHECKED: {what}"))?;
        self.differences
            .iter()
            .try_for_each(|difference| writeln!(f, "DIFFERENCE: {difference}"))?;
        match (self.differences.len(), self.unchecked.len()) {
            (0, 0) => write!(f, "everything agrees"),
            (0, _) => write!(f, "incomplete: what was checked shows no difference"),
            (1, _) => write!(f, "1 difference"),
            (count, _) => write!(f, "{count} differences"),
        }
    }
}

/// What the tables say of one block.
struct BlockRows {
    dues: Vec<PayoutStep>,
    windows: Vec<WindowRow>,
    payouts: Vec<Payout>,
}

/// Audits one block. `trusted` is the pool's public key as whoever audits knows it, in hex; without
/// it the key in the rows is taken.
///
/// The error says that the tables cannot be read at all; a file of them that cannot be read is a
/// difference.
pub async fn block(
    lake: &Lake,
    hash: &str,
    trusted: Option<&str>,
) -> Result<AuditReport, PipelineFault> {
    let tables = PayoutTables::open(lake);
    let mut report = AuditReport::default();
    let audited = AuditedTables {
        blocks: newest(lake, &tables.blocks).await?,
        windows: newest(lake, &tables.windows).await?,
        payouts: newest(lake, &tables.payouts).await?,
    };
    newest(lake, &tables.shares).await?;
    for (snapshot, column) in [
        (&audited.blocks, "hash"),
        (&audited.windows, "block_hash"),
        (&audited.payouts, "block_hash"),
    ] {
        files::check(snapshot, column, hash, &mut report).await;
    }
    if report.differences.is_empty()
        && let Err(error) = compute(&tables, &audited, hash, trusted, &mut report).await
    {
        report.add_difference(error.to_string());
    }
    if !report.differences.is_empty() {
        // A file that was changed may be the cause, also one that seems to have nothing to do with
        // the block.
        for snapshot in [
            audited.blocks,
            audited.windows,
            audited.payouts,
            tables.shares.refresh().await?,
        ] {
            files::intact(&snapshot, snapshot.files.iter(), &mut report).await;
        }
    }
    Ok(report)
}

/// The newest version of a table. Where its log cannot be read, the error names the entry that is
/// to blame.
async fn newest(lake: &Lake, table: &SnapshotReader) -> Result<Arc<Snapshot>, PipelineFault> {
    let error = match table.refresh().await {
        Ok(snapshot) => return Ok(snapshot),
        Err(error) => error,
    };
    let name = &table.table().name;
    match files::broken_entries(&lake.table(name)).await.as_slice() {
        [] => Err(error.into()),
        broken => Err(PipelineFault::plan("reading the log", name)(format!(
            "{} cannot be read: {error}",
            broken.join(", ")
        ))),
    }
}

/// The versions of the tables that are audited.
struct AuditedTables {
    blocks: Arc<Snapshot>,
    windows: Arc<Snapshot>,
    payouts: Arc<Snapshot>,
}

async fn compute(
    tables: &PayoutTables,
    audited: &AuditedTables,
    hash: &str,
    trusted: Option<&str>,
    report: &mut AuditReport,
) -> Result<(), PipelineFault> {
    let mut lifecycles = BlockLifecycles::default();
    let rows = tables.block_rows(&audited.blocks, None).await?;
    let dues: Vec<PayoutStep> = rows
        .iter()
        .flat_map(|row| lifecycles.next(row))
        .filter(|due| due.block.hash == hash)
        .collect();
    if rows.iter().all(|row| row.hash != hash) {
        report.add_difference(format!("blocks: there is no block {hash}"));
    } else if dues.is_empty()
        && rows
            .iter()
            .any(|row| row.hash == hash && row.scheme.is_some())
    {
        report.add_difference(
            "blocks: its rows carry terms, but no complete ones with a reward: it cannot be paid"
                .to_owned(),
        );
    } else if dues.is_empty() {
        report
            .notes
            .push("its rows in blocks carry no terms: it is not paid by this program".to_owned());
    }
    let stated = tables
        .payout_rows(&audited.payouts, Some(col("block_hash").eq(lit(hash))))
        .await?;
    let windows = tables.window_rows(&audited.windows, hash).await?;
    let mut pools: Vec<String> = dues.iter().map(|due| due.block.pool.clone()).collect();
    pools.extend(
        stated
            .iter()
            .map(|row| row.payout.pool.clone())
            .chain(windows.iter().map(|row| row.pool.clone())),
    );
    pools.sort();
    pools.dedup();
    for pool in pools {
        let stated = BlockRows {
            dues: dues
                .iter()
                .filter(|due| due.block.pool == pool)
                .cloned()
                .collect(),
            windows: windows
                .iter()
                .filter(|row| row.pool == pool)
                .cloned()
                .collect(),
            payouts: stated
                .iter()
                .map(|row| row.payout.clone())
                .filter(|row| row.pool == pool)
                .collect(),
        };
        check_pool(tables, &stated, trusted, report).await?;
    }
    Ok(())
}

async fn check_pool(
    tables: &PayoutTables,
    stated: &BlockRows,
    trusted: Option<&str>,
    report: &mut AuditReport,
) -> Result<(), PipelineFault> {
    let Some(due) = stated.dues.iter().find(|due| due.kind == StepKind::Frozen) else {
        if !stated.payouts.is_empty() || !stated.windows.is_empty() {
            let (windows, payouts) = (stated.windows.len(), stated.payouts.len());
            report.add_difference(format!(
                "windows has {windows} rows and payouts {payouts} of \
                this block, to which no row of blocks leads"
            ));
        }
        return Ok(());
    };
    let frozen: Vec<&Payout> = stated
        .payouts
        .iter()
        .filter(|row| row.step == StepKind::Frozen.as_str())
        .collect();
    let frozen = match frozen.as_slice() {
        [] if stated.windows.is_empty() && stated.payouts.is_empty() => {
            return check_unfrozen(tables, due, stated, report).await;
        }
        [] => {
            report.add_difference("payouts: the row of the frozen window is missing".to_owned());
            return Ok(());
        }
        [row] => *row,
        rows => {
            report.add_difference(format!(
                "payouts: {} rows say that the window was frozen; there must be one",
                rows.len()
            ));
            return Ok(());
        }
    };
    let Some(terms) = &frozen.frozen else {
        report.add_difference("payouts: the row of the frozen window is not complete".to_owned());
        return Ok(());
    };
    window_check::check_statement(due, terms, stated, trusted, report);
    window_check::check_window(tables, due, terms, stated, report).await?;
    step_check::check_steps(stated, report);
    Ok(())
}

/// Whether a window of which no table says anything should have been frozen by now.
async fn check_unfrozen(
    tables: &PayoutTables,
    due: &PayoutStep,
    stated: &BlockRows,
    report: &mut AuditReport,
) -> Result<(), PipelineFault> {
    let (block, shares) = (&due.block, tables.shares.refresh().await?);
    if shares.files.is_empty() {
        report.add_difference(NO_SHARES.to_owned());
    }
    // Between a block and its maturity lie hours.
    let matured = stated.dues.iter().any(|due| due.kind == StepKind::Matured);
    let late = now_us().saturating_sub(block.ingest_time) > 2 * window_scan::PATIENCE_US;
    let end = tables
        .scanner
        .find_end(&shares, &block.share_set(), &block.hash, block.ingest_time)
        .await?;
    match (end, stated.dues.last().map(|due| due.kind.as_str())) {
        (WindowEnd::Unknown, _) if !matured => report
            .unchecked
            .push("its window is not frozen: shares do not tell yet where it ends".to_owned()),
        (_, Some(step)) if matured || late => {
            report.add_difference(format!(
                "windows and payouts say nothing of it, though by blocks it is to be {step}: its \
                window was never frozen, or is gone"
            ));
        }
        _ => report
            .unchecked
            .push("its window is not frozen yet".to_owned()),
    }
    Ok(())
}

/// Rows by a name they carry.
fn grouped<'a, T>(
    rows: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&'a T) -> &'a str,
) -> HashMap<&'a str, Vec<&'a T>> {
    let mut groups: HashMap<&str, Vec<&T>> = HashMap::new();
    for row in rows {
        groups.entry(name(row)).or_default().push(row);
    }
    groups
}
