//! A plug with Tasmota and a sensor of temperature and humidity.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct Tasmota;

impl DeviceKind for Tasmota {
    fn name(&self) -> &'static str {
        "tasmota"
    }
    fn source_kind(&self) -> &'static str {
        "tasmota"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let state = view.state;
        vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "energy_total_wh", view.counter_wh, 0),
            Shown::new("", "voltage_v", state.voltage_v, 0),
            Shown::new("AM2301", "temperature_c", state.inside_c, 1),
            Shown::new("AM2301", "humidity_pct", state.humidity_pct, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let celsius = snapshot.value("AM2301", "temperature_c");
        let (temperature, unit) = match snapshot.is_fahrenheit {
            true => (celsius.map(fahrenheit), "F"),
            false => (celsius, "C"),
        };
        let total = snapshot.value("", "energy_total_wh").map(|wh| wh / 1_000.0);
        let document = json!({"StatusSNS": {
            "Time": snapshot.clock_s.to_string(),
            "ENERGY": {"Total": number(total), "Power": number(snapshot.value("", "power_w")),
                "Voltage": number(snapshot.value("", "voltage_v"))},
            "AM2301": {"Temperature": number(temperature),
                "Humidity": number(snapshot.value("AM2301", "humidity_pct"))},
            "TempUnit": unit}});
        (request == "/cm?cmnd=Status%208").then(|| document.to_string().into_bytes())
    }
}
