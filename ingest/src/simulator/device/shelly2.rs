//! A Shelly of the second generation.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, number, query_value};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

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
            Shown::new("", "temperature_c", view.air_c(), 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let id: usize = query_value(request, "id")?.parse().ok()?;
        let is_on = match snapshot.relays.is_empty() {
            true => id == 0,
            false => *snapshot.relays.get(id)?,
        };
        if request.starts_with("/rpc/Switch.Set?") {
            return Some(json!({"was_on": is_on}).to_string().into_bytes());
        }
        let celsius = snapshot.value("", "temperature_c");
        let mut document = json!({
            "id": id, "source": "init", "output": is_on,
            "apower": number(snapshot.value("", "power_w")),
            "voltage": number(snapshot.value("", "voltage_v")),
            "aenergy": {"total": number(snapshot.value("", "energy_total_wh")),
                "minute_ts": snapshot.clock_s / 60 * 60},
            "temperature": {"tC": number(celsius), "tF": number(celsius.map(fahrenheit))}});
        // One meter, at the first switch.
        if let (1.., Some(fields)) = (id, document.as_object_mut()) {
            fields.retain(|key, _| !["apower", "voltage", "aenergy"].contains(&key.as_str()));
        }
        let is_status = request.starts_with("/rpc/Switch.GetStatus?");
        is_status.then(|| document.to_string().into_bytes())
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        if !request.starts_with("/rpc/Switch.Set?") {
            return Vec::new();
        }
        let number = |key: &str| query_value(request, key)?.parse::<f64>().ok();
        let on = query_value(request, "on");
        let relay = number("id").zip(on).map(|(id, on)| Change::Relay {
            channel: id as usize,
            is_on: on == "true",
            back_after_s: number("toggle_after"),
        });
        relay.into_iter().collect()
    }
}
