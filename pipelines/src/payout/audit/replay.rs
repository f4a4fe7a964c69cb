//! What if: the blocks of a time paid on other terms, and who would have got more or less.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::prelude::{col, lit};
use headframe_schemas::stream::payouts::{FEE, FrozenWindow, Payout};
use headframe_sinks::{Lake, Snapshot};

use super::AuditedTables;
use crate::fault::PipelineFault;
use crate::payout::freeze::{self, FoundWindow};
use crate::payout::lifecycle::{BlockLifecycles, PayoutStep, RowPosition, StepKind, window_of};
use crate::payout::tables::PayoutTables;
use crate::payout::window_scan::WindowEnd;
use crate::payout::{Scheme, solo, split};

/// Other terms.
#[derive(Clone, Copy)]
pub struct Policy {
    /// How a reward is shared out.
    pub scheme: &'static dyn Scheme,
    /// Thousandths of a block's work.
    pub window_milli: i64,
    /// Hundredths of a percent.
    pub fee_bp: u16,
}

/// What both sets of terms come to, in atomic units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Blocks that were paid both ways.
    pub blocks: usize,
    /// The hashes of blocks that are left out, by the reason.
    pub skipped: BTreeMap<&'static str, Vec<String>>,
    /// The pool's own part: as it was, as it would have been.
    pub fee: (u128, u128),
    /// Each miner's: as it was, as it would have been.
    pub miners: BTreeMap<String, (u128, u128)>,
}

/// What the tables say that a block was paid.
#[derive(Default)]
struct PaidBefore {
    frozen: Option<FrozenWindow>,
    /// The pool's own part, once the block was credited.
    fee: Option<i128>,
}

/// Pays the blocks found in `from_us..to_us` (microseconds since 1970) that are on the best chain,
/// on other terms.
///
/// As it was is what `windows` and `payouts` say. An error when a table is missing: nothing can be
/// said of a wrong folder.
pub async fn replay(
    lake: &Lake,
    policy: Policy,
    from_us: i64,
    to_us: i64,
) -> Result<Comparison, PipelineFault> {
    let tables = PayoutTables::open(lake);
    let audited = AuditedTables {
        blocks: tables.blocks.refresh().await?,
        windows: tables.windows.refresh().await?,
        payouts: tables.payouts.refresh().await?,
    };
    let shares = tables.shares.refresh().await?;
    for table in [&audited.blocks, &shares, &audited.windows, &audited.payouts] {
        if table.files.is_empty() {
            let why = "it is missing or empty: this is not the folder of a pool that paid, or its \
                tables are gone";
            return Err(PipelineFault::plan("replaying blocks", &table.table.name)(
                why,
            ));
        }
    }
    let (mut lifecycles, mut newest) = (
        BlockLifecycles::default(),
        HashMap::<(String, String), PayoutStep>::new(),
    );
    for row in tables.block_rows(&audited.blocks, None).await? {
        for due in lifecycles.next(&row) {
            newest.insert((due.block.pool.clone(), due.block.hash.clone()), due);
        }
    }
    let counts = |due: &PayoutStep| {
        let standing = matches!(due.kind, StepKind::Credited | StepKind::Matured);
        standing && (from_us..to_us).contains(&due.block.event_time)
    };
    let mut dues: Vec<PayoutStep> = newest.into_values().filter(counts).collect();
    dues.sort_by_key(|due| due.block.place);
    let known = known(&tables, &audited).await?;
    let mut comparison = Comparison::default();
    for due in dues {
        let paid_before = known.get(&(due.block.pool.clone(), due.block.hash.clone()));
        if let Err(why) = comparison
            .add(&tables, &audited, &shares, &due, paid_before, policy)
            .await?
        {
            comparison
                .skipped
                .entry(why)
                .or_default()
                .push(due.block.hash.clone());
        }
    }
    Ok(comparison)
}

/// Of every block of a pool, what `payouts` says.
async fn known(
    tables: &PayoutTables,
    audited: &AuditedTables,
) -> Result<HashMap<(String, String), PaidBefore>, PipelineFault> {
    let credited = col("step")
        .eq(lit(StepKind::Credited.as_str()))
        .and(col("account").eq(lit(FEE)));
    let filter = col("step").eq(lit(StepKind::Frozen.as_str())).or(credited);
    let mut known = HashMap::<(String, String), PaidBefore>::new();
    for Payout {
        pool,
        block_hash,
        frozen,
        amount_atomic,
        ..
    } in tables
        .payout_rows(&audited.payouts, Some(filter))
        .await?
        .into_iter()
        .map(|row| row.payout)
    {
        let paid_before = known.entry((pool, block_hash)).or_default();
        paid_before.frozen = frozen.or(paid_before.frozen.take());
        paid_before.fee = amount_atomic.or(paid_before.fee);
    }
    Ok(known)
}

impl Comparison {
    /// Adds one block, or says why it is left out.
    async fn add(
        &mut self,
        tables: &PayoutTables,
        audited: &AuditedTables,
        shares: &Arc<Snapshot>,
        due: &PayoutStep,
        paid_before: Option<&PaidBefore>,
        policy: Policy,
    ) -> Result<Result<(), &'static str>, PipelineFault> {
        let (
            Some(paid),
            Some(PaidBefore {
                frozen: Some(frozen),
                fee: Some(fee),
            }),
        ) = (due.block.paid(), paid_before)
        else {
            return Ok(Err(
                "payouts does not say that they were frozen and credited",
            ));
        };
        let mut rows = tables
            .window_rows(&audited.windows, &due.block.hash)
            .await?;
        rows.retain(|row| row.pool == due.block.pool);
        let credited: i128 = rows.iter().map(|row| row.amount_atomic).sum();
        if i64::try_from(rows.len()) != Ok(frozen.miners)
            || u128::try_from(credited + fee) != Ok(paid.reward)
        {
            return Ok(Err(
                "windows is not complete for them; `headframe audit block` says more",
            ));
        }
        if due.block.solo {
            return Ok(Err(
                "they were mined solo beside the pool's scheme, which no other terms change",
            ));
        }
        let would = match window_under(tables, shares, due, frozen, policy).await? {
            Ok(window) => window,
            Err(why) => return Ok(Err(why)),
        };
        self.blocks += 1;
        let would = split(&would.window, paid.reward, policy.fee_bp);
        let amount = |amount: i128| u128::try_from(amount).unwrap_or(0);
        self.fee = (self.fee.0 + amount(*fee), self.fee.1 + would.fee);
        rows.into_iter().for_each(|row| {
            self.miners.entry(row.miner).or_default().0 += amount(row.amount_atomic)
        });
        would
            .amounts
            .into_iter()
            .for_each(|(miner, amount)| self.miners.entry(miner).or_default().1 += amount);
        Ok(Ok(()))
    }
}

/// The window that a block would have under other terms; the reason when `shares` does not tell.
async fn window_under(
    tables: &PayoutTables,
    shares: &Arc<Snapshot>,
    due: &PayoutStep,
    frozen: &FrozenWindow,
    policy: Policy,
) -> Result<Result<FoundWindow, &'static str>, PipelineFault> {
    let oldest = shares
        .files
        .iter()
        .filter_map(|file| file.seq_range())
        .map(|range| range.0)
        .min();
    let stated = frozen
        .winning_seq
        .zip(frozen.winning_row)
        .map(|(seq, row)| RowPosition { seq, row });
    if stated
        .zip(oldest)
        .is_some_and(|(stated, oldest)| stated.seq < oldest)
    {
        return Ok(Err(SHARES_GONE));
    }
    let set = due.block.share_set();
    let end = tables
        .scanner
        .find_end(shares, &set, &due.block.hash, due.block.ingest_time)
        .await?;
    let place = match end {
        WindowEnd::WinningShare(place) | WindowEnd::LastBefore(place) => Some(place),
        WindowEnd::NoShares => None,
        WindowEnd::Unknown => return Ok(Err("shares does not tell where their windows end")),
    };
    if stated.is_some() && stated != place {
        return Ok(Err(
            "shares tells another end of their windows than payouts; `headframe audit block` says \
            more",
        ));
    }
    let found = match place {
        _ if policy.scheme.name() == solo::NAME && !matches!(end, WindowEnd::WinningShare(_)) => {
            freeze::finder_window(&due.block)
        }
        Some(place) => {
            tables
                .scanner
                .scan(
                    shares,
                    &set,
                    place,
                    policy.scheme,
                    window_of(policy.window_milli),
                )
                .await?
        }
        None => FoundWindow::default(),
    };
    // A window that begins with the oldest share kept may have begun before it.
    if oldest.is_some_and(|oldest| oldest > 1 && found.edge.is_some_and(|edge| edge.seq <= oldest))
    {
        return Ok(Err(SHARES_GONE));
    }
    Ok(Ok(found))
}

const SHARES_GONE: &str = "shares of their windows are no longer kept";
