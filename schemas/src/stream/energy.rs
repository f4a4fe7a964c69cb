//! `energy`: power as a meter saw it, sampled at whatever pace the meter has.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream of power samples.
pub struct Energies;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the meter took the sample.").required(),
    Column::new("site", Kind::Text, "The mine the meter stands in.").required(),
    Column::new(
        "meter",
        Kind::Text,
        "The meter, or the metered circuit or machine.",
    )
    .required(),
    Column::new(
        "power_w",
        Kind::Float,
        "Active power; negative when fed back.",
    )
    .required()
    .unit(Unit::Watts)
    .limits(Limits::Float(-1e9, 1e9)),
    Column::new(
        "energy_total_wh",
        Kind::Float,
        "The meter's own counter, where it has one.",
    )
    .unit(Unit::WattHours)
    .limits(Limits::Float(-1e15, 1e15)),
];

impl Stream for Energies {
    fn name(&self) -> &'static str {
        "energy"
    }
    fn doc(&self) -> &'static str {
        "Power samples of meters, machines and circuits."
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
        WritePermission::Producer
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

/// One power sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The meter's name.
    pub meter: String,
    /// Watts.
    pub power_w: f64,
    /// Watt-hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_total_wh: Option<f64>,
}

impl Record for Energy {
    const STREAM: &'static dyn Stream = &Energies;
    fn key(&self) -> &str {
        &self.site
    }
}
