//! An IoTaWatt that shows what is now.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number, text};
use crate::simulator::answer::{Shown, Snapshot};

pub struct IotaWatt;

impl DeviceKind for IotaWatt {
    fn name(&self) -> &'static str {
        "iotawatt"
    }
    fn source_kind(&self) -> &'static str {
        "iotawatt"
    }
    fn keys(&self) -> Value {
        json!({"channels": {"0": "supply", "1": "main"}})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("supply", "voltage_v", view.state.voltage_v, 1),
            Shown::new("supply", "frequency_hz", 60.0, 1),
            Shown::new("main", "power_w", view.power_w, 0),
            Shown::new("total", "power_w", view.power_w, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        if !request.starts_with("/status?") {
            return None;
        }
        let document = json!({
            "stats": {"cyclerate": 34, "runseconds": snapshot.uptime_s,
                "currenttime": snapshot.clock_s},
            "inputs": [
                {"channel": 0, "Vrms": number(snapshot.value("supply", "voltage_v")),
                    "Hz": number(snapshot.value("supply", "frequency_hz")), "phase": 1.0},
                {"channel": 1, "Watts": text(snapshot.value("main", "power_w"), " "), "Pf": 0.98}],
            "outputs": [{"name": "total", "units": "Watts",
                "value": number(snapshot.value("total", "power_w"))}]});
        Some(document.to_string().into_bytes())
    }
}
