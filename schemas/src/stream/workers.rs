//! `workers`: what CoopMine's workers do: they come, go, fall silent, are quarantined, and say how
//! they are.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What happened.
pub const EVENTS: &[&str] = &[
    "registered",
    "unregistered",
    "silent",
    "returned",
    "quarantined",
    "released",
    "report",
];

/// The stream of workers.
pub struct Workers;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the coordinator saw it.").required(),
    Column::new("cluster", Kind::Text, "The cluster's id.").required(),
    Column::new("worker", Kind::Text, "The worker's id.").required(),
    Column::new("name", Kind::Text, "The worker's name as people see it.").required(),
    Column::new(
        "event",
        Kind::Text,
        "registered, unregistered (it said goodbye), silent (three heartbeats were missed), \
         returned (heard again in the same session), quarantined (its results were wrong), \
         released, or report: how it is, once a minute.",
    )
    .required()
    .limits(Limits::OneOf(EVENTS)),
    Column::new(
        "agent",
        Kind::Text,
        "The worker's program, as it calls itself.",
    )
    .required(),
    Column::new("threads", Kind::Int, "Hashing threads it has.")
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("threads_active", Kind::Int, "Hashing threads that hash.")
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "hashrate_hs",
        Kind::Float,
        "What it says it hashes; also a row of hashrate once a minute.",
    )
    .required()
    .unit(Unit::HashesPerSecond)
    .limits(Limits::Float(0.0, 1e24)),
    Column::new(
        "hashrate_shown_hs",
        Kind::Float,
        "What its shares show; absent until there are enough.",
    )
    .unit(Unit::HashesPerSecond)
    .limits(Limits::Float(0.0, 1e24)),
    Column::new(
        "temperature_c",
        Kind::Float,
        "The processor's temperature, where it can be read.",
    )
    .limits(Limits::Float(-300.0, 1e4)),
    Column::new(
        "cpu_pct",
        Kind::Float,
        "How busy the machine's processors are.",
    )
    .limits(Limits::Float(0.0, 1e4)),
];

impl Stream for Workers {
    fn name(&self) -> &'static str {
        "workers"
    }
    fn doc(&self) -> &'static str {
        "CoopMine's workers: registered, gone, silent, quarantined, and each one's state once a \
         minute."
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

/// What a worker did, or how it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The cluster's id.
    pub cluster: String,
    /// The worker's id.
    pub worker: String,
    /// Its name.
    pub name: String,
    /// One of [`EVENTS`].
    pub event: String,
    /// Its program.
    pub agent: String,
    /// Count.
    pub threads: i64,
    /// Count.
    pub threads_active: i64,
    /// Hashes per second.
    pub hashrate_hs: f64,
    /// Hashes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashrate_shown_hs: Option<f64>,
    /// Degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_pct: Option<f64>,
}

impl Record for Worker {
    const STREAM: &'static dyn Stream = &Workers;
    fn key(&self) -> &str {
        &self.cluster
    }
}
