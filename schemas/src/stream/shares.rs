//! `shares`: every share a miner submitted, with the pool's verdict.

use serde::{Deserialize, Serialize};

use crate::account;
use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The verdicts a share can get.
pub const OUTCOMES: &[&str] = &[
    "accepted",
    "stale",
    "duplicate",
    "low_difficulty",
    "invalid",
    "busy",
];

/// The stream of shares.
pub struct Shares;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the pool received the share.").required(),
    Column::new("pool", Kind::Text, "The pool that checked the share.").required(),
    Column::new(
        "miner",
        Kind::Text,
        "The account that is paid: a wallet address.",
    )
    .required()
    .limits(Limits::NoneOf(account::RESERVED)),
    Column::new(
        "worker",
        Kind::Text,
        "The miner's own name for the machine.",
    )
    .required(),
    Column::new(
        "outcome",
        Kind::Text,
        "The verdict: accepted, stale, duplicate, low_difficulty, invalid, or busy: not looked at.",
    )
    .required()
    .limits(Limits::OneOf(OUTCOMES)),
    Column::new(
        "difficulty",
        Kind::Int,
        "The difficulty of the job the share was found on, which is what it is credited at.",
    )
    .required()
    .unit(Unit::Hashes)
    .limits(Limits::Int(0, i64::MAX))
    .few_values(),
    Column::new(
        "network_difficulty",
        Kind::Decimal,
        "The network's difficulty at that job.",
    )
    .required()
    .unit(Unit::Hashes)
    .few_values(),
    Column::new(
        "height",
        Kind::Int,
        "The height of the block the job would make.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "block_hash",
        Kind::Text,
        "The block this accepted share made, 64 hex digits; null for all others.",
    ),
    Column::new(
        "solo",
        Kind::Bool,
        "Whether the miner mines solo: it is paid for the blocks it makes, and its shares count in \
         no window. Null is no.",
    ),
];

impl Stream for Shares {
    fn name(&self) -> &'static str {
        "shares"
    }
    fn doc(&self) -> &'static str {
        "Every share a miner submitted, verified, with its verdict and the difficulty it is \
         credited at."
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
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// One share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// Wallet address.
    pub miner: String,
    /// Worker name.
    pub worker: String,
    /// One of [`OUTCOMES`].
    pub outcome: String,
    /// Hashes, the job's own.
    pub difficulty: i64,
    /// Hashes.
    pub network_difficulty: i128,
    /// Block height of the job.
    pub height: i64,
    /// 64 hex digits; the block it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_hash: Option<String>,
    /// `Some(true)` of a miner who mines solo; rows of before the column existed have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solo: Option<bool>,
}

impl Record for Share {
    const STREAM: &'static dyn Stream = &Shares;
    fn key(&self) -> &str {
        &self.pool
    }
}
