//! The rows of a payout: a frozen window, and what each account gets at each step. Pure, but for
//! the signature.

use std::collections::BTreeMap;

use headframe_schemas::stream::payouts::{FEE, FrozenWindow, Payout};
use headframe_schemas::stream::windows::WindowRow;

use super::lifecycle::{BlockRow, BlockTerms, PayoutStep, RowPosition, StepKind};
use super::{ONE, Window, merkle, split};
use crate::signature::SigningKey;

/// A window as it was found in `shares`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundWindow {
    /// Each miner's work.
    pub window: Window,
    /// The newest share that counts.
    pub newest: Option<RowPosition>,
    /// The oldest share that counts, which may be trimmed.
    pub edge: Option<RowPosition>,
}

/// The window of a block whose winning share never became durable, under SOLO: the block's own row
/// says who found it.
pub fn finder_window(block: &BlockRow) -> FoundWindow {
    let window = Window {
        weights: BTreeMap::from([(block.miner.clone(), ONE)]),
        counts: BTreeMap::new(),
        shares: 0,
    };
    FoundWindow {
        window,
        newest: None,
        edge: None,
    }
}

/// The rows of a block's window, in their order. Their amounts and the fee add up to the reward.
pub fn window_rows(block: &BlockRow, terms: &BlockTerms, window: &Window) -> Vec<WindowRow> {
    let amounts = split(window, terms.reward, terms.fee_bp).amounts;
    let mut rows = Vec::with_capacity(amounts.len());
    for ((miner, weight), (_, amount)) in window.weights.iter().zip(&amounts) {
        rows.push(WindowRow {
            event_time: block.event_time,
            pool: block.pool.clone(),
            block_hash: block.hash.clone(),
            height: block.height,
            position: rows.len() as i64,
            miner: miner.clone(),
            weight: signed(*weight),
            shares: window
                .counts
                .get(miner)
                .map_or(0, |count| signed(u128::from(*count)) as i64),
            amount_atomic: signed(*amount),
        });
    }
    rows
}

/// The text whose hash is a leaf of the block's tree. The miner comes last, so that no name can
/// pass for another row.
pub fn leaf_text(row: &WindowRow) -> String {
    let WindowRow {
        block_hash,
        height,
        position,
        weight,
        shares,
        amount_atomic,
        miner,
        ..
    } = row;
    format!("{block_hash},{height},{position},{weight},{shares},{amount_atomic},{miner}")
}

/// The leaves of a block's tree, in the order of the rows.
pub fn leaves(rows: &[WindowRow]) -> Vec<String> {
    rows.iter()
        .map(|row| merkle::leaf(&leaf_text(row)))
        .collect()
}

/// The text that the pool signs: whose window it is, its terms, and its root; `none` stands for the
/// root of a window without rows.
pub fn statement(pool: &str, block_hash: &str, height: i64, frozen: &FrozenWindow) -> String {
    let FrozenWindow {
        scheme,
        window_milli,
        fee_bp,
        reward_atomic,
        total_weight,
        shares,
        miners,
        merkle_root,
        ..
    } = frozen;
    let root = merkle_root.as_deref().unwrap_or("none");
    format!(
        "headframe window \
        1,{pool},{block_hash},{height},{scheme},{window_milli},{fee_bp},{reward_atomic},\
        {total_weight},{shares},{miners},{root}"
    )
}

/// The row that fixes a window.
pub fn frozen_row(
    due: &PayoutStep,
    terms: &BlockTerms,
    found: &FoundWindow,
    rows: &[WindowRow],
    key: &SigningKey,
) -> Payout {
    let (block, window) = (&due.block, &found.window);
    let mut frozen = FrozenWindow {
        scheme: terms.scheme.name().to_owned(),
        window_milli: terms.window_milli,
        fee_bp: i64::from(terms.fee_bp),
        reward_atomic: signed(terms.reward),
        total_weight: signed(window.weights.values().sum()),
        shares: signed(u128::from(window.shares)) as i64,
        miners: signed(rows.len() as u128) as i64,
        winning_seq: found.newest.map(|place| place.seq),
        winning_row: found.newest.map(|place| place.row),
        edge_seq: found.edge.map(|place| place.seq),
        edge_row: found.edge.map(|place| place.row),
        merkle_root: merkle::root(&leaves(rows)),
        signature: String::new(),
        public_key: key.public_hex(),
    };
    frozen.signature = key.sign(&statement(&block.pool, &block.hash, block.height, &frozen));
    Payout {
        frozen: Some(frozen),
        ..empty_row(due)
    }
}

/// The rows of a step that moves money: each miner of the window in its order, then the pool's own
/// part, which ends the step.
pub fn step_rows(due: &PayoutStep, reward: u128, amounts: &[(String, i128)]) -> Vec<Payout> {
    let was_mature = match due.kind {
        StepKind::Reversed { was_mature } => Some(was_mature),
        _ => None,
    };
    let paid: i128 = amounts.iter().map(|(_, amount)| amount).sum();
    let fee = (FEE.to_owned(), signed(reward) - paid);
    let row = |(account, amount): &(String, i128)| Payout {
        account: Some(account.clone()),
        amount_atomic: Some(*amount),
        was_mature,
        reason: due.reason.clone(),
        ..empty_row(due)
    };
    amounts.iter().chain([&fee]).map(row).collect()
}

fn empty_row(due: &PayoutStep) -> Payout {
    Payout {
        event_time: due.event_time,
        pool: due.block.pool.clone(),
        block_hash: due.block.hash.clone(),
        height: due.block.height,
        step: due.kind.as_str().to_owned(),
        account: None,
        amount_atomic: None,
        was_mature: None,
        cause_seq: due.cause.seq,
        cause_row: due.cause.row,
        reason: None,
        frozen: None,
    }
}

/// Rewards have 127 bits by their column; weights and counts of a window stay far below.
fn signed(value: u128) -> i128 {
    i128::try_from(value).unwrap_or(i128::MAX)
}
