//! What a simulated device shows at a moment, before it is written in its protocol.

use crate::source::Readings;

use super::faults::FaultKind;

/// How far the temperatures of a shifted device are off.
const SHIFT_C: f64 = 12.0;

/// One value that a device shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Sensor, channel or circuit; empty is the device itself.
    pub part: &'static str,
    /// What is measured, unit last.
    pub quantity: &'static str,
    /// Nothing when the device has no reading.
    pub value: Option<f64>,
}

impl Shown {
    /// A value, rounded to what the protocol can say.
    pub fn new(part: &'static str, quantity: &'static str, value: f64, decimals: i32) -> Self {
        let unit = 10_f64.powi(decimals);
        Self {
            part,
            quantity,
            value: Some((value * unit).round() / unit),
        }
    }
}

/// What a device shows at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its values.
    pub shown: Vec<Shown>,
    /// Its clock, in seconds since 1970.
    pub clock_s: i64,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Whether it speaks Fahrenheit.
    pub is_fahrenheit: bool,
    /// Its relays, in order: on or off.
    pub relays: Vec<bool>,
    /// Whether a machine was told to sleep.
    pub is_asleep: bool,
    /// Whether a machine was told to work in low power mode.
    pub is_low: bool,
}

impl Snapshot {
    /// The value of a quantity.
    pub fn value(&self, part: &str, quantity: &str) -> Option<f64> {
        let is_it = |one: &&Shown| one.part == part && one.quantity == quantity;
        self.shown.iter().find(is_it)?.value
    }

    /// The same with a fault that changes what it shows; `last` is what it showed before.
    pub fn after(mut self, last: Option<&Self>, fault: Option<FaultKind>) -> Self {
        match (fault, last) {
            (Some(FaultKind::Frozen), Some(last)) => last.clone(),
            (Some(FaultKind::Stuck), Some(last)) => {
                self.shown.clone_from(&last.shown);
                self
            }
            _ => self.with(fault),
        }
    }

    /// The same with a fault that changes what it shows, whatever it showed before.
    pub fn with(mut self, fault: Option<FaultKind>) -> Self {
        match fault {
            Some(FaultKind::Fahrenheit) => self.is_fahrenheit = true,
            Some(FaultKind::ClockOff) => self.clock_s += 86_400,
            Some(FaultKind::Shifted) => {
                let warm = |one: &&mut Shown| one.quantity == "temperature_c";
                for one in self.shown.iter_mut().filter(warm) {
                    one.value = one.value.map(|celsius| celsius + SHIFT_C);
                }
            }
            Some(FaultKind::Missing) => {
                for one in &mut self.shown {
                    one.value = None;
                }
            }
            Some(FaultKind::Lying) => {
                for one in &mut self.shown {
                    one.value = one.value.map(|_| impossible(one.quantity));
                }
            }
            _ => {}
        }
        self
    }

    /// What polling it should find, within the usual limits.
    pub fn readings(&self) -> Readings {
        let values = self.shown.iter().map(|one| crate::source::Measured {
            part: one.part,
            quantity: one.quantity,
            value: one.value,
        });
        let mut readings = Readings::default();
        readings.measured(&values.collect::<Vec<_>>());
        readings.within(&Default::default())
    }
}

/// A value that cannot be.
fn impossible(quantity: &str) -> f64 {
    match quantity {
        "humidity_pct" => 250.0,
        "temperature_c" => 999.0,
        "switch_state" | "relay_state" | "input_state" => 7.0,
        "fan_rpm" => 999_999.0,
        "voltage_v" => 9e9,
        "hashrate_hs" => 9e21,
        "energy_total_wh" => 9e17,
        _ => 9e12,
    }
}
