//! What was observed since the last step: readings, reports of commands, troubles, orders.
//!
//! Every reading carries its own time, and what was not read is not there: nothing stands for "no
//! reading" but its absence. Machines, feeders and fans are named by their place in the plan.

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::command::CommandReport;
use crate::moment::Moment;
use crate::request::{MOST_KW, SignalReading, SignalValue};

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
    /// That was so long ago that Foreman may be tried again.
    pub is_foreman_tried_again: bool,
    /// What the loop that supervises found, when it looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervision: Option<Supervision>,
}

/// What the loop that supervises found; it stands until it looks again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Supervision {
    /// The control loop has taken a step since it looked last.
    pub is_advancing: bool,
    /// Inputs that are not fresh and were not read since then.
    pub unread: Vec<String>,
    /// What commands are open for that should have ended long ago.
    pub stuck: Vec<String>,
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

/// What else is known of a machine, as far as somebody says it; each stands until it is said anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineCondition {
    /// Its place in the plan.
    pub machine: u32,
    /// It is tuning itself or takes new firmware: it is not switched while others can be.
    pub is_busy: Option<bool>,
    /// It is in repair or otherwise not to be used: it is not started.
    pub is_out_of_use: Option<bool>,
    /// It fails: chains are missing, hardware errors are many.
    pub is_failing: Option<bool>,
    /// Its hottest chip.
    pub chip_c: Option<f64>,
    /// When it was said.
    pub at: Option<Moment>,
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
    /// same decisions. One that is not finite is no reading and is left out: JSON has none. A
    /// signal that asks for an impossible power is not understood.
    pub fn rounded(mut self) -> Self {
        self.temperatures.retain(|one| one.celsius.is_finite());
        self.humidity.retain(|one| one.pct.is_finite());
        self.site_meter = self.site_meter.filter(|meter| meter.kw.is_finite());
        self.machines.retain(|one| one.power_w.is_finite());
        let is_finite = |number: &f64| number.is_finite();
        for one in &mut self.conditions {
            one.chip_c = one.chip_c.filter(is_finite);
        }
        for one in &mut self.fans {
            one.watts = one.watts.filter(is_finite);
        }
        for one in &mut self.feeders {
            one.amps = one.amps.filter(is_finite);
        }
        self.clock.stepped_s = self.clock.stepped_s.filter(is_finite);
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
        for reading in &mut self.signals {
            let SignalValue::Known(requests) = &mut reading.value else {
                continue;
            };
            let caps = requests.iter().filter_map(|request| request.cap_kw);
            if let Some(kw) = caps.into_iter().find(|kw| !(0.0..=MOST_KW).contains(kw)) {
                let why = format!("it asks for {kw} kW, which is 0 to {MOST_KW} kW nowhere");
                reading.value = SignalValue::Unknown(why);
                continue;
            }
            for request in requests {
                request.cap_kw = request.cap_kw.map(rounded);
            }
        }
        for order in &mut self.orders {
            if let Order::Override { cap_kw, .. } = order {
                *cap_kw = rounded(*cap_kw);
            }
        }
        self.clock.stepped_s = self.clock.stepped_s.map(rounded);
        self
    }
}

/// A number rounded to thousandths; one that is not finite, or so large that it has none, stays as
/// it is.
pub fn rounded(number: f64) -> f64 {
    match (number * 1_000.0).round() / 1_000.0 {
        rounded if rounded.is_finite() => rounded,
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::{Level, Request, SignalClass};

    #[test]
    fn every_number_that_is_written_can_be_read_back() {
        let at = Moment {
            elapsed_ms: 1,
            utc_us: 1,
        };
        let asks = |cap_kw: f64| SignalReading {
            source: "utility".to_owned(),
            class: SignalClass::Mandatory,
            read_at: at,
            value: SignalValue::Known(vec![Request {
                cap_kw: Some(cap_kw),
                ..Request::of_level(Level::Curtail)
            }]),
        };
        let machine = |power_w: f64| MachineReading {
            machine: 0,
            power_w,
            at,
        };
        let observation = Observation {
            signals: vec![asks(1e306), asks(-1.0), asks(f64::NAN), asks(500.000_4)],
            machines: vec![machine(f64::INFINITY), machine(1e307), machine(3_000.0)],
            site_meter: Some(MeterReading { kw: f64::NAN, at }),
            orders: vec![Order::Override {
                by: "ann".to_owned(),
                reason: "test".to_owned(),
                scope: crate::control::order::Scope::Site,
                cap_kw: 1e306,
                for_s: None,
            }],
            ..Observation::default()
        }
        .rounded();
        let unknown = |reading: &SignalReading| matches!(reading.value, SignalValue::Unknown(_));
        assert!(observation.signals[..3].iter().all(unknown));
        assert_eq!(observation.signals[3], asks(500.0));
        assert_eq!(observation.machines, [machine(1e307), machine(3_000.0)]);
        assert_eq!(observation.site_meter, None);
        let text = serde_json::to_string(&observation).unwrap();
        let read: Observation = serde_json::from_str(&text).unwrap();
        assert_eq!(read, observation);
    }
}
