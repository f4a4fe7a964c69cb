//! Whether `payouts` states each step that follows from `blocks` once, with the window's amounts.

use headframe_schemas::stream::payouts::Payout;

use super::{AuditReport, BlockRows, grouped};
use crate::payout::freeze;
use crate::payout::lifecycle::{PayoutStep, StepKind};

/// Every step that is due is stated once, with the amounts of the window, and no other.
pub(super) fn check_steps(stated: &BlockRows, report: &mut AuditReport) {
    let amounts: Vec<(String, i128)> = stated
        .windows
        .iter()
        .map(|row| (row.miner.clone(), row.amount_atomic))
        .collect();
    let mut unmatched: Vec<&Payout> = stated
        .payouts
        .iter()
        .filter(|row| row.step != StepKind::Frozen.as_str())
        .collect();
    let mut waiting = 0;
    for due in stated
        .dues
        .iter()
        .filter(|due| due.kind != StepKind::Frozen)
    {
        let Some(paid) = due.block.paid() else {
            continue;
        };
        let wanted = freeze::step_rows(due, paid.reward, &amounts);
        let of_step = |row: &&Payout| {
            row.step == due.kind.as_str()
                && (row.cause_seq, row.cause_row) == (due.cause.seq, due.cause.row)
        };
        let (here, rest): (Vec<&Payout>, Vec<&Payout>) = unmatched.into_iter().partition(of_step);
        unmatched = rest;
        if here.is_empty() {
            waiting += 1;
            continue;
        }
        if waiting > 0 {
            report.add_difference(format!(
                "payouts: a step before {} at {}/{} is missing",
                due.kind.as_str(),
                due.cause.seq,
                due.cause.row
            ));
        }
        compare_step(due, here, &wanted, report);
    }
    if waiting > 0 {
        report.unchecked.push(format!(
            "{waiting} steps that follow from blocks, which payouts does not state yet"
        ));
    }
    for row in unmatched {
        let (account, amount) = (
            row.account.as_deref().unwrap_or_default(),
            row.amount_atomic.unwrap_or_default(),
        );
        report.add_difference(format!(
            "payouts: {} of {amount} atomic units to {account} follows from no row of blocks",
            row.step
        ));
    }
}

/// Compares the rows of one step with those that the window gives.
fn compare_step(due: &PayoutStep, here: Vec<&Payout>, wanted: &[Payout], report: &mut AuditReport) {
    let step = format!(
        "{} (blocks {}/{})",
        due.kind.as_str(),
        due.cause.seq,
        due.cause.row
    );
    report.notes.push(format!("{step}: {} rows", here.len()));
    let mut there = grouped(here, |row| row.account.as_deref().unwrap_or_default());
    for row in wanted {
        let account = row.account.as_deref().unwrap_or_default();
        match there.remove(account).unwrap_or_default().as_slice() {
            [] => {
                report.add_difference(format!("payouts: {step}: the row of {account} is missing"))
            }
            [other] if *other == row => {}
            [other] => report.add_difference(format!(
                "payouts: {step}: {account} gets {} atomic units, the window says {}",
                other.amount_atomic.unwrap_or_default(),
                row.amount_atomic.unwrap_or_default()
            )),
            rows => report.add_difference(format!(
                "payouts: {step}: {account} has {} rows; there must be one",
                rows.len()
            )),
        }
    }
    for row in there.into_values().flatten() {
        let account = row.account.as_deref().unwrap_or_default();
        report.add_difference(format!(
            "payouts: {step}: {account} gets {} atomic units and is not in the window",
            row.amount_atomic.unwrap_or_default()
        ));
    }
}
