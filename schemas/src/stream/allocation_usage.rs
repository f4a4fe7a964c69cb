//! `allocation_usage`: what each allocation of power and energy is used to, and how near its limits
//! are.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream.
pub struct AllocationUsages;

/// How near a limit something is.
pub const LEVELS: &[&str] = &["normal", "warning", "critical"];
/// Whom an allocation is for.
pub const SUBJECTS: &[&str] = &["pool", "site", "operator"];

const COLUMNS: &[Column] = &[
    Column::time("event_time", "The moment that it is of: a whole minute.").required(),
    Column::new("allocation", Kind::Text, "The allocation.").required(),
    Column::new("subject_kind", Kind::Text, "pool, site or operator.")
        .required()
        .limits(Limits::OneOf(SUBJECTS)),
    Column::new("subject", Kind::Text, "Whom it is for.").required(),
    Column::new(
        "demand_w",
        Kind::Float,
        "Mean power of the 15 minutes before; absent where less than half of them is covered.",
    )
    .unit(Unit::Watts),
    Column::new(
        "demand_covered_s",
        Kind::Float,
        "Seconds of the 15 minutes that are covered.",
    )
    .required()
    .unit(Unit::Seconds),
    Column::new("power_limit_w", Kind::Float, "The most power.").unit(Unit::Watts),
    Column::new("power_pct", Kind::Float, "demand_w of power_limit_w.").unit(Unit::Percent),
    Column::new(
        "power_level",
        Kind::Text,
        "normal, warning or critical; absent without a limit.",
    )
    .limits(Limits::OneOf(LEVELS)),
    Column::time(
        "period_start",
        "When the period of the energy began, by the site's calendar.",
    )
    .required(),
    Column::time("period_end", "When it ends.").required(),
    Column::new("used_wh", Kind::Float, "Energy of the period until now.")
        .required()
        .unit(Unit::WattHours),
    Column::new(
        "covered_s",
        Kind::Float,
        "Seconds of the period until now that are covered.",
    )
    .required()
    .unit(Unit::Seconds),
    Column::new(
        "energy_limit_wh",
        Kind::Float,
        "The most energy in the period.",
    )
    .unit(Unit::WattHours),
    Column::new("energy_pct", Kind::Float, "used_wh of energy_limit_wh.").unit(Unit::Percent),
    Column::new(
        "energy_level",
        Kind::Text,
        "normal, warning or critical; absent without a limit.",
    )
    .limits(Limits::OneOf(LEVELS)),
    Column::time(
        "exhausted_at",
        "When the energy is used up if it goes on as in the median hour of the last 24; absent \
         where the period ends first.",
    ),
    Column::new(
        "energy_seq",
        Kind::Int,
        "The rows of energy up to this sequence were counted.",
    )
    .required(),
    Column::new(
        "registry_seq",
        Kind::Int,
        "The changes of registry up to this one were known.",
    )
    .required(),
];

impl Stream for AllocationUsages {
    fn name(&self) -> &'static str {
        "allocation_usage"
    }
    fn doc(&self) -> &'static str {
        "How much of each allocation of power and energy is used, every quarter of an hour and \
         whenever a level changes."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "allocation"
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

/// What an allocation is used to at a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AllocationUsage {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// Its id.
    pub allocation: String,
    /// One of [`SUBJECTS`].
    pub subject_kind: String,
    /// An id.
    pub subject: String,
    /// Watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand_w: Option<f64>,
    /// Seconds.
    pub demand_covered_s: f64,
    /// Watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_pct: Option<f64>,
    /// One of [`LEVELS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_level: Option<String>,
    /// Microseconds since 1970.
    pub period_start: i64,
    /// Microseconds since 1970.
    pub period_end: i64,
    /// Watt-hours.
    pub used_wh: f64,
    /// Seconds.
    pub covered_s: f64,
    /// Watt-hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_limit_wh: Option<f64>,
    /// Hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_pct: Option<f64>,
    /// One of [`LEVELS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_level: Option<String>,
    /// Microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted_at: Option<i64>,
    /// A table's sequence.
    pub energy_seq: i64,
    /// A table's sequence.
    pub registry_seq: i64,
}

impl Record for AllocationUsage {
    const STREAM: &'static dyn Stream = &AllocationUsages;
    fn key(&self) -> &str {
        &self.allocation
    }
}
