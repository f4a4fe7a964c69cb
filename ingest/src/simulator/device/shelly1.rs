//! A Shelly of the first generation.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number, query_value};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

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
            Shown::new("", "temperature_c", view.air_c(), 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let relays = match snapshot.relays.is_empty() {
            true => vec![true],
            false => snapshot.relays.clone(),
        };
        let relay = |is_on: &bool| json!({"ison": is_on, "has_timer": false});
        if let Some(channel) = channel(request) {
            return Some(relay(relays.get(channel)?).to_string().into_bytes());
        }
        let relays: Vec<Value> = relays.iter().map(relay).collect();
        let total = snapshot.value("", "energy_total_wh");
        let document = json!({
            "relays": relays,
            "meters": [{"power": number(snapshot.value("", "power_w")),
                "is_valid": snapshot.value("", "power_w").is_some(),
                "total": number(total.map(|wh| (wh * 60.0).round()))}],
            "temperature": number(snapshot.value("", "temperature_c")),
            "uptime": snapshot.uptime_s, "unixtime": snapshot.clock_s});
        (request == "/status").then(|| document.to_string().into_bytes())
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let turn = channel(request).zip(query_value(request, "turn"));
        let timer = query_value(request, "timer").and_then(|timer| timer.parse().ok());
        let relay = turn.map(|(channel, turn)| Change::Relay {
            channel,
            is_on: turn == "on",
            back_after_s: timer,
        });
        relay.into_iter().collect()
    }
}

/// The number in `/relay/0?...`.
fn channel(request: &str) -> Option<usize> {
    let rest = request.strip_prefix("/relay/")?;
    rest.split('?').next()?.parse().ok()
}
