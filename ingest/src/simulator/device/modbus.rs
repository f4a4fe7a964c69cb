//! A meter over Modbus: power and energy as floats, the voltage as a whole number of tenths.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

pub struct Modbus;

impl DeviceKind for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
    }
    fn source_kind(&self) -> &'static str {
        "modbus"
    }
    fn keys(&self) -> Value {
        json!({"registers": [
            {"address": 0, "kind": "f32", "quantity": "power_w"},
            {"address": 2, "kind": "f64", "quantity": "energy_total_wh"},
            {"address": 6, "kind": "u16", "quantity": "voltage_v", "factor": 0.1,
                "missing": 65535}]})
    }
    fn wire(&self) -> Wire {
        Wire::Modbus
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let mut power = Shown::new("", "power_w", view.power_w, 1);
        power.value = power.value.map(|value| f64::from(value as f32));
        vec![
            power,
            Shown::new("", "energy_total_wh", view.counter_wh, 3),
            Shown::new("", "voltage_v", view.state.voltage_v, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, _: &str) -> Option<Vec<u8>> {
        let power = snapshot.value("", "power_w").unwrap_or(f64::NAN) as f32;
        let energy = snapshot.value("", "energy_total_wh").unwrap_or(f64::NAN);
        let voltage = snapshot.value("", "voltage_v");
        let tenths = voltage.map_or(u16::MAX, |volts| (volts * 10.0).round() as u16);
        let mut registers = power.to_be_bytes().to_vec();
        registers.extend(energy.to_be_bytes());
        registers.extend(tenths.to_be_bytes());
        Some(registers)
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let mut words = request.split(' ');
        let (Some("coil"), Some(channel), Some(is_on)) = (words.next(), words.next(), words.next())
        else {
            return Vec::new();
        };
        let relay = channel.parse().map(|channel| Change::Relay {
            channel,
            is_on: is_on == "true",
            back_after_s: None,
        });
        relay.into_iter().collect()
    }
}
