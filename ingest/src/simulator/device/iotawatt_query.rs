//! An IoTaWatt that is asked for the mean of the last minute.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct IotaWattQuery;

impl DeviceKind for IotaWattQuery {
    fn name(&self) -> &'static str {
        "iotawatt_query"
    }
    fn source_kind(&self) -> &'static str {
        "iotawatt"
    }
    fn keys(&self) -> Value {
        json!({"mode": "query", "series": ["main.watts", "supply.volts"]})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("main", "power_w", view.power_w, 3),
            Shown::new("supply", "voltage_v", view.state.voltage_v, 3),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let series = "/query?select=[time.utc.unix,main.watts.d3,supply.volts.d3]&";
        if !request.replace("%2C", ",").starts_with(series) {
            return None;
        }
        let end = snapshot.clock_s;
        let document = json!({
            "range": [end - 60, end], "labels": ["time", "main", "supply"],
            "data": [[end - 60, number(snapshot.value("main", "power_w")),
                number(snapshot.value("supply", "voltage_v"))]]});
        Some(document.to_string().into_bytes())
    }
}
