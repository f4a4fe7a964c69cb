//! Whether a frozen window is signed as it stands, and is the one that `shares` gives.

use std::sync::Arc;

use headframe_schemas::stream::payouts::FrozenWindow;
use headframe_schemas::stream::windows::WindowRow;
use headframe_sinks::{DataFile, Snapshot};

use super::{AuditReport, BlockRows, NO_SHARES, files, grouped};
use crate::fault::PipelineFault;
use crate::payout::freeze::{self, FoundWindow};
use crate::payout::lifecycle::{BlockTerms, PayoutStep, RowPosition};
use crate::payout::tables::PayoutTables;
use crate::payout::window_scan::WindowEnd;
use crate::payout::{ShareSet, merkle, solo};
use crate::signature;

/// The root is that of the rows, the signature that of the statement, the terms those of the block.
pub(super) fn check_statement(
    due: &PayoutStep,
    frozen: &FrozenWindow,
    stated: &BlockRows,
    trusted: Option<&str>,
    report: &mut AuditReport,
) {
    let block = &due.block;
    let root = merkle::root(&freeze::leaves(&stated.windows));
    match root == frozen.merkle_root {
        true => report.notes.push(format!(
            "root {} over {} rows",
            root.as_deref().unwrap_or("none"),
            stated.windows.len()
        )),
        false => report.add_difference(format!(
            "windows: the root over its {} rows is {}, payouts says {}",
            stated.windows.len(),
            root.as_deref().unwrap_or("none"),
            frozen.merkle_root.as_deref().unwrap_or("none")
        )),
    }
    let statement = freeze::statement(&block.pool, &block.hash, block.height, frozen);
    if !signature::verify(&frozen.public_key, &statement, &frozen.signature) {
        report.add_difference(format!(
            "payouts: the signature of the frozen window is not that of key {}",
            frozen.public_key
        ));
    }
    match trusted {
        Some(key) if !key.eq_ignore_ascii_case(&frozen.public_key) => {
            report.add_difference(format!(
                "payouts: the window is signed by key {}, not by the trusted key {key}",
                frozen.public_key
            ));
        }
        Some(_) => report.notes.push("signed by the trusted key".to_owned()),
        None => report.notes.push(format!(
            "signed by key {}; compare it with the one the pool publishes",
            frozen.public_key
        )),
    }
    check_terms(due, frozen, report);
}

/// The terms that the frozen row names are those of the block's row.
fn check_terms(due: &PayoutStep, frozen: &FrozenWindow, report: &mut AuditReport) {
    let Some(paid) = due.block.paid() else { return };
    let terms = |name: &str, found: String, wanted: String| {
        (found != wanted).then(|| {
            format!("payouts: the frozen window's {name} is {found}, blocks says {wanted}")
        })
    };
    let wrong = [
        terms(
            "scheme",
            frozen.scheme.clone(),
            paid.scheme.name().to_owned(),
        ),
        terms(
            "window_milli",
            frozen.window_milli.to_string(),
            paid.window_milli.to_string(),
        ),
        terms("fee_bp", frozen.fee_bp.to_string(), paid.fee_bp.to_string()),
        terms(
            "reward_atomic",
            frozen.reward_atomic.to_string(),
            paid.reward.to_string(),
        ),
    ];
    wrong
        .into_iter()
        .flatten()
        .for_each(|difference| report.add_difference(difference));
}

/// The window is found again in `shares` and compared row by row.
pub(super) async fn check_window(
    tables: &PayoutTables,
    due: &PayoutStep,
    frozen: &FrozenWindow,
    stated: &BlockRows,
    report: &mut AuditReport,
) -> Result<(), PipelineFault> {
    let Some(paid) = due.block.paid() else {
        return Ok(());
    };
    let shares = tables.shares.refresh().await?;
    let oldest = shares
        .files
        .iter()
        .filter_map(|file| file.seq_range())
        .map(|range| range.0)
        .min();
    let gone = frozen
        .edge_seq
        .zip(oldest)
        .filter(|(edge, oldest)| edge < oldest);
    match gone {
        _ if shares.files.is_empty() => report.add_difference(NO_SHARES.to_owned()),
        Some((edge, oldest)) => report.unchecked.push(format!(
            "the weights: the window begins at seq {edge} of shares, of which nothing before \
            {oldest} is kept; amounts were checked against the frozen weights"
        )),
        None => {}
    }
    if gone.is_some() || shares.files.is_empty() {
        check_amounts(due, &paid, frozen, stated, report);
        return Ok(());
    }
    check_set(tables, &shares, due, report).await?;
    let found = match recompute(tables, &shares, due).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            report.add_difference(
                "shares: the share that made the block is not there, nor any later one".to_owned(),
            );
            return Ok(());
        }
        Err(error) => {
            report.add_difference(format!("shares: {error}"));
            return Ok(());
        }
    };
    compare_found(&shares, due, (&paid, frozen), &found, stated, report).await;
    Ok(())
}

/// The share that made the block says what the block says of solo mining: otherwise somebody else
/// is paid than who mined it.
async fn check_set(
    tables: &PayoutTables,
    shares: &Snapshot,
    due: &PayoutStep,
    report: &mut AuditReport,
) -> Result<(), PipelineFault> {
    let (block, set) = (&due.block, due.block.share_set());
    let other = ShareSet {
        solo: !set.solo,
        ..set
    };
    let end = tables
        .scanner
        .find_end(shares, &other, &block.hash, block.ingest_time)
        .await?;
    if let WindowEnd::WinningShare(place) = end {
        let word = |solo: bool| match solo {
            true => "mined solo",
            false => "not mined solo",
        };
        report.add_difference(format!(
            "blocks: the block is {} by its row, and {} by the share at {place:?} that made it",
            word(block.solo),
            word(other.solo)
        ));
    }
    Ok(())
}

/// Checks the amounts against the frozen weights, where the shares themselves are no longer kept.
fn check_amounts(
    due: &PayoutStep,
    terms: &BlockTerms,
    frozen: &FrozenWindow,
    stated: &BlockRows,
    report: &mut AuditReport,
) {
    let weights = stated
        .windows
        .iter()
        .map(|row| (row.miner.clone(), u128::try_from(row.weight).unwrap_or(0)))
        .collect();
    let counts = stated
        .windows
        .iter()
        .map(|row| (row.miner.clone(), u64::try_from(row.shares).unwrap_or(0)))
        .collect();
    let window = crate::payout::Window {
        weights,
        counts,
        shares: u64::try_from(frozen.shares).unwrap_or(0),
    };
    compare(
        &freeze::window_rows(&due.block, terms, &window),
        &stated.windows,
        report,
    );
}

/// Compares the window that was found again with what `payouts` and `windows` say of it.
async fn compare_found(
    shares: &Snapshot,
    due: &PayoutStep,
    (terms, frozen): (&BlockTerms, &FrozenWindow),
    found: &FoundWindow,
    stated: &BlockRows,
    report: &mut AuditReport,
) {
    let read = found
        .edge
        .zip(found.newest)
        .map_or((i64::MAX, i64::MIN), |(edge, newest)| {
            (edge.seq, newest.seq)
        });
    let reaches = |file: &&Arc<DataFile>| {
        file.seq_range()
            .is_none_or(|range| range.0 <= read.1 && range.1 >= read.0)
    };
    files::intact(shares, shares.files.iter().filter(reaches), report).await;
    let rows = freeze::window_rows(&due.block, terms, &found.window);
    let place = |seq: Option<i64>, row: Option<i64>| {
        seq.zip(row).map(|(seq, row)| RowPosition { seq, row })
    };
    for (what, here, there) in [
        (
            "newest",
            found.newest,
            place(frozen.winning_seq, frozen.winning_row),
        ),
        (
            "oldest",
            found.edge,
            place(frozen.edge_seq, frozen.edge_row),
        ),
    ] {
        if here != there {
            report.add_difference(format!(
                "shares: the {what} share of the window stands at {here:?}, payouts says {there:?}"
            ));
        }
    }
    let total: u128 = found.window.weights.values().sum();
    if i128::try_from(total) != Ok(frozen.total_weight)
        || i64::try_from(found.window.shares) != Ok(frozen.shares)
    {
        let (shares, weight) = (found.window.shares, frozen.total_weight);
        report.add_difference(format!(
            "shares: {shares} shares weigh {total}, payouts says {} shares and {weight}",
            frozen.shares
        ));
    }
    compare(&rows, &stated.windows, report);
    report.notes.push(format!(
        "{} shares of {} miners weighed again",
        found.window.shares,
        rows.len()
    ));
}

/// The window of a block as `shares` tells it now; `None` when it does not.
async fn recompute(
    tables: &PayoutTables,
    shares: &Arc<Snapshot>,
    due: &PayoutStep,
) -> Result<Option<FoundWindow>, PipelineFault> {
    let block = &due.block;
    let Some(paid) = block.paid() else {
        return Ok(None);
    };
    let set = block.share_set();
    let end = tables
        .scanner
        .find_end(shares, &set, &block.hash, block.ingest_time)
        .await?;
    Ok(match end {
        WindowEnd::Unknown => None,
        WindowEnd::LastBefore(_) | WindowEnd::NoShares if paid.scheme.name() == solo::NAME => {
            Some(freeze::finder_window(block))
        }
        WindowEnd::NoShares => Some(FoundWindow::default()),
        WindowEnd::WinningShare(place) | WindowEnd::LastBefore(place) => Some(
            tables
                .scanner
                .scan(shares, &set, place, paid.scheme, paid.window())
                .await?,
        ),
    })
}

/// Row by row: what was computed, and what `windows` says.
fn compare(wanted: &[WindowRow], found: &[WindowRow], report: &mut AuditReport) {
    let mut there = grouped(found, |row| &row.miner);
    for row in wanted {
        match there
            .remove(row.miner.as_str())
            .unwrap_or_default()
            .as_slice()
        {
            [] => report.add_difference(format!(
                "windows: the row of miner {} is missing (weight {}, {} atomic units)",
                row.miner, row.weight, row.amount_atomic
            )),
            [other] if *other == row => {}
            [other] => report.add_difference(format!(
                "windows: miner {} has position {}, weight {}, {} shares, {} atomic units; \
                computed are {}, {}, {}, {}",
                row.miner,
                other.position,
                other.weight,
                other.shares,
                other.amount_atomic,
                row.position,
                row.weight,
                row.shares,
                row.amount_atomic
            )),
            rows => report.add_difference(format!(
                "windows: miner {} has {} rows; there must be \
                one",
                row.miner,
                rows.len()
            )),
        }
    }
    for row in there.into_values().flatten() {
        report.add_difference(format!(
            "windows: miner {} has {} atomic units and no share in the window",
            row.miner, row.amount_atomic
        ));
    }
}
