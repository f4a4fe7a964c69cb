//! `hashrate`: hashrate as somebody says it is: the miner's own figure or the pool's estimate for a
//! session.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// Who says so.
pub const SOURCES: &[&str] = &["miner", "pool"];

/// The stream of hashrate reports.
pub struct Hashrates;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "The end of the interval the figure is for.").required(),
    Column::new("pool", Kind::Text, "The pool mined for.").required(),
    Column::new("miner", Kind::Text, "The account that is paid.").required(),
    Column::new("worker", Kind::Text, "The worker.").required(),
    Column::new("hashrate_hs", Kind::Float, "The hashrate.")
        .required()
        .unit(Unit::HashesPerSecond)
        .limits(Limits::Float(0.0, 1e24)),
    Column::new(
        "source",
        Kind::Text,
        "Who says so: miner (its own count of hashes) or pool (from accepted difficulty).",
    )
    .required()
    .limits(Limits::OneOf(SOURCES)),
];

impl Stream for Hashrates {
    fn name(&self) -> &'static str {
        "hashrate"
    }
    fn doc(&self) -> &'static str {
        "Hashrate as reported; the rollups hashrate_10s … hashrate_1d are computed from shares \
         instead."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "pool"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Record
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Producer
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

/// One report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hashrate {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// Wallet address.
    pub miner: String,
    /// Worker name.
    pub worker: String,
    /// Hashes per second.
    pub hashrate_hs: f64,
    /// One of [`SOURCES`].
    pub source: String,
}

impl Record for Hashrate {
    const STREAM: &'static dyn Stream = &Hashrates;
    fn key(&self) -> &str {
        &self.pool
    }
}
