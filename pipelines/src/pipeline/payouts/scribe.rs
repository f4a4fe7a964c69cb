//! The writer of windows and payouts: knows what was said already, and says what comes next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use headframe_ingest::Chronicle;
use headframe_schemas::stream::payouts::Payout;
use headframe_schemas::stream::windows::WindowRow;
use headframe_schemas::{Record, codec};

use crate::fault::PipelineFault;
use crate::payout::course::{Due, Paid, Place, Step};
use crate::payout::freeze::{self, Found};
use crate::payout::seal::Key;
use crate::payout::search::End;
use crate::payout::tables::Tables;
use crate::pipeline::payouts::until_written;

/// Windows whose amounts are remembered; those of older blocks are read again.
const REMEMBERED: usize = 64;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is in the stream.
    Stated,
    /// `shares` does not tell yet where the window ends.
    Waiting,
}

/// Each miner's part of a block, in the order of the window.
type Amounts = Arc<Vec<(String, i128)>>;

/// The writer.
pub(super) struct Scribe<'a> {
    tables: &'a Tables,
    key: &'a Key,
    windows: Chronicle,
    payouts: Chronicle,
    /// The newest row that was there at the start; `None` once the work has come past it.
    said: Option<Payout>,
    /// The newest row of a window that was there at the start.
    frozen: Option<WindowRow>,
    amounts: HashMap<(String, String), Amounts>,
    waiting: Option<Place>,
}

impl<'a> Scribe<'a> {
    /// Reads how far the work had come. The tables must hold everything the streams do.
    pub(super) async fn recover(
        tables: &'a Tables,
        key: &'a Key,
        windows: Chronicle,
        payouts: Chronicle,
    ) -> Result<Self, PipelineFault> {
        let said = tables.last_payout(&tables.payouts.refresh().await?).await?;
        let frozen = tables.last_window(&tables.windows.refresh().await?).await?;
        tracing::info!(
            step = said.as_ref().map(|row| row.step.as_str()),
            "payouts go on"
        );
        Ok(Self {
            tables,
            key,
            windows,
            payouts,
            said,
            frozen,
            amounts: HashMap::new(),
            waiting: None,
        })
    }

    /// Every row of `blocks` was looked at: what had been said must have been met on the way.
    pub(super) fn caught_up(&self) -> Result<(), PipelineFault> {
        match &self.said {
            Some(said) => Err(PipelineFault::astray(
                "payouts",
                &format!(
                    "its newest row says {} of block {}",
                    said.step, said.block_hash
                ),
            )),
            None => Ok(()),
        }
    }

    /// States a step, or what is missing of it.
    pub(super) async fn state(&mut self, due: &Due) -> Result<Progress, PipelineFault> {
        let after = match &self.said {
            None => None,
            Some(said) if is_of(said, due) => Some(said.clone()),
            // It was said before the newest row was.
            Some(_) => return Ok(Progress::Stated),
        };
        let Some(terms) = due.block.paid() else {
            return Ok(Progress::Stated);
        };
        match (due.step, after) {
            (Step::Frozen, None) => return self.freeze(due, &terms).await,
            (Step::Frozen, Some(_)) => {}
            (_, after) => {
                let amounts = self.amounts_of(due).await?;
                let rows = freeze::moves(due, terms.reward, &amounts);
                let begun = match &after {
                    None => 0,
                    Some(said) => position(&rows, said).ok_or_else(|| {
                        let (account, amount) = (
                            said.account.as_deref().unwrap_or_default(),
                            said.amount_atomic.unwrap_or_default(),
                        );
                        PipelineFault::astray(
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
        self.said = None;
        Ok(Progress::Stated)
    }

    async fn freeze(&mut self, due: &Due, terms: &Paid) -> Result<Progress, PipelineFault> {
        let block = &due.block;
        let shares = self.tables.shares.refresh().await?;
        let started = Instant::now();
        let end = self
            .tables
            .searcher
            .end(&shares, &block.pool, &block.hash, block.ingest_time)
            .await?;
        let (end, reason) = match end {
            End::Winner(place) => (Some(place), None),
            End::Before(place) => (
                Some(place),
                Some("the share that made the block never became durable".to_owned()),
            ),
            End::Nothing => (None, Some("there is no accepted share".to_owned())),
            End::Unknown => {
                if self.waiting.replace(block.place) != Some(block.place) {
                    tracing::info!(
                        block = block.hash,
                        "the window waits for the share that made the block"
                    );
                }
                return Ok(Progress::Waiting);
            }
        };
        let found = match end {
            _ if reason.is_some() && terms.scheme.name() == "solo" => freeze::finder(block),
            Some(end) => {
                self.tables
                    .searcher
                    .window(&shares, &block.pool, end, terms.scheme, terms.window())
                    .await?
            }
            None => Found::default(),
        };
        let rows = freeze::windows(block, terms, &found.window);
        metrics::histogram!("headframe_window_seconds").record(started.elapsed().as_secs_f64());
        let row = Payout {
            reason,
            ..freeze::frozen(due, terms, &found, &rows, self.key)
        };
        let begun = match self
            .frozen
            .take()
            .filter(|last| last.block_hash == block.hash && last.pool == block.pool)
        {
            None => 0,
            Some(last) if rows.contains(&last) => usize::try_from(last.position + 1).unwrap_or(0),
            Some(last) => {
                let what = format!(
                    "its newest row says that {} has {} of block {}",
                    last.miner, last.amount_atomic, block.hash
                );
                return Err(PipelineFault::astray("windows", &what));
            }
        };
        // Nothing of a window is said unless all of it can be: what is credited rests on this row.
        acceptable(std::slice::from_ref(&row))?;
        append(&mut self.windows, &rows[begun.min(rows.len())..]).await?;
        append(&mut self.payouts, std::slice::from_ref(&row)).await?;
        tracing::info!(
            block = block.hash,
            shares = found.window.shares,
            miners = rows.len(),
            "window frozen"
        );
        self.remember(due, rows);
        Ok(Progress::Stated)
    }

    fn remember(&mut self, due: &Due, rows: Vec<WindowRow>) -> Amounts {
        if self.amounts.len() >= REMEMBERED {
            self.amounts.clear();
        }
        let amounts: Amounts = Arc::new(
            rows.into_iter()
                .map(|row| (row.miner, row.amount_atomic))
                .collect(),
        );
        self.amounts.insert(
            (due.block.pool.clone(), due.block.hash.clone()),
            amounts.clone(),
        );
        amounts
    }

    /// What the block's frozen window gives each miner.
    async fn amounts_of(&mut self, due: &Due) -> Result<Amounts, PipelineFault> {
        if let Some(amounts) = self
            .amounts
            .get(&(due.block.pool.clone(), due.block.hash.clone()))
        {
            return Ok(amounts.clone());
        }
        let (tables, block) = (self.tables, &due.block);
        until_written(&self.windows, &tables.windows).await?;
        until_written(&self.payouts, &tables.payouts).await?;
        let Some(frozen) = tables
            .frozen(&tables.payouts.refresh().await?, &block.pool, &block.hash)
            .await?
        else {
            let what = format!(
                "it has no row of a frozen window of block {}, whose {} step is due",
                block.hash,
                due.step.word()
            );
            return Err(PipelineFault::astray("payouts", &what));
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
            return Err(PipelineFault::astray(
                "windows",
                &format!("its rows of block {} are not complete", block.hash),
            ));
        }
        Ok(self.remember(due, rows))
    }
}

fn is_of(said: &Payout, due: &Due) -> bool {
    let same_cause = (said.cause_seq, said.cause_row) == (due.cause.seq, due.cause.row);
    same_cause
        && said.step == due.step.word()
        && said.block_hash == due.block.hash
        && said.pool == due.block.pool
}

/// The place behind the row that was said last. The whole row is compared, and the last such
/// counts: the pool's own part ends a step, and a miner whom an older table calls like the pool's
/// account must not pass for it.
fn position(rows: &[Payout], said: &Payout) -> Option<usize> {
    rows.iter()
        .rposition(|row| row == said)
        .map(|index| index + 1)
}

/// Appends rows in as many messages as they need.
async fn append<R: Record>(chronicle: &mut Chronicle, mut rows: &[R]) -> Result<(), PipelineFault> {
    acceptable(rows)?;
    while !rows.is_empty() {
        let (now, later) = rows.split_at(chronicle.fitting(rows)?);
        chronicle.append(now).await?;
        rows = later;
    }
    Ok(())
}

/// Whether the table will take these rows: one that it refused would be missing in all that is
/// derived from it.
fn acceptable<R: Record>(rows: &[R]) -> Result<(), PipelineFault> {
    let fault = || PipelineFault::plan("stating rows", R::STREAM.name());
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
            "two rows are still to be said"
        );
        assert_eq!(position(&rows, &row("z", 3)), Some(3));
        assert_eq!(
            position(&rows, &row("z", 4)),
            None,
            "an amount that the window does not give"
        );
    }

    #[test]
    fn a_row_that_the_table_would_refuse_is_not_said() {
        assert!(acceptable(&[row("a", 10_i128.pow(38) - 1)]).is_ok());
        let fault = acceptable(&[row("a", 1), row("b", i128::MAX)])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("payouts") && fault.contains("row 2 of 2 would be refused"),
            "{fault}"
        );
    }
}
