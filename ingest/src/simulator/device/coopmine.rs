//! A CoopMine coordinator with one worker, whose threads hash as machines of the site do.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::site::Mode;

/// Its worker.
const WORKER: &str = "rig-1";
/// Threads of the worker.
const THREADS: f64 = 4.0;
/// Hashes a second of a thread.
const THREAD_HS: f64 = 500.0;

pub struct CoopMine;

impl DeviceKind for CoopMine {
    fn name(&self) -> &'static str {
        "coopmine"
    }
    fn source_kind(&self) -> &'static str {
        "coopmine"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let machines = &view.state.machines;
        let hashing = machines.iter().filter(|one| one.mode == Mode::Hashing);
        let share = hashing.count() as f64 / machines.len().max(1) as f64;
        let active = (THREADS * share).ceil();
        vec![
            Shown::new(WORKER, "load_pct", 100.0 * active / THREADS, 1),
            Shown::new(WORKER, "hashrate_hs", active * THREAD_HS, 1),
            Shown::new(WORKER, "temperature_c", view.state.inside_c + 30.0, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let value = |quantity: &str| snapshot.value(WORKER, quantity);
        let active = value("load_pct").map(|load_pct| load_pct * THREADS / 100.0);
        let worker = json!({"id": WORKER, "name": WORKER, "online": true,
            "hashrate_hs": number(value("hashrate_hs")), "threads": THREADS,
            "threads_active": number(active), "temperature_c": number(value("temperature_c")),
            "command": null});
        let is_list = request == "/api/workers";
        is_list.then(|| json!({"workers": [worker]}).to_string().into_bytes())
    }
}
