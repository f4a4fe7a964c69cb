//! Foreman's service with the first machines of the site, in pages of three.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number, query_value};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::site::Mode;

const MINERS: [&str; 8] = [
    "miner-1", "miner-2", "miner-3", "miner-4", "miner-5", "miner-6", "miner-7", "miner-8",
];
const PAGE: usize = 3;

pub struct Foreman;

impl DeviceKind for Foreman {
    fn name(&self) -> &'static str {
        "foreman"
    }
    fn source_kind(&self) -> &'static str {
        "foreman"
    }
    fn keys(&self) -> Value {
        json!({"path": "/api/v2/miners", "values": [
            {"pointer": "/hashrate", "quantity": "hashrate_hs"},
            {"pointer": "/power", "quantity": "power_w"},
            {"pointer": "/temperature", "quantity": "temperature_c"},
            {"pointer": "/status", "quantity": "mining_state", "on": ["mining"],
                "off": ["sleeping"]}]})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let machines = MINERS.iter().zip(&view.state.machines);
        let values = machines.flat_map(|(name, machine)| {
            let mining = f64::from(u8::from(machine.mode == Mode::Hashing));
            [
                Shown::new(name, "hashrate_hs", machine.hashrate_hs, 0),
                Shown::new(name, "power_w", machine.power_w, 0),
                Shown::new(name, "temperature_c", machine.chip_c, 1),
                Shown::new(name, "mining_state", mining, 0),
            ]
        });
        values.collect()
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let (path, _) = request.split_once('?').unwrap_or((request, ""));
        let page = query_value(request, "page").unwrap_or("1");
        let page = page.parse::<usize>().ok()?.checked_sub(1)?;
        let is_shown = |name: &&&str| snapshot.shown.iter().any(|one| one.part == **name);
        let all: Vec<&str> = MINERS.iter().filter(is_shown).copied().collect();
        let miners = all.iter().enumerate().skip(page * PAGE).take(PAGE);
        let miners = miners.map(|(index, name)| {
            let status = match snapshot.value(name, "mining_state") {
                Some(1.0) => "mining",
                Some(0.0) => "sleeping",
                _ => "unknown",
            };
            json!({"id": index + 1, "name": name, "platform": "sim", "status": status,
                "hashrate": number(snapshot.value(name, "hashrate_hs")),
                "power": number(snapshot.value(name, "power_w")),
                "temperature": number(snapshot.value(name, "temperature_c")),
                "lastUpdated": snapshot.clock_s * 1_000})
        });
        let miners: Vec<Value> = miners.collect();
        let is_last = (page + 1) * PAGE >= all.len();
        // As behind a proxy: the address is one that the client cannot reach.
        let next = format!("https://service.invalid/api/v2/miners?page={}", page + 2);
        let next = if is_last { Value::Null } else { next.into() };
        let document = json!({"results": miners, "next": next});
        (path == "/api/v2/miners").then(|| document.to_string().into_bytes())
    }
}
