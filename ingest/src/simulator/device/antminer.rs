//! A stock Antminer: hashrate, chips and fans, no power, and JSON that must be repaired.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, text};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

/// What its modes are called.
const NORMAL: i64 = 0;
const SLEEP: i64 = 1;
const LOW: i64 = 3;

pub struct Antminer;

impl DeviceKind for Antminer {
    fn name(&self) -> &'static str {
        "antminer"
    }
    fn source_kind(&self) -> &'static str {
        "asic"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::Cgminer
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let (rate, chip) = view
            .machine
            .map_or((0.0, 0.0), |machine| (machine.hashrate_hs, machine.chip_c));
        let giga = Shown::new("", "hashrate_hs", rate / 1e9, 2);
        let fan = 2_400.0 + 60.0 * chip.clamp(0.0, 60.0);
        vec![
            Shown::new("board-1", "temperature_c", chip.max(1.0), 0),
            Shown::new("fan-1", "fan_rpm", fan, 0),
            Shown::new("fan-2", "fan_rpm", fan + 120.0, 0),
            Shown {
                value: giga.value.map(|giga| giga * 1e9),
                ..giga
            },
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let when = snapshot.clock_s;
        let status = |code: u8, name: &str| {
            format!(
                "{{\"STATUS\":[{{\"STATUS\":\"S\",\"When\":{when},\"Code\":{code},\"Msg\":\"{name}\",\
                 \"Description\":\"cgminer 1.0.0\"}}]"
            )
        };
        let document = match request {
            "summary" => {
                let giga = snapshot.value("", "hashrate_hs").map(|rate| rate / 1e9);
                let giga = giga.map(|giga| (giga * 100.0).round() / 100.0);
                format!(
                    "{},\"SUMMARY\":[{{\"Elapsed\":{},\"GHS 5s\":\"{}\",\"Hardware Errors\":0,}}],\
                     \"id\":1}}\0",
                    status(11, "Summary"),
                    snapshot.uptime_s,
                    text(giga, "")
                )
            }
            "stats" => {
                let fan = |part: &str| text(snapshot.value(part, "fan_rpm"), "\"\"");
                let chip = snapshot.value("board-1", "temperature_c");
                let chips = chip.map_or_else(
                    || "\"\"".to_owned(),
                    |chip| format!("\"{}-{}-{chip}-{}\"", chip - 3.0, chip - 1.0, chip - 2.0),
                );
                format!(
                    "{},\"STATS\":[{{\"BMMiner\":\"2.0.0\",\"Type\":\"Antminer S19\"}}{{\
                     \"fan_num\":2,\"fan1\":{},\"fan2\":{},\"fan3\":0,\"temp_chip1\":{chips},\
                     \"temp_chip2\":\"0-0-0-0\"}}],\"id\":1}}\0",
                    status(70, "CGMiner stats"),
                    fan("fan-1"),
                    fan("fan-2"),
                )
            }
            "/cgi-bin/get_miner_conf.cgi" => {
                let mode = match (snapshot.is_asleep, snapshot.is_low) {
                    (true, _) => SLEEP,
                    (false, true) => LOW,
                    (false, false) => NORMAL,
                };
                let url = "stratum+tcp://127.0.0.1:3333";
                let pools = json!([{"url": url, "user": "sim", "pass": "x"}]);
                json!({"pools": pools, "bitmain-fan-ctrl": false, "bitmain-fan-pwm": "100",
                    "bitmain-work-mode": mode.to_string(), "bitmain-freq-level": "100"})
                .to_string()
            }
            request if request.starts_with("/cgi-bin/set_miner_conf.cgi\n") => {
                json!({"stats": "success", "code": "M000", "msg": "OK!"}).to_string()
            }
            _ => return None,
        };
        Some(document.into_bytes())
    }
    fn says(&self, request: &str, value: &Shown) -> bool {
        match request {
            "summary" => value.quantity == "hashrate_hs",
            "stats" => value.quantity != "hashrate_hs",
            _ => false,
        }
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let Some(body) = request.strip_prefix("/cgi-bin/set_miner_conf.cgi\n") else {
            return Vec::new();
        };
        let conf: Value = serde_json::from_str(body).unwrap_or_default();
        match conf.get("miner-mode").and_then(Value::as_i64) {
            Some(SLEEP) => vec![Change::Sleep],
            Some(NORMAL) => vec![Change::Wake, Change::LowPower(false)],
            Some(LOW) => vec![Change::Wake, Change::LowPower(true)],
            _ => Vec::new(),
        }
    }
}
