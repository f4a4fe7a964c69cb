//! `payouts`: what each found block means for each account, one row a step and account.

use serde::Serialize;

pub use crate::account::FEE;
use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{
    GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission, blocks,
};

/// The steps of a payout.
pub const STEPS: &[&str] = &["frozen", "credited", "reversed", "matured"];

/// The stream of payouts.
pub struct Payouts;

const COLUMNS: &[Column] = &[
    Column::time(
        "event_time",
        "When the step of the block happened that this one follows from.",
    )
    .required(),
    Column::new("pool", Kind::Text, "The pool that found the block.").required(),
    Column::new("block_hash", Kind::Text, "The block, 64 hex digits.").required(),
    Column::new("height", Kind::Int, "The block's height.")
        .required()
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "step",
        Kind::Text,
        "The step: frozen (the window is fixed), credited (on the best chain), matured (spendable) \
         or reversed (credited before, now off the chain).",
    )
    .required()
    .limits(Limits::OneOf(STEPS)),
    Column::new(
        "account",
        Kind::Text,
        "The miner's address, or fee; null in the row of a frozen window.",
    ),
    Column::new(
        "amount_atomic",
        Kind::Decimal,
        "The account's part of the reward; null in the row of a frozen window.",
    )
    .unit(Unit::AtomicUnits),
    Column::new(
        "was_mature",
        Kind::Bool,
        "Of a reversal: whether the amount had matured before.",
    ),
    Column::new(
        "cause_seq",
        Kind::Int,
        "seq of the row in blocks that this step follows from.",
    )
    .required(),
    Column::new(
        "cause_row",
        Kind::Int,
        "row of the row in blocks that this step follows from.",
    )
    .required(),
    Column::new(
        "reason",
        Kind::Text,
        "Of a reversal: what the row in blocks says; of a frozen window: how its end was found.",
    ),
    Column::new(
        "scheme",
        Kind::Text,
        "Of a frozen window: how the reward is shared out.",
    )
    .limits(Limits::OneOf(blocks::SCHEMES)),
    Column::new(
        "window_milli",
        Kind::Int,
        "Of a frozen window: the work wanted, in thousandths of a block.",
    ),
    Column::new(
        "fee_bp",
        Kind::Int,
        "Of a frozen window: the pool's part in hundredths of a percent.",
    ),
    Column::new(
        "reward_atomic",
        Kind::Decimal,
        "Of a frozen window: the whole reward.",
    )
    .unit(Unit::AtomicUnits),
    Column::new(
        "total_weight",
        Kind::Decimal,
        "Of a frozen window: the work in it; 2^64 is what a block costs on average.",
    ),
    Column::new(
        "shares",
        Kind::Int,
        "Of a frozen window: accepted shares in it.",
    )
    .unit(Unit::Count),
    Column::new(
        "miners",
        Kind::Int,
        "Of a frozen window: its rows in windows.",
    )
    .unit(Unit::Count),
    Column::new(
        "winning_seq",
        Kind::Int,
        "Of a frozen window: seq in shares of its newest share.",
    ),
    Column::new(
        "winning_row",
        Kind::Int,
        "Of a frozen window: row in shares of its newest share.",
    ),
    Column::new(
        "edge_seq",
        Kind::Int,
        "Of a frozen window: seq in shares of its oldest share, which may be trimmed.",
    ),
    Column::new(
        "edge_row",
        Kind::Int,
        "Of a frozen window: row in shares of its oldest share.",
    ),
    Column::new(
        "merkle_root",
        Kind::Text,
        "Of a frozen window: the root over its rows in windows; null when it has none.",
    ),
    Column::new(
        "signature",
        Kind::Text,
        "Of a frozen window: the pool's Ed25519 signature of it, hex.",
    ),
    Column::new(
        "public_key",
        Kind::Text,
        "Of a frozen window: the key that proves the signature, hex.",
    ),
];

impl Stream for Payouts {
    fn name(&self) -> &'static str {
        "payouts"
    }
    fn doc(&self) -> &'static str {
        "What each found block brings to each account: frozen, credited, matured or reversed, to \
         the atomic unit."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "pool"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Stop
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Internal
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Reader
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        const HIDDEN: &[&str] = &[
            "cause_seq",
            "cause_row",
            "total_weight",
            "shares",
            "miners",
            "winning_seq",
            "winning_row",
            "edge_seq",
            "edge_row",
        ];
        Some(MinerRows::by("account").without(HIDDEN))
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        true
    }
}

/// One step of a block for one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payout {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// 64 hex digits.
    pub block_hash: String,
    /// Block height.
    pub height: i64,
    /// One of [`STEPS`].
    pub step: String,
    /// Wallet address, or [`FEE`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Atomic units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_atomic: Option<i128>,
    /// Of a reversal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_mature: Option<bool>,
    /// Place of the cause in `blocks`.
    pub cause_seq: i64,
    /// Place of the cause in its message.
    pub cause_row: i64,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What only the row of a frozen window has.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenWindow>,
}

/// A frozen window as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrozenWindow {
    /// One of [`blocks::SCHEMES`].
    pub scheme: String,
    /// Thousandths of a block's work.
    pub window_milli: i64,
    /// Hundredths of a percent.
    pub fee_bp: i64,
    /// Atomic units.
    pub reward_atomic: i128,
    /// 2⁶⁴ is a block's work.
    pub total_weight: i128,
    /// A count.
    pub shares: i64,
    /// A count.
    pub miners: i64,
    /// Place of the newest share; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winning_seq: Option<i64>,
    /// Its index in its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winning_row: Option<i64>,
    /// Place of the oldest share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_seq: Option<i64>,
    /// Its index in its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_row: Option<i64>,
    /// 64 hex digits; absent when the window has no rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merkle_root: Option<String>,
    /// 128 hex digits.
    pub signature: String,
    /// 64 hex digits.
    pub public_key: String,
}

impl Record for Payout {
    const STREAM: &'static dyn Stream = &Payouts;
    fn key(&self) -> &str {
        &self.pool
    }
}
