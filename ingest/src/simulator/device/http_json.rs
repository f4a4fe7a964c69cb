//! A service with a JSON document of its own.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct HttpJson;

impl DeviceKind for HttpJson {
    fn name(&self) -> &'static str {
        "http_json"
    }
    fn source_kind(&self) -> &'static str {
        "http_json"
    }
    fn keys(&self) -> Value {
        json!({"path": "/api/readings", "progress": "/at", "values": [
            {"pointer": "/meter/kw", "quantity": "power_w", "factor": 1000.0},
            {"pointer": "/meter/wh", "quantity": "energy_total_wh"},
            {"pointer": "/air/0/t", "quantity": "temperature_c", "part": "air"}]})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "energy_total_wh", view.counter_wh, 1),
            Shown::new("air", "temperature_c", view.state.inside_c, 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let kilowatts = snapshot.value("", "power_w").map(|watts| watts / 1_000.0);
        let document = json!({
            "meter": {"kw": number(kilowatts),
                "wh": number(snapshot.value("", "energy_total_wh"))},
            "air": [{"t": number(snapshot.value("air", "temperature_c"))}],
            "at": snapshot.clock_s});
        (request == "/api/readings").then(|| document.to_string().into_bytes())
    }
}
