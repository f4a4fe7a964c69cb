//! `sensors`: readings of the air, the fans and the doors, one quantity a row.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream of sensor readings.
pub struct Sensors;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the sensor took the reading.").required(),
    Column::new("site", Kind::Text, "The mine the sensor hangs in.").required(),
    Column::new("sensor", Kind::Text, "The sensor.").required(),
    Column::new(
        "quantity",
        Kind::Text,
        "What is measured, unit last: temperature_c, humidity_pct, fan_rpm, pressure_hpa.",
    )
    .required(),
    Column::new(
        "value",
        Kind::Float,
        "The reading, in the unit its quantity names.",
    )
    .required()
    .unit(Unit::ByQuantity)
    .limits(Limits::Float(-1e12, 1e12)),
];

impl Stream for Sensors {
    fn name(&self) -> &'static str {
        "sensors"
    }
    fn doc(&self) -> &'static str {
        "Readings of temperature, humidity, fans and doors, one quantity a row."
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

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The site's name.
    pub site: String,
    /// The sensor's name.
    pub sensor: String,
    /// e.g. `temperature_c`.
    pub quantity: String,
    /// In the unit the quantity names.
    pub value: f64,
}

impl Record for Reading {
    const STREAM: &'static dyn Stream = &Sensors;
    fn key(&self) -> &str {
        &self.site
    }
}
