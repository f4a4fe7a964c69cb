//! A plug with Tasmota that publishes to a broker: its telemetry, its relay and its last will.

use serde_json::{Map, Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct MqttTasmota;

impl DeviceKind for MqttTasmota {
    fn name(&self) -> &'static str {
        "mqtt_tasmota"
    }
    fn source_kind(&self) -> &'static str {
        "mqtt"
    }
    fn keys(&self) -> Value {
        json!({"preset": "tasmota", "topic": "plug"})
    }
    fn wire(&self) -> Wire {
        Wire::Mqtt
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let state = view.state;
        let mut shown = vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "energy_total_wh", view.counter_wh, 0),
            Shown::new("", "voltage_v", state.voltage_v, 0),
            Shown::new("SI7021", "temperature_c", state.inside_c, 1),
            Shown::new("SI7021", "humidity_pct", state.humidity_pct, 1),
        ];
        let is_on = view.relays.first().copied().unwrap_or(true);
        shown.push(Shown::new("", "relay_state", f64::from(u8::from(is_on)), 0));
        shown
    }
    fn answer(&self, snapshot: &Snapshot, topic: &str) -> Option<Vec<u8>> {
        let time = snapshot.clock_s.to_string();
        let document = match topic {
            "tele/plug/LWT" => return Some(b"Online".to_vec()),
            "tele/plug/STATE" => {
                let mut document = Map::new();
                document.insert("Time".to_owned(), time.into());
                let power = match snapshot.value("", "relay_state") {
                    Some(1.0) => "ON",
                    Some(0.0) => "OFF",
                    _ => "",
                };
                document.insert("POWER".to_owned(), power.into());
                Value::Object(document)
            }
            "tele/plug/SENSOR" => {
                let celsius = snapshot.value("SI7021", "temperature_c");
                let (temperature, unit) = match snapshot.is_fahrenheit {
                    true => (celsius.map(fahrenheit), "F"),
                    false => (celsius, "C"),
                };
                let total = snapshot.value("", "energy_total_wh").map(|wh| wh / 1_000.0);
                json!({
                    "Time": time,
                    "ENERGY": {"Total": number(total),
                        "Power": number(snapshot.value("", "power_w")),
                        "Voltage": number(snapshot.value("", "voltage_v"))},
                    "SI7021": {"Temperature": number(temperature),
                        "Humidity": number(snapshot.value("SI7021", "humidity_pct"))},
                    "TempUnit": unit})
            }
            _ => return None,
        };
        Some(document.to_string().into_bytes())
    }
}
