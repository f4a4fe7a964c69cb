//! A Shelly of the second generation.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct Shelly2;

impl DeviceKind for Shelly2 {
    fn name(&self) -> &'static str {
        "shelly2"
    }
    fn source_kind(&self) -> &'static str {
        "shelly"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("", "power_w", view.power_w, 1),
            Shown::new("", "energy_total_wh", view.counter_wh, 3),
            Shown::new("", "voltage_v", view.state.voltage_v, 1),
            Shown::new("", "temperature_c", view.state.inside_c, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let celsius = snapshot.value("", "temperature_c");
        let document = json!({
            "id": 0, "source": "init", "output": true,
            "apower": number(snapshot.value("", "power_w")),
            "voltage": number(snapshot.value("", "voltage_v")),
            "aenergy": {"total": number(snapshot.value("", "energy_total_wh")),
                "minute_ts": snapshot.clock_s / 60 * 60},
            "temperature": {"tC": number(celsius), "tF": number(celsius.map(fahrenheit))}});
        (request == "/rpc/Switch.GetStatus?id=0").then(|| document.to_string().into_bytes())
    }
}
