//! What if: the blocks of a time paid on other terms, and who would have got more or less.

use std::collections::{BTreeMap, HashMap};

use headframe_sinks::Lake;

use super::again;
use crate::fault::PipelineFault;
use crate::payout::Scheme;
use crate::payout::course::{Courses, Due, Step, window_of};
use crate::payout::freeze::{self, Found};
use crate::payout::search::{self, End};
use crate::payout::split;
use crate::payout::tables::Tables;

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
    /// Blocks whose shares are no longer kept.
    pub without_shares: usize,
    /// The pool's own part: as it was, as it would have been.
    pub fee: (u128, u128),
    /// Each miner's: as it was, as it would have been.
    pub miners: BTreeMap<String, (u128, u128)>,
}

/// Pays the blocks found in `from_us..to_us` (microseconds since 1970) that are on the best chain, on other terms.
pub async fn replay(lake: &Lake, policy: Policy, from_us: i64, to_us: i64) -> Result<Comparison, PipelineFault> {
    let tables = Tables::open(lake);
    let (blocks, shares) = (tables.blocks.refresh().await?, tables.shares.refresh().await?);
    let (mut courses, mut newest) = (Courses::default(), HashMap::<(String, String), Due>::new());
    for row in tables.block_rows(&blocks, None).await? {
        for due in courses.next(&row) {
            newest.insert((due.block.pool.clone(), due.block.hash.clone()), due);
        }
    }
    let counts = |due: &Due| {
        let standing = matches!(due.step, Step::Credited | Step::Matured);
        standing && (from_us..to_us).contains(&due.block.event_time)
    };
    let mut dues: Vec<Due> = newest.into_values().filter(counts).collect();
    dues.sort_by_key(|due| due.block.place);
    let oldest = shares.files.iter().filter_map(|file| file.seq_range()).map(|range| range.0).min();
    let mut comparison = Comparison::default();
    for due in dues {
        let Some(paid) = due.block.paid() else { continue };
        let was = again(&shares, &due).await?;
        let end = search::end(&shares, &due.block.pool, &due.block.hash, due.block.ingest_time).await?;
        let would = match end {
            End::Before(_) | End::Nothing if policy.scheme.name() == "solo" => Some(freeze::finder(&due.block)),
            End::Winner(place) | End::Before(place) => {
                Some(search::window(&shares, &due.block.pool, place, policy.scheme, window_of(policy.window_milli)).await?)
            }
            End::Nothing => Some(Found::default()),
            End::Unknown => None,
        };
        // A window that begins with the oldest share kept may have begun before it.
        let cut = |found: &Found| oldest.is_some_and(|oldest| oldest > 1 && found.edge.is_some_and(|edge| edge.seq <= oldest));
        let (Some(was), Some(would)) = (was, would) else { continue };
        if cut(&was) || cut(&would) {
            comparison.without_shares += 1;
            continue;
        }
        comparison.blocks += 1;
        let (was, would) = (split(&was.window, paid.reward, paid.fee_bp), split(&would.window, paid.reward, policy.fee_bp));
        comparison.fee = (comparison.fee.0 + was.fee, comparison.fee.1 + would.fee);
        was.amounts.into_iter().for_each(|(miner, amount)| comparison.miners.entry(miner).or_default().0 += amount);
        would.amounts.into_iter().for_each(|(miner, amount)| comparison.miners.entry(miner).or_default().1 += amount);
    }
    Ok(comparison)
}
