//! What was observed since the last step: readings, reports of commands, troubles, orders.
//!
//! Every reading carries its own time, and what was not read is not there: nothing stands for "no
//! reading" but its absence. Machines, feeders and fans are named by their place in the plan.

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::command::CommandReport;
use crate::moment::Moment;
use crate::request::SignalReading;

/// Everything since the last step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observation {
    /// Signals of the utility and others.
    pub signals: Vec<SignalReading>,
    /// Temperatures.
    pub temperatures: Vec<TemperatureReading>,
    /// Humidity of the air in the container.
    pub humidity: Vec<HumidityReading>,
    /// Smoke, leak, door and emergency-stop inputs.
    pub interlocks: Vec<InterlockReading>,
    /// The meter of the whole site.
    pub site_meter: Option<MeterReading>,
    /// Power of machines, by outlet or by their own word.
    pub machines: Vec<MachineReading>,
    /// What else is known of machines, when it changed.
    pub conditions: Vec<MachineCondition>,
    /// Fans.
    pub fans: Vec<FanReading>,
    /// Feeders.
    pub feeders: Vec<FeederReading>,
    /// What actuators say of commands.
    pub reports: Vec<CommandReport>,
    /// Orders of people.
    pub orders: Vec<Order>,
    /// Notices that somebody acknowledged, by number.
    pub acknowledged: Vec<u64>,
    /// How far the wall clock can be trusted.
    pub clock: ClockQuality,
    /// Why the journal or the database could not be written.
    pub journal_trouble: Option<String>,
    /// Why notices could not be sent.
    pub notifier_trouble: Option<String>,
    /// Why Foreman cannot be used.
    pub foreman_trouble: Option<String>,
}

/// What a temperature is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SensorKind {
    /// The air of the container, by a sensor.
    Container,
    /// The air of the container, as machines measure it.
    MinerAir,
    /// The hottest board.
    Board,
    /// Outside.
    Outside,
}

/// A temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemperatureReading {
    /// Which sensor.
    pub sensor: String,
    /// What it is of.
    pub kind: SensorKind,
    /// Degrees Celsius.
    pub celsius: f64,
    /// When it was read.
    pub at: Moment,
}

/// A relative humidity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HumidityReading {
    /// Which sensor.
    pub sensor: String,
    /// Per cent.
    pub pct: f64,
    /// When it was read.
    pub at: Moment,
}

/// What an input guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterlockKind {
    /// Smoke.
    Smoke,
    /// Water.
    Leak,
    /// A door.
    Door,
    /// The button.
    EmergencyStop,
}

/// An input of safety.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterlockReading {
    /// Which input.
    pub input: String,
    /// What it guards.
    pub kind: InterlockKind,
    /// It says: stop.
    pub is_tripped: bool,
    /// When it was read.
    pub at: Moment,
}

/// The site's power.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeterReading {
    /// Kilowatts.
    pub kw: f64,
    /// When it was read.
    pub at: Moment,
}

/// A machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MachineReading {
    /// Its place in the plan.
    pub machine: u32,
    /// Watts.
    pub power_w: f64,
    /// When it was read.
    pub at: Moment,
}

/// What else is known of a machine; stands until another is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MachineCondition {
    /// Its place in the plan.
    pub machine: u32,
    /// It is tuning itself or takes new firmware: it is not switched, except for safety.
    pub is_busy: bool,
    /// It is in repair or otherwise not to be used.
    pub is_out_of_use: bool,
    /// It fails: chains are missing, hardware errors are many.
    pub is_failing: bool,
    /// Its hottest chip.
    pub chip_c: Option<f64>,
}

/// A fan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FanReading {
    /// Its number, from 1.
    pub fan: u8,
    /// What its relay reads back.
    pub is_on: Option<bool>,
    /// Watts.
    pub watts: Option<f64>,
    /// When it was read.
    pub at: Moment,
}

/// A feeder.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeederReading {
    /// Its place in the plan.
    pub feeder: u32,
    /// The current of its highest phase.
    pub amps: Option<f64>,
    /// What its contactor reads back.
    pub is_closed: Option<bool>,
    /// When it was read.
    pub at: Moment,
}

/// How far the wall clock can be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockQuality {
    /// It was stepped by so many seconds since the last step.
    pub stepped_s: Option<f64>,
    /// It has not been synchronised for so long.
    pub unsynchronised_s: Option<u64>,
}

impl Observation {
    /// The same with every number rounded to thousandths.
    ///
    /// Such numbers are read back from their JSON bit for bit, so that a journal replays to the
    /// same decisions.
    pub fn rounded(mut self) -> Self {
        for one in &mut self.temperatures {
            one.celsius = rounded(one.celsius);
        }
        for one in &mut self.humidity {
            one.pct = rounded(one.pct);
        }
        if let Some(meter) = &mut self.site_meter {
            meter.kw = rounded(meter.kw);
        }
        for one in &mut self.machines {
            one.power_w = rounded(one.power_w);
        }
        for one in &mut self.conditions {
            one.chip_c = one.chip_c.map(rounded);
        }
        for one in &mut self.fans {
            one.watts = one.watts.map(rounded);
        }
        for one in &mut self.feeders {
            one.amps = one.amps.map(rounded);
        }
        self.clock.stepped_s = self.clock.stepped_s.map(rounded);
        self
    }
}

/// A number rounded to thousandths; one that is not finite stays as it is.
pub fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
