//! `notifications`: notices to people, and each try to deliver one.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// How serious a notice is.
pub const SEVERITIES: &[&str] = &["info", "warning", "emergency"];
/// What happened to a notice.
pub const STATES: &[&str] = &["raised", "delivered", "failed", "acknowledged"];

/// The stream of notices to people.
pub struct Notifications;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this happened.").required(),
    Column::new("site", Kind::Text, "The site.").required(),
    Column::new(
        "journal",
        Kind::Text,
        "The controller's journal, which numbers its notices.",
    )
    .required(),
    Column::new("notice", Kind::Int, "The notice's number in the journal.")
        .required()
        .limits(Limits::Int(0, i64::MAX)),
    Column::new("severity", Kind::Text, "info, warning or emergency.")
        .required()
        .limits(Limits::OneOf(SEVERITIES)),
    Column::new(
        "topic",
        Kind::Text,
        "What it is about, for one fact always the same.",
    )
    .required(),
    Column::new("title", Kind::Text, "One line.")
        .required()
        .limits(Limits::TextBytes(512)),
    Column::new(
        "text",
        Kind::Text,
        "What happened, what was done and what to do; in the row that raises it.",
    )
    .limits(Limits::TextBytes(8192)),
    Column::new(
        "state",
        Kind::Text,
        "raised, delivered or failed by a channel, or acknowledged by a person.",
    )
    .required()
    .limits(Limits::OneOf(STATES)),
    Column::new("channel", Kind::Text, "The channel that tried."),
    Column::new(
        "attempt",
        Kind::Int,
        "Which try of this channel it was, from 1.",
    )
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "receipt",
        Kind::Text,
        "The channel's own id of what it delivered.",
    ),
    Column::new(
        "reason",
        Kind::Text,
        "Why it failed, or who acknowledged it.",
    )
    .limits(Limits::TextBytes(512)),
];

impl Stream for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }
    fn doc(&self) -> &'static str {
        "Notices of site controllers to people, and each try to deliver one."
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

/// A notice, or a try to deliver it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotificationRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The controller's journal, which numbers its notices.
    pub journal: String,
    /// The notice's number in the journal.
    pub notice: i64,
    /// info, warning or emergency.
    pub severity: String,
    /// What it is about, for one fact always the same.
    pub topic: String,
    /// One line.
    pub title: String,
    /// What happened, what was done and what to do; in the row that raises it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// raised, delivered or failed by a channel, or acknowledged by a person.
    pub state: String,
    /// The channel that tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Which try of this channel it was, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,
    /// The channel's own id of what it delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Why it failed, or who acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record for NotificationRow {
    const STREAM: &'static dyn Stream = &Notifications;
    fn key(&self) -> &str {
        &self.site
    }
}
