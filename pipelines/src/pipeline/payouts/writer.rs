//! The writer of windows and payouts: knows what was written already, and writes what comes next.

use std::sync::Arc;
use std::time::Instant;

use headframe_ingest::ExclusiveAppender;
use headframe_schemas::stream::payouts::Payout;
use headframe_schemas::stream::windows::WindowRow;
use headframe_schemas::{Record, codec};
use headframe_sinks::Snapshot;

use crate::fault::PipelineFault;
use crate::payout::freeze::{self, FoundWindow};
use crate::payout::lifecycle::{BlockRow, BlockTerms, PayoutStep, RowPosition, StepKind};
use crate::payout::solo;
use crate::payout::tables::PayoutTables;
use crate::payout::window_scan::WindowEnd;
use crate::pipeline::derived::wait_until_committed;
use crate::pipeline::payouts::amounts::{Amounts, RememberedAmounts};
use crate::signature::SigningKey;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is in the stream.
    Written,
    /// `shares` does not tell yet where the window ends.
    Waiting,
}

/// The writer.
pub(super) struct PayoutWriter<'a> {
    tables: &'a PayoutTables,
    key: &'a SigningKey,
    windows: ExclusiveAppender,
    payouts: ExclusiveAppender,
    /// The newest row that was there at the start; `None` once the work has come past it.
    last_payout: Option<Payout>,
    /// The newest row of a window that was there at the start.
    last_window_row: Option<WindowRow>,
    amounts: RememberedAmounts,
    waiting: Option<RowPosition>,
}

impl<'a> PayoutWriter<'a> {
    /// Reads how far the work had come. The tables must hold everything the streams do.
    pub(super) async fn recover(
        tables: &'a PayoutTables,
        key: &'a SigningKey,
        windows: ExclusiveAppender,
        payouts: ExclusiveAppender,
    ) -> Result<Self, PipelineFault> {
        let last_payout = tables.last_payout(&tables.payouts.refresh().await?).await?;
        let last_window_row = tables.last_window(&tables.windows.refresh().await?).await?;
        tracing::info!(
            step = last_payout.as_ref().map(|row| row.step.as_str()),
            "payouts go on"
        );
        Ok(Self {
            tables,
            key,
            windows,
            payouts,
            last_payout,
            last_window_row,
            amounts: RememberedAmounts::default(),
            waiting: None,
        })
    }

    /// After the last row of `blocks`: the newest row that an earlier start wrote must have been
    /// met on the way.
    pub(super) fn check_complete(&self) -> Result<(), PipelineFault> {
        match &self.last_payout {
            Some(last) => Err(PipelineFault::inconsistent(
                "payouts",
                &format!(
                    "its newest row says {} of block {}",
                    last.step, last.block_hash
                ),
            )),
            None => Ok(()),
        }
    }

    /// Writes a step, or what is missing of it.
    pub(super) async fn write_step(&mut self, due: &PayoutStep) -> Result<Progress, PipelineFault> {
        let after = match &self.last_payout {
            None => None,
            Some(last) if is_of(last, due) => Some(last.clone()),
            // It was written before the newest row was.
            Some(_) => return Ok(Progress::Written),
        };
        let Some(terms) = due.block.paid() else {
            return Ok(Progress::Written);
        };
        match (due.kind, after) {
            (StepKind::Frozen, None) => return self.freeze(due, &terms).await,
            (StepKind::Frozen, Some(_)) => {}
            (_, after) => {
                let amounts = self.amounts_of(due).await?;
                let rows = freeze::step_rows(due, terms.reward, &amounts);
                let begun = match &after {
                    None => 0,
                    Some(last) => position(&rows, last).ok_or_else(|| {
                        let (account, amount) = (
                            last.account.as_deref().unwrap_or_default(),
                            last.amount_atomic.unwrap_or_default(),
                        );
                        PipelineFault::inconsistent(
                            "payouts",
                            &format!(
                                "its newest row pays {account} {amount} in block {}",
                                due.block.hash
                            ),
                        )
                    })?,
                };
                append(&mut self.payouts, &rows[begun..]).await?;
            }
        }
        self.last_payout = None;
        Ok(Progress::Written)
    }

    async fn freeze(
        &mut self,
        due: &PayoutStep,
        terms: &BlockTerms,
    ) -> Result<Progress, PipelineFault> {
        let block = &due.block;
        let shares = self.tables.shares.refresh().await?;
        let (started, before) = (Instant::now(), self.tables.scanner.work());
        let Some((found, reason)) = self.find_window(&shares, block, terms).await? else {
            if self.waiting.replace(block.place) != Some(block.place) {
                tracing::info!(
                    block = block.hash,
                    "the window waits for the share that made the block"
                );
            }
            return Ok(Progress::Waiting);
        };
        let rows = freeze::window_rows(block, terms, &found.window);
        let took = started.elapsed();
        metrics::histogram!("headframe_window_seconds").record(took.as_secs_f64());
        let work = self.tables.scanner.work().since(before);
        let row = Payout {
            reason,
            ..freeze::frozen_row(due, terms, &found, &rows, self.key)
        };
        let written = self.window_rows_written(block, &rows)?;
        // No row of a window is written unless all of it can be: what is credited rests on it.
        check_acceptable(std::slice::from_ref(&row))?;
        append(&mut self.windows, &rows[written.min(rows.len())..]).await?;
        append(&mut self.payouts, std::slice::from_ref(&row)).await?;
        tracing::info!(
            block = block.hash,
            shares = found.window.shares,
            miners = rows.len(),
            took_ms = took.as_millis() as u64,
            rows_searched = work.searched,
            rows_walked = work.walked,
            rows_summed = work.summed,
            "window frozen"
        );
        self.remember(due, rows);
        Ok(Progress::Written)
    }

    /// The window of a block, with the reason when it does not end with the share that made the
    /// block; `None` while `shares` does not tell where it ends.
    async fn find_window(
        &self,
        shares: &Snapshot,
        block: &BlockRow,
        terms: &BlockTerms,
    ) -> Result<Option<(FoundWindow, Option<String>)>, PipelineFault> {
        let (scanner, set) = (&self.tables.scanner, block.share_set());
        let end = scanner
            .find_end(shares, &set, &block.hash, block.ingest_time)
            .await?;
        let (end, reason) = match end {
            WindowEnd::WinningShare(place) => (Some(place), None),
            WindowEnd::LastBefore(place) => (
                Some(place),
                Some("the share that made the block never became durable".to_owned()),
            ),
            WindowEnd::NoShares => (None, Some("there is no accepted share".to_owned())),
            WindowEnd::Unknown => return Ok(None),
        };
        let found = match end {
            _ if reason.is_some() && terms.scheme.name() == solo::NAME => {
                freeze::finder_window(block)
            }
            Some(end) => {
                scanner
                    .scan(shares, &set, end, terms.scheme, terms.window())
                    .await?
            }
            None => FoundWindow::default(),
        };
        Ok(Some((found, reason)))
    }

    /// How many of the window's rows were written before the start.
    fn window_rows_written(
        &mut self,
        block: &BlockRow,
        rows: &[WindowRow],
    ) -> Result<usize, PipelineFault> {
        let is_of_block =
            |last: &WindowRow| last.block_hash == block.hash && last.pool == block.pool;
        match self.last_window_row.take().filter(is_of_block) {
            None => Ok(0),
            Some(last) if rows.contains(&last) => {
                Ok(usize::try_from(last.position + 1).unwrap_or(0))
            }
            Some(last) => {
                let what = format!(
                    "its newest row says that {} has {} of block {}",
                    last.miner, last.amount_atomic, block.hash
                );
                Err(PipelineFault::inconsistent("windows", &what))
            }
        }
    }

    fn remember(&mut self, due: &PayoutStep, rows: Vec<WindowRow>) -> Amounts {
        let amounts: Amounts = Arc::new(
            rows.into_iter()
                .map(|row| (row.miner, row.amount_atomic))
                .collect(),
        );
        let block = &due.block;
        self.amounts
            .insert(&block.pool, &block.hash, amounts.clone());
        amounts
    }

    /// What the block's frozen window gives each miner.
    async fn amounts_of(&mut self, due: &PayoutStep) -> Result<Amounts, PipelineFault> {
        let (tables, block) = (self.tables, &due.block);
        if let Some(amounts) = self.amounts.get(&block.pool, &block.hash) {
            return Ok(amounts);
        }
        wait_until_committed(&self.windows, &tables.windows).await?;
        wait_until_committed(&self.payouts, &tables.payouts).await?;
        let Some(frozen) = tables
            .frozen(&tables.payouts.refresh().await?, &block.pool, &block.hash)
            .await?
        else {
            let what = format!(
                "it has no row of a frozen window of block {}, whose {} step is due",
                block.hash,
                due.kind.as_str()
            );
            return Err(PipelineFault::inconsistent("payouts", &what));
        };
        let mut rows = tables
            .window_rows(&tables.windows.refresh().await?, &block.hash)
            .await?;
        rows.retain(|row| row.pool == block.pool);
        let in_order = rows
            .iter()
            .enumerate()
            .all(|(position, row)| row.position == position as i64);
        if !in_order || i64::try_from(rows.len()) != Ok(frozen.miners) {
            return Err(PipelineFault::inconsistent(
                "windows",
                &format!("its rows of block {} are not complete", block.hash),
            ));
        }
        Ok(self.remember(due, rows))
    }
}

fn is_of(last: &Payout, due: &PayoutStep) -> bool {
    let same_cause = (last.cause_seq, last.cause_row) == (due.cause.seq, due.cause.row);
    same_cause
        && last.step == due.kind.as_str()
        && last.block_hash == due.block.hash
        && last.pool == due.block.pool
}

/// The place behind the row that was written last. The whole row is compared, and the last such
/// counts: the pool's own part ends a step, and a miner whom an older table calls like the pool's
/// account must not pass for it.
fn position(rows: &[Payout], last: &Payout) -> Option<usize> {
    rows.iter()
        .rposition(|row| row == last)
        .map(|index| index + 1)
}

/// Appends rows in as many messages as they need.
async fn append<R: Record>(
    appender: &mut ExclusiveAppender,
    mut rows: &[R],
) -> Result<(), PipelineFault> {
    check_acceptable(rows)?;
    while !rows.is_empty() {
        let (now, later) = rows.split_at(appender.rows_that_fit(rows)?);
        appender.append(now).await?;
        rows = later;
    }
    Ok(())
}

/// Whether the table will take these rows: one that it refused would be missing in all that is
/// derived from it.
fn check_acceptable<R: Record>(rows: &[R]) -> Result<(), PipelineFault> {
    let fault = || PipelineFault::plan("writing rows", R::STREAM.name());
    let lines = rows
        .iter()
        .map(serde_json::to_vec)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault()(error.to_string()))?;
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    match codec::decode_ndjson(R::STREAM, &lines).rejects.first() {
        Some(reject) => Err(fault()(format!(
            "row {} of {} would be refused: {}",
            reject.line + 1,
            rows.len(),
            reject.reason
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(account: &str, amount: i128) -> Payout {
        Payout {
            event_time: 1_790_000_000_000_000,
            pool: "main".to_owned(),
            block_hash: "ab".repeat(32),
            height: 1,
            step: "credited".to_owned(),
            account: Some(account.to_owned()),
            amount_atomic: Some(amount),
            was_mature: None,
            cause_seq: 1,
            cause_row: 0,
            reason: None,
            frozen: None,
        }
    }

    #[test]
    fn a_miner_called_like_the_pools_account_does_not_pass_for_it() {
        let rows = [row("a", 3), row("fee", 5), row("z", 3), row("fee", 7)];
        assert_eq!(
            position(&rows, &row("fee", 7)),
            Some(4),
            "the step is complete"
        );
        assert_eq!(
            position(&rows, &row("fee", 5)),
            Some(2),
            "two rows are still to be written"
        );
        assert_eq!(position(&rows, &row("z", 3)), Some(3));
        assert_eq!(
            position(&rows, &row("z", 4)),
            None,
            "an amount that the window does not give"
        );
    }

    #[test]
    fn a_row_that_the_table_would_refuse_is_not_written() {
        assert!(check_acceptable(&[row("a", 10_i128.pow(38) - 1)]).is_ok());
        let fault = check_acceptable(&[row("a", 1), row("b", i128::MAX)])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("payouts") && fault.contains("row 2 of 2 would be refused"),
            "{fault}"
        );
    }
}
