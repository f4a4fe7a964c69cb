//! `commands`: what CoopMine's workers were told to do, and what became of it.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What a worker can be told.
pub const KINDS: &[&str] = &[
    "pause",
    "resume",
    "throttle_threads",
    "throttle_watts",
    "shutdown",
];
/// How far a command has come.
pub const STATES: &[&str] = &["sent", "acknowledged", "refused", "verified"];

/// The stream of commands.
pub struct Commands;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it came this far.").required(),
    Column::new("cluster", Kind::Text, "The cluster's id.").required(),
    Column::new(
        "command",
        Kind::Int,
        "The command's number, the same in all of its rows; unique to one start of the \
         coordinator.",
    )
    .required(),
    Column::new("worker", Kind::Text, "The worker's id.").required(),
    Column::new(
        "kind",
        Kind::Text,
        "pause, resume, throttle_threads, throttle_watts or shutdown.",
    )
    .required()
    .limits(Limits::OneOf(KINDS)),
    Column::new("value", Kind::Int, "Threads or watts, for a throttle.")
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "state",
        Kind::Text,
        "sent, acknowledged or refused by the worker, or verified by the hashrate it then reports.",
    )
    .required()
    .limits(Limits::OneOf(STATES)),
    Column::new("refusal", Kind::Text, "The worker's words when it refused."),
    Column::new(
        "hashrate_hs",
        Kind::Float,
        "What the worker said it hashes at that moment.",
    )
    .required()
    .unit(Unit::HashesPerSecond)
    .limits(Limits::Float(0.0, 1e24)),
];

impl Stream for Commands {
    fn name(&self) -> &'static str {
        "commands"
    }
    fn doc(&self) -> &'static str {
        "Commands to CoopMine's workers: a row when one is sent, answered and verified."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "cluster"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Record
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Internal
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Reader
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        None
    }
    fn keeps_all_rows(&self) -> bool {
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// How far a command has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The cluster's id.
    pub cluster: String,
    /// Its number.
    pub command: i64,
    /// The worker's id.
    pub worker: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// Threads or watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// One of [`STATES`].
    pub state: String,
    /// The worker's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Hashes per second.
    pub hashrate_hs: f64,
}

impl Record for Command {
    const STREAM: &'static dyn Stream = &Commands;
    fn key(&self) -> &str {
        &self.cluster
    }
}
