//! `blocks`: what became of each share that met the network's difficulty, one row a step.

use serde::{Deserialize, Serialize};

use crate::account;
use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The steps in a block's life.
pub const STATUSES: &[&str] = &[
    "candidate",
    "accepted",
    "refused",
    "confirmed",
    "orphaned",
    "matured",
    "unproven",
    "rejected",
];

/// The ways a reward can be shared out.
pub const SCHEMES: &[&str] = &["pplns", "prop", "solo"];
/// The longest window: a thousand blocks' worth of work.
pub const MAX_WINDOW_MILLI: i64 = 1_000_000;
/// The whole reward.
pub const MAX_FEE_BP: i64 = 10_000;

/// The stream of block events.
pub struct Blocks;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this step happened.").required(),
    Column::new("pool", Kind::Text, "The pool that found the block.").required(),
    Column::new(
        "hash",
        Kind::Text,
        "The block's identity: its hash, 64 hex digits.",
    )
    .required(),
    Column::new("height", Kind::Int, "The block's height.")
        .required()
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("miner", Kind::Text, "The account whose share it is.")
        .required()
        .limits(Limits::NoneOf(account::RESERVED)),
    Column::new("worker", Kind::Text, "The worker that found it.").required(),
    Column::new(
        "status",
        Kind::Text,
        "The step: candidate (written before the daemon is told), accepted, refused, confirmed, \
         orphaned or matured; unproven (found on the chain by the pool's public tag alone, held \
         until the operator confirms it) or rejected (by the operator).",
    )
    .required()
    .limits(Limits::OneOf(STATUSES)),
    Column::new(
        "network_difficulty",
        Kind::Decimal,
        "The network's difficulty at the block.",
    )
    .required()
    .unit(Unit::Hashes),
    Column::new(
        "reward_atomic",
        Kind::Decimal,
        "The reward the template promised.",
    )
    .unit(Unit::AtomicUnits),
    Column::new(
        "reason",
        Kind::Text,
        "What the daemon said when it refused.",
    ),
    Column::new(
        "scheme",
        Kind::Text,
        "How the reward is shared out, frozen when the block was found: pplns, prop or solo.",
    )
    .limits(Limits::OneOf(SCHEMES)),
    Column::new(
        "window_milli",
        Kind::Int,
        "Work the PPLNS window reaches back, in thousandths of a block; frozen when the block was \
         found.",
    )
    .limits(Limits::Int(1, MAX_WINDOW_MILLI)),
    Column::new(
        "fee_bp",
        Kind::Int,
        "The pool's part in hundredths of a percent; frozen when the block was found.",
    )
    .limits(Limits::Int(0, MAX_FEE_BP)),
    Column::new(
        "solo",
        Kind::Bool,
        "Whether a miner who mines solo found it, who alone is paid; null is no.",
    ),
];

impl Stream for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }
    fn doc(&self) -> &'static str {
        "Each step in the life of a found block; a block is its hash, never its height."
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
        WritePermission::Operator
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Reader
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        Some(MinerRows::by("miner"))
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        true
    }
}

/// One step in a block's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// 64 hex digits.
    pub hash: String,
    /// Block height.
    pub height: i64,
    /// Wallet address.
    pub miner: String,
    /// Worker name.
    pub worker: String,
    /// One of [`STATUSES`].
    pub status: String,
    /// Hashes.
    pub network_difficulty: i128,
    /// Atomic units.
    pub reward_atomic: Option<i128>,
    /// The daemon's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On which terms it is paid; the same in each row of a block.
    #[serde(flatten)]
    pub terms: PayoutTerms,
}

/// The terms a block is paid on. All are absent in rows of a pool that pays nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutTerms {
    /// One of [`SCHEMES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Thousandths of a block's work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_milli: Option<i64>,
    /// Hundredths of a percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_bp: Option<i64>,
    /// `Some(true)` of a block that a miner who mines solo found; rows of before the column existed
    /// have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solo: Option<bool>,
}

impl Record for Block {
    const STREAM: &'static dyn Stream = &Blocks;
    fn key(&self) -> &str {
        &self.pool
    }
}
