//! A machine with LuxOS: hashrate, power, and commands behind a session.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

/// The one session that it gives.
const SESSION: &str = "Kh7dKi1r";

pub struct Luxos;

impl DeviceKind for Luxos {
    fn name(&self) -> &'static str {
        "luxos"
    }
    fn source_kind(&self) -> &'static str {
        "asic"
    }
    fn keys(&self) -> Value {
        json!({"commands": ["power"]})
    }
    fn wire(&self) -> Wire {
        Wire::Cgminer
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let rate = view.machine.map_or(0.0, |machine| machine.hashrate_hs);
        let giga = Shown::new("", "hashrate_hs", rate / 1e9, 2);
        vec![
            Shown {
                value: giga.value.map(|giga| giga * 1e9),
                ..giga
            },
            Shown::new("", "power_w", view.power_w, 0),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let status = |message: &str| {
            json!([{"STATUS": "S", "When": snapshot.clock_s, "Code": 11, "Msg": message,
                "Description": "LUXminer 2024.5"}])
        };
        let giga = snapshot.value("", "hashrate_hs").map(|rate| rate / 1e9);
        let giga = giga.map(|giga| (giga * 100.0).round() / 100.0);
        let (command, parameter) = request.split_once('\n').unwrap_or((request, ""));
        let is_logged_on = parameter.split(',').next() == Some(SESSION);
        let document = match command {
            "summary" => json!({"STATUS": status("Summary"),
                "SUMMARY": [{"Elapsed": snapshot.uptime_s, "GHS 5s": number(giga)}], "id": 1}),
            "power" => json!({"STATUS": status("Power"),
                "POWER": [{"PSU": false, "Watts": number(snapshot.value("", "power_w"))}],
                "id": 1}),
            "logon" => json!({"STATUS": status("Session created"),
                "SESSION": [{"SessionID": SESSION}], "id": 1}),
            "logoff" if is_logged_on => json!({"STATUS": status("Session terminated"), "id": 1}),
            "curtail" if is_logged_on => json!({"STATUS": status("Curtail"), "id": 1}),
            "config" => {
                let mode = if snapshot.is_asleep { "Sleep" } else { "None" };
                json!({"STATUS": status("Config"), "CONFIG": [{"CurtailMode": mode}], "id": 1})
            }
            _ => json!({"STATUS": [{"STATUS": "E", "When": snapshot.clock_s, "Code": 402,
                "Msg": "no session, or no such command"}]}),
        };
        Some(document.to_string().into_bytes())
    }
    fn says(&self, request: &str, value: &Shown) -> bool {
        match request {
            "summary" => value.quantity == "hashrate_hs",
            "power" => value.quantity == "power_w",
            _ => false,
        }
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let Some(parameter) = request.strip_prefix("curtail\n") else {
            return Vec::new();
        };
        match parameter.split_once(',') {
            Some((SESSION, "sleep")) => vec![Change::Sleep],
            Some((SESSION, "wakeup")) => vec![Change::Wake],
            _ => Vec::new(),
        }
    }
}
