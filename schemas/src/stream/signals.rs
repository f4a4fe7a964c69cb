//! `signals`: what utilities, prices and people ask of a site, as it was read.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// How urgent a signal is; `unknown` when it could not be read or understood.
pub const LEVELS: &[&str] = &["normal", "advisory", "curtail", "emergency", "unknown"];
/// What a signal is worth against others.
pub const CLASSES: &[&str] = &["mandatory", "contract", "economic"];

/// The stream of readings of signals.
pub struct Signals;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this happened.").required(),
    Column::new("site", Kind::Text, "The site.").required(),
    Column::new(
        "signal",
        Kind::Text,
        "The signal, as the configuration names it.",
    )
    .required(),
    Column::new("class", Kind::Text, "mandatory, contract or economic.")
        .required()
        .limits(Limits::OneOf(CLASSES)),
    Column::new(
        "level",
        Kind::Text,
        "normal, advisory, curtail or emergency; unknown when it could not be read.",
    )
    .required()
    .limits(Limits::OneOf(LEVELS)),
    Column::new(
        "cap_kw",
        Kind::Float,
        "The most that the site may draw, where the signal says it.",
    )
    .unit(Unit::Kilowatts)
    .limits(Limits::Float(-1e7, 1e7)),
    Column::time("starts_at", "When it begins, where it was announced."),
    Column::time("ends_at", "When it ends, where the signal says it."),
    Column::new("event", Kind::Text, "The asker's name of the event."),
    Column::new("reason", Kind::Text, "Why it is unknown.").limits(Limits::TextBytes(512)),
];

impl Stream for Signals {
    fn name(&self) -> &'static str {
        "signals"
    }
    fn doc(&self) -> &'static str {
        "What utilities, prices and people ask of a site to draw, as it was read."
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

/// One reading of one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The signal, as the configuration names it.
    pub signal: String,
    /// mandatory, contract or economic.
    pub class: String,
    /// normal, advisory, curtail or emergency; unknown when it could not be read.
    pub level: String,
    /// The most that the site may draw, where the signal says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_kw: Option<f64>,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<i64>,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<i64>,
    /// The asker's name of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record for SignalRow {
    const STREAM: &'static dyn Stream = &Signals;
    fn key(&self) -> &str {
        &self.site
    }
}
