//! A gateway that publishes a JSON document of its own, with its clock, and one plain number.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number, text};
use crate::simulator::answer::{Shown, Snapshot};

pub struct MqttJson;

impl DeviceKind for MqttJson {
    fn name(&self) -> &'static str {
        "mqtt_json"
    }
    fn source_kind(&self) -> &'static str {
        "mqtt"
    }
    fn keys(&self) -> Value {
        json!({"values": [
            {"topic": "gateway/meter", "pointer": "/kw", "quantity": "power_w", "factor": 1000.0},
            {"topic": "gateway/meter", "pointer": "/wh", "quantity": "energy_total_wh"},
            {"topic": "gateway/temperature", "quantity": "temperature_c", "part": "air"}],
            "progress": "/at", "clock": "/at",
            "will": {"topic": "gateway/status", "offline": "gone"}})
    }
    fn wire(&self) -> Wire {
        Wire::Mqtt
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "energy_total_wh", view.counter_wh, 1),
            Shown::new("air", "temperature_c", view.state.inside_c, 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, topic: &str) -> Option<Vec<u8>> {
        let kilowatts = snapshot.value("", "power_w").map(|watts| watts / 1_000.0);
        match topic {
            "gateway/status" => Some(b"here".to_vec()),
            "gateway/temperature" => {
                let temperature = snapshot.value("air", "temperature_c");
                Some(text(temperature, "---").into_bytes())
            }
            "gateway/meter" => {
                let document = json!({"kw": number(kilowatts),
                    "wh": number(snapshot.value("", "energy_total_wh")), "at": snapshot.clock_s});
                Some(document.to_string().into_bytes())
            }
            _ => None,
        }
    }
}
