//! `curtailment_events`: what each curtailment of a site was worth, from its decisions and
//! metered power.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream of scored curtailments.
pub struct CurtailmentEvents;

const COLUMNS: &[Column] = &[
    Column::time(
        "event_time",
        "When the event ended and the site was restored.",
    )
    .required(),
    Column::new("site", Kind::Text, "The site.").required(),
    Column::new("journal", Kind::Text, "The controller's journal.").required(),
    Column::new(
        "event",
        Kind::Int,
        "The event's number: that of the decision that began it.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new("signal", Kind::Text, "What asked for it.").required(),
    Column::new(
        "level",
        Kind::Int,
        "The level of what asked for it at the arbiter: 3 mandatory, 4 \
         contract, 5 a person, 6 economy.",
    )
    .required()
    .limits(Limits::Int(0, 7)),
    Column::time("asked_at", "When the signal changed.").required(),
    Column::time("deadline_at", "By when the target had to be met."),
    Column::time("released_at", "When it was released."),
    Column::new(
        "target_kw",
        Kind::Float,
        "The most that the site was to draw.",
    )
    .required()
    .unit(Unit::Kilowatts)
    .limits(Limits::Float(-1e7, 1e7)),
    Column::new("baseline_kw", Kind::Float, "What the site drew before.")
        .unit(Unit::Kilowatts)
        .limits(Limits::Float(-1e7, 1e7)),
    Column::new(
        "detect_s",
        Kind::Float,
        "From the change of the signal to the decision.",
    )
    .unit(Unit::Seconds)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "first_s",
        Kind::Float,
        "From the change of the signal to the first command.",
    )
    .unit(Unit::Seconds)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "target_s",
        Kind::Float,
        "From the change of the signal to metered power under the target; \
         absent when it was never reached.",
    )
    .unit(Unit::Seconds)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "compliance_pct",
        Kind::Float,
        "Share of the time after the deadline under the target.",
    )
    .unit(Unit::Percent)
    .limits(Limits::Float(0.0, 100.0)),
    Column::new(
        "performance_factor",
        Kind::Float,
        "Mean over quarters of an hour of delivered by promised reduction, 0 to \
         1.",
    )
    .limits(Limits::Float(0.0, 1.0)),
    Column::new(
        "overshoot_kwh",
        Kind::Float,
        "Energy that could have been drawn below the target.",
    )
    .unit(Unit::KilowattHours)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "excess_kwh",
        Kind::Float,
        "Energy above the target after the deadline.",
    )
    .unit(Unit::KilowattHours)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "tracking_error_pct",
        Kind::Float,
        "Mean distance of means of 5 minutes from the target.",
    )
    .unit(Unit::Percent)
    .limits(Limits::Float(0.0, 1e6)),
    Column::new(
        "rebound_pct",
        Kind::Float,
        "How far the peak after the release lay above the baseline.",
    )
    .unit(Unit::Percent)
    .limits(Limits::Float(0.0, 1e6)),
    Column::new(
        "restore_s",
        Kind::Float,
        "From the release to 95 % of the baseline.",
    )
    .unit(Unit::Seconds)
    .limits(Limits::Float(0.0, 1e9)),
    Column::new(
        "lost_ths_h",
        Kind::Float,
        "Terahash-hours that were lost beyond what the best choice of machines \
         would have lost.",
    )
    .limits(Limits::Float(-1e12, 1e12)),
    Column::new("commands", Kind::Int, "Commands of the event.")
        .required()
        .unit(Unit::Count)
        .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "commands_failed",
        Kind::Int,
        "Those that failed on their first way.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "notices",
        Kind::Int,
        "Warnings and emergencies of the event.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "is_estimated",
        Kind::Bool,
        "Whether a part of the metered power is an estimate.",
    )
    .required(),
];

impl Stream for CurtailmentEvents {
    fn name(&self) -> &'static str {
        "curtailment_events"
    }
    fn doc(&self) -> &'static str {
        "Curtailments of a site with their scores, one row when an event has ended."
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

/// A scored event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurtailmentEventRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The controller's journal.
    pub journal: String,
    /// The event's number: that of the decision that began it.
    pub event: i64,
    /// What asked for it.
    pub signal: String,
    /// The level of what asked for it at the arbiter: 3 mandatory, 4 contract, 5 a person, 6
    /// economy.
    pub level: i64,
    /// Microseconds since 1970.
    pub asked_at: i64,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<i64>,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_at: Option<i64>,
    /// The most that the site was to draw.
    pub target_kw: f64,
    /// What the site drew before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_kw: Option<f64>,
    /// From the change of the signal to the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_s: Option<f64>,
    /// From the change of the signal to the first command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_s: Option<f64>,
    /// From the change of the signal to metered power under the target; absent when it was never
    /// reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_s: Option<f64>,
    /// Share of the time after the deadline under the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compliance_pct: Option<f64>,
    /// Mean over quarters of an hour of delivered by promised reduction, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_factor: Option<f64>,
    /// Energy that could have been drawn below the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overshoot_kwh: Option<f64>,
    /// Energy above the target after the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess_kwh: Option<f64>,
    /// Mean distance of means of 5 minutes from the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking_error_pct: Option<f64>,
    /// How far the peak after the release lay above the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebound_pct: Option<f64>,
    /// From the release to 95 % of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_s: Option<f64>,
    /// Terahash-hours that were lost beyond what the best choice of machines would have lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_ths_h: Option<f64>,
    /// Commands of the event.
    pub commands: i64,
    /// Those that failed on their first way.
    pub commands_failed: i64,
    /// Warnings and emergencies of the event.
    pub notices: i64,
    /// Whether a part of the metered power is an estimate.
    pub is_estimated: bool,
}

impl Record for CurtailmentEventRow {
    const STREAM: &'static dyn Stream = &CurtailmentEvents;
    fn key(&self) -> &str {
        &self.site
    }
}
