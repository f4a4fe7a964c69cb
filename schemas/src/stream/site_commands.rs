//! `site_commands`: commands of a site controller to machines, fans and feeders, and what
//! became of them.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// Who is told.
pub const TARGETS: &[&str] = &["machine", "fan", "feeder"];
/// What it is told.
pub const ACTIONS: &[&str] = &[
    "off",
    "on",
    "mode_low",
    "mode_normal",
    "mode_high",
    "limit_watts",
];
/// By which way.
pub const PATHS: &[&str] = &["device", "foreman", "outlet", "feeder"];
/// How far a command has come.
pub const STATES: &[&str] = &[
    "queued",
    "sent",
    "acknowledged",
    "verified",
    "failed",
    "escalated",
    "superseded",
];

/// The stream of commands of site controllers.
pub struct SiteCommands;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this happened.").required(),
    Column::new("site", Kind::Text, "The site.").required(),
    Column::new(
        "journal",
        Kind::Text,
        "The controller's journal, which numbers its commands.",
    )
    .required(),
    Column::new(
        "command",
        Kind::Int,
        "The command's number in the journal, the same in all of its rows.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new("decision", Kind::Int, "The decision that it comes from.")
        .required()
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("target_kind", Kind::Text, "machine, fan or feeder.")
        .required()
        .limits(Limits::OneOf(TARGETS)),
    Column::new("target", Kind::Text, "Its name or number.").required(),
    Column::new(
        "action",
        Kind::Text,
        "off, on, a power mode or a limit of watts.",
    )
    .required()
    .limits(Limits::OneOf(ACTIONS)),
    Column::new("value", Kind::Int, "The watts of a limit.")
        .unit(Unit::Watts)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("path", Kind::Text, "device, foreman, outlet or feeder.")
        .required()
        .limits(Limits::OneOf(PATHS)),
    Column::new(
        "state",
        Kind::Text,
        "queued, sent, acknowledged, verified by measured power, failed, \
         escalated to another way, or superseded.",
    )
    .required()
    .limits(Limits::OneOf(STATES)),
    Column::new("successor", Kind::Int, "The command that took its place.")
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("reason", Kind::Text, "Why it failed.").limits(Limits::TextBytes(512)),
];

impl Stream for SiteCommands {
    fn name(&self) -> &'static str {
        "site_commands"
    }
    fn doc(&self) -> &'static str {
        "Commands of site controllers to machines, fans and feeders: a row when \
         one is decided and when it comes further."
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

/// How far a command has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteCommandRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The controller's journal, which numbers its commands.
    pub journal: String,
    /// The command's number in the journal, the same in all of its rows.
    pub command: i64,
    /// The decision that it comes from.
    pub decision: i64,
    /// machine, fan or feeder.
    pub target_kind: String,
    /// Its name or number.
    pub target: String,
    /// off, on, a power mode or a limit of watts.
    pub action: String,
    /// The watts of a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// device, foreman, outlet or feeder.
    pub path: String,
    /// queued, sent, acknowledged, verified by measured power, failed, escalated to another way,
    /// or superseded.
    pub state: String,
    /// The command that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<i64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record for SiteCommandRow {
    const STREAM: &'static dyn Stream = &SiteCommands;
    fn key(&self) -> &str {
        &self.site
    }
}
