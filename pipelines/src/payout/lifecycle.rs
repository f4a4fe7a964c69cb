//! The course of each found block: from its rows in `blocks` to the steps of its payout. Pure.
//!
//! The chain may take a block away and bring it back; each time its reward is reversed or credited
//! once more, and never twice in a row. What is due follows from the rows of `blocks` in their
//! order and from nothing else, so that every reader of the table comes to the same steps in the
//! same order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headframe_schemas::stream::blocks::{MAX_FEE_BP, MAX_WINDOW_MILLI};

use super::{ONE, Scheme, ShareSet, find, solo};

/// The place of a row in its table: sequence, then index in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowPosition {
    /// `seq`.
    pub seq: i64,
    /// `row`.
    pub row: i64,
}

/// A row of `blocks`, as far as money is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Where it stands.
    pub place: RowPosition,
    /// When JetStream stored it, microseconds since 1970.
    pub ingest_time: i64,
    /// When it happened, microseconds since 1970.
    pub event_time: i64,
    /// The pool.
    pub pool: String,
    /// 64 hex digits.
    pub hash: String,
    /// Block height.
    pub height: i64,
    /// Who found it.
    pub miner: String,
    /// One of the statuses of `blocks`.
    pub status: String,
    /// Atomic units.
    pub reward: Option<i128>,
    /// In words.
    pub reason: Option<String>,
    /// One of the schemes.
    pub scheme: Option<String>,
    /// Thousandths of a block's work.
    pub window_milli: Option<i64>,
    /// Hundredths of a percent.
    pub fee_bp: Option<i64>,
    /// Whether a miner who mines solo found it.
    pub solo: bool,
}

/// The terms of a block that is paid.
#[derive(Clone, Copy)]
pub struct BlockTerms {
    /// How it is shared out.
    pub scheme: &'static dyn Scheme,
    /// Thousandths of a block's work.
    pub window_milli: i64,
    /// Hundredths of a percent.
    pub fee_bp: u16,
    /// Atomic units.
    pub reward: u128,
}

impl BlockTerms {
    /// The work wanted, [`ONE`] being a block's.
    pub fn window(&self) -> u128 {
        window_of(self.window_milli)
    }
}

/// ⌊thousandths · 2⁶⁴ ÷ 1000⌋.
pub fn window_of(milli: i64) -> u128 {
    u128::try_from(milli).unwrap_or(0) * ONE / 1_000
}

impl BlockRow {
    /// The shares that its window is made of.
    pub fn share_set(&self) -> ShareSet {
        ShareSet {
            pool: self.pool.clone(),
            solo: self.solo,
        }
    }

    /// The terms it is paid on; `None` for a block of a pool that pays nobody, and for terms that
    /// make no sense: of a block that was mined solo the finder alone is paid.
    pub fn paid(&self) -> Option<BlockTerms> {
        let scheme = find(self.scheme.as_deref()?)?;
        if self.solo && scheme.name() != solo::NAME {
            return None;
        }
        let window_milli = self
            .window_milli
            .filter(|milli| (1..=MAX_WINDOW_MILLI).contains(milli))?;
        let fee_bp = self
            .fee_bp
            .filter(|fee| (0..=MAX_FEE_BP).contains(fee))
            .and_then(|fee| u16::try_from(fee).ok())?;
        Some(BlockTerms {
            scheme,
            window_milli,
            fee_bp,
            reward: u128::try_from(self.reward?).ok()?,
        })
    }
}

/// A step that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Its window is fixed: the first that happens to a block.
    Frozen,
    /// It is on the best chain.
    Credited,
    /// It is off the chain after it was credited.
    Reversed {
        /// Whether it had matured.
        was_mature: bool,
    },
    /// Its reward can be spent.
    Matured,
}

impl StepKind {
    /// The word in `payouts`.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Frozen => "frozen",
            StepKind::Credited => "credited",
            StepKind::Reversed { .. } => "reversed",
            StepKind::Matured => "matured",
        }
    }
}

/// One step of one block, and the row it follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutStep {
    /// The block's first row that carries terms and a reward, with the times of its first row: what
    /// it says holds for ever.
    pub block: Arc<BlockRow>,
    /// What is due.
    pub kind: StepKind,
    /// The row it follows from.
    pub cause: RowPosition,
    /// When that happened.
    pub event_time: i64,
    /// What that row says of the reason.
    pub reason: Option<String>,
}

/// How far a block has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PayoutStatus {
    /// Nobody has anything of it.
    Open,
    /// On the best chain.
    Credited,
    /// Spendable.
    Matured,
}

/// Every block so far. A block is its pool and hash, never its height.
#[derive(Debug, Default)]
pub struct BlockLifecycles {
    known: HashMap<(String, String), BlockLifecycle>,
    unpaid: HashSet<(String, String)>,
}

/// One block so far.
#[derive(Debug)]
struct BlockLifecycle {
    /// Its first row until a row tells the terms and the reward, then that one.
    block: Arc<BlockRow>,
    /// Whether its terms are known.
    is_frozen: bool,
    /// What the newest row says of the chain; a candidate row says nothing of it.
    status: Option<String>,
    standing: PayoutStatus,
    /// Whether it counts as the pool's own.
    ownership: Ownership,
}

/// Whether a block is the pool's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// Nothing is known against it.
    Own,
    /// Only the public tag speaks for it: an operator must confirm it.
    Unproven,
    /// An operator says that it is somebody else's.
    Rejected,
}

impl Ownership {
    /// After a row with this status: the pool writes a candidate row for what it found itself and
    /// for what an operator confirms, and nothing brings a rejected block back.
    fn after(self, status: &str) -> Self {
        match (self, status) {
            (Self::Rejected, _) | (_, "rejected") => Self::Rejected,
            (_, "unproven") => Self::Unproven,
            (_, "candidate") => Self::Own,
            (ownership, _) => ownership,
        }
    }
}

impl BlockLifecycles {
    /// Takes the next row and says what is due after it, in this order. Rows must come in the order
    /// of their places.
    pub fn next(&mut self, row: &BlockRow) -> Vec<PayoutStep> {
        let key = (row.pool.clone(), row.hash.clone());
        let first = || BlockLifecycle {
            block: Arc::new(row.clone()),
            is_frozen: false,
            status: None,
            standing: PayoutStatus::Open,
            ownership: Ownership::Own,
        };
        let lifecycle = self.known.entry(key.clone()).or_insert_with(first);
        // A candidate row that was late may come after the row it should precede.
        if row.status != "candidate" {
            lifecycle.status = Some(row.status.clone());
        }
        lifecycle.ownership = lifecycle.ownership.after(&row.status);
        if !lifecycle.is_frozen && lifecycle.ownership != Ownership::Own {
            self.unpaid.remove(&key);
            return Vec::new();
        }
        let mut steps = Vec::new();
        if !lifecycle.is_frozen {
            let on_chain = matches!(
                lifecycle.status.as_deref(),
                Some("accepted" | "confirmed" | "matured")
            );
            if row.paid().is_none() {
                let has_scheme = row.scheme.is_some() || lifecycle.block.scheme.is_some();
                match has_scheme && on_chain {
                    true => self.unpaid.insert(key),
                    false => self.unpaid.remove(&key),
                };
                return Vec::new();
            }
            self.unpaid.remove(&key);
            let (ingest_time, event_time) =
                (lifecycle.block.ingest_time, lifecycle.block.event_time);
            lifecycle.block = Arc::new(BlockRow {
                ingest_time,
                event_time,
                ..row.clone()
            });
            lifecycle.is_frozen = true;
            steps.push(StepKind::Frozen);
        }
        while let Some((step, next)) = lifecycle
            .status
            .as_deref()
            .and_then(|status| follow(lifecycle.standing, status))
        {
            steps.push(step);
            lifecycle.standing = next;
        }
        let due = |kind: StepKind| {
            let reason = row
                .reason
                .clone()
                .filter(|_| matches!(kind, StepKind::Reversed { .. }));
            PayoutStep {
                block: lifecycle.block.clone(),
                kind,
                cause: row.place,
                event_time: row.event_time,
                reason,
            }
        };
        steps.into_iter().map(due).collect()
    }

    /// Blocks on the best chain of which nobody can be paid yet: they name a scheme, and no row has
    /// complete terms and a reward.
    pub fn unpaid(&self) -> usize {
        self.unpaid.len()
    }
}

/// The next step of a payout that stands here when its block's newest row says this.
fn follow(standing: PayoutStatus, status: &str) -> Option<(StepKind, PayoutStatus)> {
    match (standing, status) {
        (PayoutStatus::Open, "accepted" | "confirmed" | "matured") => {
            Some((StepKind::Credited, PayoutStatus::Credited))
        }
        (PayoutStatus::Credited, "matured") => Some((StepKind::Matured, PayoutStatus::Matured)),
        (PayoutStatus::Credited, "orphaned" | "refused") => {
            Some((StepKind::Reversed { was_mature: false }, PayoutStatus::Open))
        }
        (PayoutStatus::Matured, "orphaned" | "refused") => {
            Some((StepKind::Reversed { was_mature: true }, PayoutStatus::Open))
        }
        _ => None,
    }
}
