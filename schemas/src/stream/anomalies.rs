//! `anomalies`: what detectors found in the signals of a site, one row when an anomaly begins and
//! one when it ends.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The streams whose signals are watched.
pub const SOURCES: &[&str] = &["energy", "sensors", "hashrate"];
/// The detectors.
pub const DETECTORS: &[&str] = &[
    "clock",
    "missing",
    "impossible",
    "stuck",
    "rating",
    "spike",
    "step",
    "drift",
];
/// Beginning and end.
pub const TRANSITIONS: &[&str] = &["opened", "closed"];
/// Why an anomaly ended.
pub const REASONS: &[&str] = &["returned", "accepted", "mode_changed", "restarted"];

/// The stream of anomalies.
pub struct Anomalies;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it was found that it began or ended.").required(),
    Column::new(
        "site",
        Kind::Text,
        "The site of the signal; of a hashrate, the pool.",
    )
    .required(),
    Column::new("source", Kind::Text, "The stream that the signal is in.")
        .required()
        .limits(Limits::OneOf(SOURCES)),
    Column::new(
        "signal",
        Kind::Text,
        "What is read, and the column or quantity, unit last: meter-1/power_w.",
    )
    .required(),
    Column::new("detector", Kind::Text, "The detector that saw it first.")
        .required()
        .limits(Limits::OneOf(DETECTORS)),
    Column::new(
        "transition",
        Kind::Text,
        "opened or closed; the two rows of an anomaly have the same signal, detector and since.",
    )
    .required()
    .limits(Limits::OneOf(TRANSITIONS)),
    Column::time("since", "When it began, as far as that can be told.").required(),
    Column::new(
        "value",
        Kind::Float,
        "What was read; null where nothing was, or where its clock is wrong.",
    )
    .unit(Unit::ByQuantity),
    Column::new(
        "expected",
        Kind::Float,
        "What was expected; null where only limits are known.",
    )
    .unit(Unit::ByQuantity),
    Column::new("deviation", Kind::Float, "value less expected.").unit(Unit::ByQuantity),
    Column::new("lower", Kind::Float, "The lower end of what is normal.").unit(Unit::ByQuantity),
    Column::new("upper", Kind::Float, "The upper end of what is normal.").unit(Unit::ByQuantity),
    Column::new(
        "score",
        Kind::Float,
        "How far the detector's statistic is, in parts of its threshold; 1 opens an anomaly.",
    )
    .required(),
    Column::new(
        "reason",
        Kind::Text,
        "Of an end: returned (normal again), accepted (it has lasted so long that it is the new \
         normal), mode_changed, or restarted (the detectors began anew).",
    )
    .limits(Limits::OneOf(REASONS)),
    Column::new(
        "input_seq",
        Kind::Int,
        "seq of the row of the source with which it was found; of missing, of the last row before.",
    )
    .required(),
];

impl Stream for Anomalies {
    fn name(&self) -> &'static str {
        "anomalies"
    }
    fn doc(&self) -> &'static str {
        "Where power, sensors and hashrate were not what was expected: since when, by how much, \
         and which detector says so."
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
        true
    }
}

/// The beginning or the end of an anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name, or the pool's.
    pub site: String,
    /// One of [`SOURCES`].
    pub source: String,
    /// e.g. `meter-1/power_w`.
    pub signal: String,
    /// One of [`DETECTORS`].
    pub detector: String,
    /// One of [`TRANSITIONS`].
    pub transition: String,
    /// Microseconds since 1970.
    pub since: i64,
    /// In the signal's unit, as all of the next four.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    /// The value less what was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The lower end of what is normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// The upper end of what is normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// In parts of the detector's threshold.
    pub score: f64,
    /// One of [`REASONS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Place in the source.
    pub input_seq: i64,
}

impl Record for Anomaly {
    const STREAM: &'static dyn Stream = &Anomalies;
    fn key(&self) -> &str {
        &self.site
    }
}
