//! `source_health`: how each polled device is, a row when that changes and one now and then.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// How a device can be.
pub const STATES: &[&str] = &["fresh", "late", "stale", "failed"];
const MOST_REASON_BYTES: usize = 512;

/// The stream of the health of sources.
pub struct SourceHealths;

const fn count(name: &'static str, doc: &'static str) -> Column {
    Column::new(name, Kind::Int, doc)
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX))
}

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this was found.").required(),
    Column::new("site", Kind::Text, "The mine the device stands in.").required(),
    Column::new("source", Kind::Text, "The name of the device.").required(),
    Column::new("kind", Kind::Text, "The kind of device, e.g. roomalert.").required(),
    Column::new(
        "state",
        Kind::Text,
        "fresh, late (a reading is missing), stale (nothing new for long, though it may answer) \
         or failed (it does not answer, or not in a way that can be read).",
    )
    .required()
    .limits(Limits::OneOf(STATES)),
    Column::new(
        "previous",
        Kind::Text,
        "The state before, in the row of a change; absent in a row that only repeats the state.",
    )
    .limits(Limits::OneOf(STATES)),
    Column::time("since", "Since when it is in this state.").required(),
    Column::time(
        "last_reading",
        "When the last new reading came; absent when none came since the start.",
    ),
    Column::new("reason", Kind::Text, "What is wrong, in a sentence.")
        .limits(Limits::TextBytes(MOST_REASON_BYTES)),
    count("polls", "Polls since the process started."),
    count("failures", "Polls that failed."),
    count("readings", "Readings that JetStream holds."),
    count(
        "missing",
        "Readings that the device did not have; no row stands for them.",
    ),
    count(
        "rejected",
        "Readings outside of the limits; no row stands for them.",
    ),
    count(
        "repeated",
        "Answers that were no newer than the one before; none was stored.",
    ),
    Column::new(
        "clock_offset_s",
        Kind::Float,
        "The device's clock minus ours, where it says the time.",
    )
    .unit(Unit::Seconds)
    .limits(Limits::Float(-1e11, 1e11)),
];

impl Stream for SourceHealths {
    fn name(&self) -> &'static str {
        "source_health"
    }
    fn doc(&self) -> &'static str {
        "Whether polled devices are fresh, late, stale or failed, and why."
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

/// How a device is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceHealth {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The device's name.
    pub source: String,
    /// The kind of device.
    pub kind: String,
    /// One of [`STATES`].
    pub state: String,
    /// One of [`STATES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Microseconds since 1970.
    pub since: i64,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reading: Option<i64>,
    /// A sentence of at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since the process started, as all counts.
    pub polls: i64,
    /// Polls that failed.
    pub failures: i64,
    /// Readings that are stored.
    pub readings: i64,
    /// Readings the device did not have.
    pub missing: i64,
    /// Readings outside of the limits.
    pub rejected: i64,
    /// Answers that were no newer than the one before.
    pub repeated: i64,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_s: Option<f64>,
}

impl Record for SourceHealth {
    const STREAM: &'static dyn Stream = &SourceHealths;
    fn key(&self) -> &str {
        &self.site
    }
}
