//! A Whatsminer: hashrate in MH/s, power, the air at its inlet.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

pub struct Whatsminer;

impl DeviceKind for Whatsminer {
    fn name(&self) -> &'static str {
        "whatsminer"
    }
    fn source_kind(&self) -> &'static str {
        "asic"
    }
    fn keys(&self) -> Value {
        json!({"commands": []})
    }
    fn wire(&self) -> Wire {
        Wire::Cgminer
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let rate = view.machine.map_or(0.0, |machine| machine.hashrate_hs);
        let mega = Shown::new("", "hashrate_hs", rate / 1e6, 2);
        vec![
            Shown::new("inlet", "temperature_c", view.state.inside_c, 1),
            Shown {
                value: mega.value.map(|mega| mega * 1e6),
                ..mega
            },
            Shown::new("", "power_w", view.power_w, 0),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let mega = snapshot.value("", "hashrate_hs").map(|rate| rate / 1e6);
        let mega = mega.map(|mega| (mega * 100.0).round() / 100.0);
        let document = match request {
            "summary" => json!({
                "STATUS": [{"STATUS": "S", "When": snapshot.clock_s, "Msg": "Summary"}],
                "SUMMARY": [{"Elapsed": snapshot.uptime_s, "HS RT": number(mega),
                    "Power": number(snapshot.value("", "power_w")),
                    "Env Temp": number(snapshot.value("inlet", "temperature_c"))}], "id": 1}),
            "power_off" | "power_on" | "set_low_power" | "set_normal_power" => {
                json!({"STATUS": "S", "When": snapshot.clock_s,
                "Code": 131, "Msg": "API command OK", "Description": ""})
            }
            _ => json!({"STATUS": [{"STATUS": "E", "When": snapshot.clock_s, "Code": 14,
                "Msg": "invalid cmd"}]}),
        };
        Some(document.to_string().into_bytes())
    }
    fn says(&self, request: &str, _: &Shown) -> bool {
        request == "summary"
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        match request {
            "power_off" => vec![Change::Sleep],
            "power_on" => vec![Change::Wake],
            "set_low_power" => vec![Change::LowPower(true)],
            "set_normal_power" => vec![Change::LowPower(false)],
            _ => Vec::new(),
        }
    }
}
