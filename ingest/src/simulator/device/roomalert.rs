//! A RoomAlert with its own sensor, one of temperature and humidity, and a switch.

use serde_json::{Map, Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, text};
use crate::simulator::answer::{Shown, Snapshot};

pub struct Roomalert;

impl DeviceKind for Roomalert {
    fn name(&self) -> &'static str {
        "roomalert"
    }
    fn source_kind(&self) -> &'static str {
        "roomalert"
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
            Shown::new("Internal Sensor", "temperature_c", state.inside_c, 2),
            Shown::new("Intake", "temperature_c", state.outside_c, 2),
            Shown::new("Intake", "humidity_pct", state.humidity_pct, 2),
            Shown::new("Main Breaker", "switch_state", 1.0, 0),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        if !matches!(request, "/getData.json" | "/getData.htm") {
            return None;
        }
        let sensor = |part: &str| {
            let celsius = snapshot.value(part, "temperature_c");
            let mut sensor = Map::new();
            sensor.insert("label".to_owned(), part.into());
            let tempf = text(celsius.map(fahrenheit), "---");
            sensor.insert("tempf".to_owned(), tempf.into());
            if !snapshot.is_fahrenheit {
                sensor.insert("tempc".to_owned(), text(celsius, "").into());
            }
            if part == "Intake" {
                let humid = text(snapshot.value(part, "humidity_pct"), "");
                sensor.insert("humid".to_owned(), humid.into());
            }
            Value::Object(sensor)
        };
        let status = text(snapshot.value("Main Breaker", "switch_state"), "");
        let document = json!({
            "name": "Room Alert 3E", "date": snapshot.clock_s.to_string(),
            "uptime": snapshot.uptime_s.to_string(),
            "scale": i32::from(snapshot.is_fahrenheit), "version": "v2.0.0", "refresh": 10,
            "sensor": [sensor("Internal Sensor"), sensor("Intake")],
            "switch_sen": [{"label": "Main Breaker", "enabled": 1, "alarm": 0, "status": status}]});
        Some(document.to_string().into_bytes())
    }
}
