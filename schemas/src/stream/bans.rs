//! `bans`: who was kept out of a pool, why, and until when.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What happened.
pub const ACTIONS: &[&str] = &["ban", "unban", "expired"];
/// Who is banned.
pub const KINDS: &[&str] = &["session", "address", "network"];
/// Who decided.
pub const SOURCES: &[&str] = &["automatic", "manual"];

/// The stream of bans.
pub struct Bans;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it happened.").required(),
    Column::new("pool", Kind::Text, "The pool.").required(),
    Column::new(
        "action",
        Kind::Text,
        "ban, unban (lifted by an operator) or expired.",
    )
    .required()
    .limits(Limits::OneOf(ACTIONS)),
    Column::new(
        "kind",
        Kind::Text,
        "Who is meant: session (a worker of a miner at an address), address, or network.",
    )
    .required()
    .limits(Limits::OneOf(KINDS)),
    Column::new(
        "ip",
        Kind::Text,
        "The address or block of addresses, personal data; a keyed hash of it if the pool says so.",
    )
    .required(),
    Column::new(
        "miner",
        Kind::Text,
        "The account of a banned session; the same account is free to mine from elsewhere.",
    ),
    Column::new("worker", Kind::Text, "The worker of a banned session."),
    Column::new(
        "reason",
        Kind::Text,
        "The last offence before an automatic ban, or the operator's words.",
    )
    .required(),
    Column::new(
        "score",
        Kind::Int,
        "Points at the time of an automatic ban; 0 for one by hand.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::time(
        "until",
        "When the ban ends or would have ended; absent when only an operator ends it.",
    ),
    Column::new("source", Kind::Text, "automatic or manual.")
        .required()
        .limits(Limits::OneOf(SOURCES)),
    Column::new(
        "times",
        Kind::Int,
        "The how many-th ban in a row of the same subject.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(1, i64::MAX)),
];

impl Stream for Bans {
    fn name(&self) -> &'static str {
        "bans"
    }
    fn doc(&self) -> &'static str {
        "Bans of workers, addresses and networks at a pool, and their ends."
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
        WritePermission::Operator
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Personal
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        Some(MinerRows::by("miner").without(&["ip"]))
    }
    fn keeps_all_rows(&self) -> bool {
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// A ban or its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ban {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// One of [`ACTIONS`].
    pub action: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// Address or block, plain or hashed.
    pub ip: String,
    /// Wallet address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miner: Option<String>,
    /// Worker name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Offence or an operator's words.
    pub reason: String,
    /// Points.
    pub score: i64,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// One of [`SOURCES`].
    pub source: String,
    /// From 1.
    pub times: i64,
}

impl Record for Ban {
    const STREAM: &'static dyn Stream = &Bans;
    fn key(&self) -> &str {
        &self.pool
    }
}
