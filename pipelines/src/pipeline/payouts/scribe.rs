//! The writer of windows and payouts: knows what was said already, and says what comes next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use headframe_ingest::Chronicle;
use headframe_schemas::Record;
use headframe_schemas::stream::payouts::{FEE, Payout};
use headframe_schemas::stream::windows::WindowRow;

use crate::fault::PipelineFault;
use crate::payout::course::{Due, Paid, Place, Step};
use crate::payout::freeze::{self, Found};
use crate::payout::seal::Key;
use crate::payout::search::{self, End};
use crate::payout::tables::Tables;

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
    pub(super) async fn recover(tables: &'a Tables, key: &'a Key, windows: Chronicle, payouts: Chronicle) -> Result<Self, PipelineFault> {
        let said = tables.last_payout(&tables.payouts.refresh().await?).await?;
        let frozen = tables.last_window(&tables.windows.refresh().await?).await?;
        tracing::info!(step = said.as_ref().map(|row| row.step.as_str()), "payouts go on");
        Ok(Self { tables, key, windows, payouts, said, frozen, amounts: HashMap::new(), waiting: None })
    }

    /// Every row of `blocks` was looked at: what had been said must have been met on the way.
    pub(super) fn caught_up(&self) -> Result<(), PipelineFault> {
        match &self.said {
            Some(said) => Err(PipelineFault::astray("payouts", &format!("its newest row says {} of block {}", said.step, said.block_hash))),
            None => Ok(()),
        }
    }

    /// States a step, or what is missing of it.
    pub(super) async fn state(&mut self, due: &Due) -> Result<Progress, PipelineFault> {
        let after = match &self.said {
            None => None,
            Some(said) if is_of(said, due) => Some(said.account.clone()),
            // It was said before the newest row was.
            Some(_) => return Ok(Progress::Stated),
        };
        let Some(terms) = due.block.paid() else { return Ok(Progress::Stated) };
        match (due.step, after) {
            (Step::Frozen, None) => return self.freeze(due, &terms).await,
            (Step::Frozen, Some(_)) => {}
            (_, after) => {
                let amounts = self.amounts_of(due).await?;
                let rows = freeze::moves(due, terms.reward, &amounts);
                let begun = match after.flatten() {
                    None => 0,
                    Some(account) => position(&rows, &account).ok_or_else(|| {
                        PipelineFault::astray("payouts", &format!("its newest row pays {account} in block {}", due.block.hash))
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
        let end = search::end(&shares, &block.pool, &block.hash, block.ingest_time).await?;
        let (end, reason) = match end {
            End::Winner(place) => (Some(place), None),
            End::Before(place) => (Some(place), Some("the share that made the block never became durable".to_owned())),
            End::Nothing => (None, Some("there is no accepted share".to_owned())),
            End::Unknown => {
                if self.waiting.replace(block.place) != Some(block.place) {
                    tracing::info!(block = block.hash, "the window waits for the share that made the block");
                }
                return Ok(Progress::Waiting);
            }
        };
        let found = match end {
            _ if reason.is_some() && terms.scheme.name() == "solo" => freeze::finder(block),
            Some(end) => search::window(&shares, &block.pool, end, terms.scheme, terms.window()).await?,
            None => Found::default(),
        };
        let rows = freeze::windows(block, terms, &found.window);
        metrics::histogram!("headframe_window_seconds").record(started.elapsed().as_secs_f64());
        let row = Payout { reason, ..freeze::frozen(due, terms, &found, &rows, self.key) };
        let begun = match self.frozen.take().filter(|last| last.block_hash == block.hash && last.pool == block.pool) {
            None => 0,
            Some(last) if rows.contains(&last) => usize::try_from(last.position + 1).unwrap_or(0),
            Some(last) => {
                let what = format!("its newest row says that {} has {} of block {}", last.miner, last.amount_atomic, block.hash);
                return Err(PipelineFault::astray("windows", &what));
            }
        };
        append(&mut self.windows, &rows[begun.min(rows.len())..]).await?;
        append(&mut self.payouts, std::slice::from_ref(&row)).await?;
        tracing::info!(block = block.hash, shares = found.window.shares, miners = rows.len(), "window frozen");
        self.remember(due, rows);
        Ok(Progress::Stated)
    }

    fn remember(&mut self, due: &Due, rows: Vec<WindowRow>) -> Amounts {
        if self.amounts.len() >= REMEMBERED {
            self.amounts.clear();
        }
        let amounts: Amounts = Arc::new(rows.into_iter().map(|row| (row.miner, row.amount_atomic)).collect());
        self.amounts.insert((due.block.pool.clone(), due.block.hash.clone()), amounts.clone());
        amounts
    }

    /// What the block's frozen window gives each miner.
    async fn amounts_of(&mut self, due: &Due) -> Result<Amounts, PipelineFault> {
        if let Some(amounts) = self.amounts.get(&(due.block.pool.clone(), due.block.hash.clone())) {
            return Ok(amounts.clone());
        }
        let snapshot = self.tables.windows.refresh().await?;
        let mut rows = self.tables.window_rows(&snapshot, &due.block.hash).await?;
        rows.retain(|row| row.pool == due.block.pool);
        if rows.iter().enumerate().any(|(position, row)| row.position != position as i64) {
            return Err(PipelineFault::astray("windows", &format!("its rows of block {} are not complete", due.block.hash)));
        }
        Ok(self.remember(due, rows))
    }
}

fn is_of(said: &Payout, due: &Due) -> bool {
    let same_cause = (said.cause_seq, said.cause_row) == (due.cause.seq, due.cause.row);
    same_cause && said.step == due.step.word() && said.block_hash == due.block.hash && said.pool == due.block.pool
}

/// The place behind the row of an account.
fn position(rows: &[Payout], account: &str) -> Option<usize> {
    // The pool's own part is the last row; everything was said then.
    let behind = rows.iter().position(|row| row.account.as_deref() == Some(account)).map(|index| index + 1);
    debug_assert!(account != FEE || behind == Some(rows.len()));
    behind
}

/// Appends rows in as many messages as they need.
async fn append<R: Record>(chronicle: &mut Chronicle, mut rows: &[R]) -> Result<(), PipelineFault> {
    while !rows.is_empty() {
        let (now, later) = rows.split_at(chronicle.fitting(rows)?);
        chronicle.append(now).await?;
        rows = later;
    }
    Ok(())
}
