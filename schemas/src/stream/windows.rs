//! `windows`: what each miner's work weighed in a found block, frozen before anybody is credited.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream of windows.
pub struct Windows;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the block was found.").required(),
    Column::new("pool", Kind::Text, "The pool that found the block.").required(),
    Column::new("block_hash", Kind::Text, "The block, 64 hex digits.").required(),
    Column::new("height", Kind::Int, "The block's height.")
        .required()
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "position",
        Kind::Int,
        "The row's place in the block's window, from 0: miners in the order of their addresses' \
         bytes.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "miner",
        Kind::Text,
        "The account that is paid: a wallet address.",
    )
    .required(),
    Column::new(
        "weight",
        Kind::Decimal,
        "The miner's work in the window; 2^64 is what a block costs on average.",
    )
    .required(),
    Column::new(
        "shares",
        Kind::Int,
        "Accepted shares of the miner in the window, a trimmed one included.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "amount_atomic",
        Kind::Decimal,
        "The miner's part of the reward, should the block mature.",
    )
    .required()
    .unit(Unit::AtomicUnits),
];

impl Stream for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }
    fn doc(&self) -> &'static str {
        "The frozen window of each found block: every miner's work in it and its part of the \
         reward."
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
        Some(MinerRows::by("miner").without(&["position"]))
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// A miner in a block's window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// 64 hex digits.
    pub block_hash: String,
    /// Block height.
    pub height: i64,
    /// From 0.
    pub position: i64,
    /// Wallet address.
    pub miner: String,
    /// 2⁶⁴ is a block's work.
    pub weight: i128,
    /// A count.
    pub shares: i64,
    /// Atomic units.
    pub amount_atomic: i128,
}

impl Record for WindowRow {
    const STREAM: &'static dyn Stream = &Windows;
    fn key(&self) -> &str {
        &self.pool
    }
}
