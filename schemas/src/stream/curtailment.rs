//! `curtailment`: what the controller of a site decided, and why.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What a site does about its power.
pub const POWER_STATES: &[&str] = &[
    "boot",
    "self_test",
    "hold_off",
    "restoring",
    "running",
    "notice",
    "curtailing",
    "curtailed",
    "tripped",
    "lockout",
];
/// How warm a site is.
pub const THERMAL_STATES: &[&str] = &["cold", "normal", "warm", "hot", "critical", "unknown"];
/// Who decides at a site.
pub const AUTHORITIES: &[&str] = &["auto", "manual", "debug_sim"];
/// Bytes of a text with many parts.
const MOST_BYTES: usize = 64 * 1024;

/// The stream of decisions of site controllers.
pub struct Curtailments;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this happened.").required(),
    Column::new("site", Kind::Text, "The site.").required(),
    Column::new(
        "journal",
        Kind::Text,
        "The controller's journal, which numbers its decisions.",
    )
    .required(),
    Column::new(
        "decision",
        Kind::Int,
        "The decision's number in the journal.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new("state", Kind::Text, "What the site does about its power.")
        .required()
        .limits(Limits::OneOf(POWER_STATES)),
    Column::new(
        "previous",
        Kind::Text,
        "The state before, in a row that changes it.",
    )
    .limits(Limits::OneOf(POWER_STATES)),
    Column::new("thermal", Kind::Text, "How warm the site is.")
        .required()
        .limits(Limits::OneOf(THERMAL_STATES)),
    Column::new(
        "authority",
        Kind::Text,
        "auto, manual or debug_sim (made-up values beside it).",
    )
    .required()
    .limits(Limits::OneOf(AUTHORITIES)),
    Column::new(
        "target_kw",
        Kind::Float,
        "The most that the site may draw now.",
    )
    .required()
    .unit(Unit::Kilowatts)
    .limits(Limits::Float(-1e7, 1e7)),
    Column::new("measured_kw", Kind::Float, "What the site draws.")
        .required()
        .unit(Unit::Kilowatts)
        .limits(Limits::Float(-1e7, 1e7)),
    Column::new(
        "is_estimated",
        Kind::Bool,
        "Whether the draw is a sum of other meters, because the main one is silent.",
    )
    .required(),
    Column::new(
        "winner",
        Kind::Text,
        "What sets the target: its priority and name.",
    )
    .limits(Limits::TextBytes(512)),
    Column::new("reason", Kind::Text, "The decision in a sentence.")
        .required()
        .limits(Limits::TextBytes(1024)),
    Column::new(
        "caps",
        Kind::Text,
        "Every cap that was posted, winners and losers, as JSON.",
    )
    .required()
    .limits(Limits::TextBytes(MOST_BYTES)),
    Column::new(
        "inputs",
        Kind::Text,
        "What was known of each input: source, time, value, health, as JSON.",
    )
    .required()
    .limits(Limits::TextBytes(MOST_BYTES)),
    Column::new("machines_running", Kind::Int, "Machines that work.")
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "machines_stopping",
        Kind::Int,
        "Machines that were told to stop.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "machines_stopped",
        Kind::Int,
        "Machines that draw nothing, or wait.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "machines_starting",
        Kind::Int,
        "Machines that were told to start.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "machines_stuck",
        Kind::Int,
        "Machines that no way of stopping stopped.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "machines_unknown",
        Kind::Int,
        "Machines of which nothing is known.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "temperature_c",
        Kind::Float,
        "The temperature that decides.",
    )
    .limits(Limits::Float(-300.0, 1e4)),
    Column::new("fans_on", Kind::Int, "Fans that run.")
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("commands", Kind::Int, "Commands that came of it.")
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("policy", Kind::Text, "The version of the policy.").required(),
];

impl Stream for Curtailments {
    fn name(&self) -> &'static str {
        "curtailment"
    }
    fn doc(&self) -> &'static str {
        "Decisions of site controllers: states, target, what asked for it, who won and who lost."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "site"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Record
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Site
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

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurtailmentRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The controller's journal, which numbers its decisions.
    pub journal: String,
    /// The decision's number in the journal.
    pub decision: i64,
    /// What the site does about its power.
    pub state: String,
    /// The state before, in a row that changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// How warm the site is.
    pub thermal: String,
    /// auto, manual or debug.
    pub authority: String,
    /// The most that the site may draw now.
    pub target_kw: f64,
    /// What the site draws.
    pub measured_kw: f64,
    /// Whether the draw is a sum of other meters, because the main one is silent.
    pub is_estimated: bool,
    /// What sets the target: its priority and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
    /// The decision in a sentence.
    pub reason: String,
    /// Every cap that was posted, winners and losers, as JSON.
    pub caps: String,
    /// What was known of each input: source, time, value, health, as JSON.
    pub inputs: String,
    /// Machines that work.
    pub machines_running: i64,
    /// Machines that were told to stop.
    pub machines_stopping: i64,
    /// Machines that draw nothing, or wait.
    pub machines_stopped: i64,
    /// Machines that were told to start.
    pub machines_starting: i64,
    /// Machines that no way of stopping stopped.
    pub machines_stuck: i64,
    /// Machines of which nothing is known.
    pub machines_unknown: i64,
    /// The temperature that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Fans that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fans_on: Option<i64>,
    /// Commands that came of it.
    pub commands: i64,
    /// The version of the policy.
    pub policy: String,
}

impl Record for CurtailmentRow {
    const STREAM: &'static dyn Stream = &Curtailments;
    fn key(&self) -> &str {
        &self.site
    }
}
