//! `sessions`: miners' connections to a pool: a row when one logs in, a row when it ends, and a row
//! when it is refused.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What happened.
pub const EVENTS: &[&str] = &["login", "logout", "refused"];

/// The stream of sessions.
pub struct Sessions;

const COLUMNS: &[Column] = &[
    Column::time(
        "event_time",
        "When the miner logged in, or its connection ended.",
    )
    .required(),
    Column::new("pool", Kind::Text, "The pool.").required(),
    Column::new(
        "event",
        Kind::Text,
        "login, logout, or refused before either. A crashed pool leaves logins without a logout.",
    )
    .required()
    .limits(Limits::OneOf(EVENTS)),
    Column::new(
        "session",
        Kind::Text,
        "The session's id, the same in both rows, unique over restarts.",
    )
    .required(),
    Column::new(
        "miner",
        Kind::Text,
        "The account that is paid; empty when a login was refused before it was read.",
    )
    .required(),
    Column::new(
        "worker",
        Kind::Text,
        "The miner's own name for the machine.",
    )
    .required(),
    Column::new("agent", Kind::Text, "The program, as it calls itself."),
    Column::new(
        "ip",
        Kind::Text,
        "Where it came from, personal data; a keyed hash of it if the pool says so.",
    )
    .required(),
    Column::new(
        "difficulty",
        Kind::Int,
        "The difficulty of the first job, at a logout of the last; 0 for a refused login.",
    )
    .required()
    .unit(Unit::Hashes)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "reason",
        Kind::Text,
        "Why the connection ended or the login was refused, in words.",
    ),
    Column::new(
        "duration_s",
        Kind::Float,
        "Seconds between login and logout; only at a logout.",
    )
    .limits(Limits::Float(0.0, 1e10)),
    Column::new(
        "shares_accepted",
        Kind::Int,
        "Shares that were answered OK; only at a logout.",
    )
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "shares_refused",
        Kind::Int,
        "Shares that were answered otherwise; only at a logout.",
    )
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "work",
        Kind::Decimal,
        "The sum of difficulties credited; only at a logout.",
    )
    .unit(Unit::Hashes),
    Column::new(
        "refusal",
        Kind::Text,
        "The kind of refusal, as in the metric headframe_stratum_logins_total; only at a refusal.",
    ),
    Column::new(
        "refusals_left_out",
        Kind::Int,
        "Refusals since the last such row that have no row of their own, because there were many.",
    )
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
];

impl Stream for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }
    fn doc(&self) -> &'static str {
        "Logins, refused logins and logouts of miners at a pool, with what each session came to."
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
        Some(MinerRows::by("miner").without(&["ip", "refusals_left_out"]))
    }
    fn keeps_all_rows(&self) -> bool {
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// A login, a logout or a refused login.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// One of [`EVENTS`].
    pub event: String,
    /// Sixteen hex digits.
    pub session: String,
    /// Wallet address.
    pub miner: String,
    /// Worker name.
    pub worker: String,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Address, plain or hashed.
    pub ip: String,
    /// Hashes.
    pub difficulty: i64,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares_accepted: Option<i64>,
    /// Count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares_refused: Option<i64>,
    /// Hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<i128>,
    /// The kind of refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusals_left_out: Option<i64>,
}

impl Record for Session {
    const STREAM: &'static dyn Stream = &Sessions;
    fn key(&self) -> &str {
        &self.pool
    }
}
