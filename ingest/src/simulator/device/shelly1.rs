//! A Shelly of the first generation.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct Shelly1;

impl DeviceKind for Shelly1 {
    fn name(&self) -> &'static str {
        "shelly1"
    }
    fn source_kind(&self) -> &'static str {
        "shelly"
    }
    fn keys(&self) -> Value {
        json!({"generation": 1})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let minutes = Shown::new("", "energy_total_wh", view.counter_wh * 60.0, 0);
        vec![
            Shown::new("", "power_w", view.power_w, 2),
            Shown {
                value: minutes.value.map(|minutes| minutes / 60.0),
                ..minutes
            },
            Shown::new("", "temperature_c", view.state.inside_c, 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let total = snapshot.value("", "energy_total_wh");
        let document = json!({
            "relays": [{"ison": true}],
            "meters": [{"power": number(snapshot.value("", "power_w")),
                "is_valid": snapshot.value("", "power_w").is_some(),
                "total": number(total.map(|wh| (wh * 60.0).round()))}],
            "temperature": number(snapshot.value("", "temperature_c")),
            "uptime": snapshot.uptime_s, "unixtime": snapshot.clock_s});
        (request == "/status").then(|| document.to_string().into_bytes())
    }
}
