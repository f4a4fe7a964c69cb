//! `coopmine`: workers of a CoopMine coordinator, as its REST shows them.
//!
//! `GET /api/workers` lists `id`, `online`, `hashrate_hs`, `threads`, `threads_active`,
//! `temperature_c` and the last `command` with its `state`. The load of a worker, `load_pct`, is
//! the share of its threads that hash: 0 when it reports that it hashes nothing, and one thread at
//! least while it reports any hashrate, whatever it says of its threads. A worker that is not heard
//! of, or has not answered its last command, has no load and no hashrate: what it reported before
//! is old.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// The kind.
pub struct CoopMine;

impl Source for CoopMine {
    fn kind(&self) -> &'static str {
        "coopmine"
    }
    fn doc(&self) -> &'static str {
        "Workers of a CoopMine coordinator: load, hashrate, temperature; a part is a worker's id."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "workers",
                "The ids of workers that are read; all of them when left out. Each that is named \
                 and not there counts as missing.",
            ),
            (
                "hashrate",
                "Whether rows of hashrate are made; true when left out. False where the \
                 coordinator itself sends them.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: Coordinator = parse_keys(keys)?;
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coordinator {
    #[serde(default)]
    workers: Vec<String>,
    #[serde(default = "yes")]
    hashrate: bool,
}

fn yes() -> bool {
    true
}

impl Device for Coordinator {
    fn requests(&self) -> Vec<Request> {
        vec![Request::get("/api/workers")]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let document = json::document(answers.first())?;
        let workers = document.get("workers").and_then(Value::as_array);
        let workers = workers.ok_or("the answer has no `workers`")?;
        let id = |worker: &Value| {
            let id = worker.get("id").and_then(Value::as_str);
            id.unwrap_or_default().to_owned()
        };
        let mut readings = Readings::default();
        for worker in workers {
            let id = id(worker);
            if !id.is_empty() && (self.workers.is_empty() || self.workers.contains(&id)) {
                self.add(&mut readings, &id, worker);
            }
        }
        let is_there = |wanted: &&String| workers.iter().any(|worker| id(worker) == **wanted);
        let named = self.workers.iter();
        readings.missing += named.filter(|wanted| !is_there(wanted)).count() as u64;
        Ok(readings)
    }
}

impl Coordinator {
    fn add(&self, readings: &mut Readings, id: &str, worker: &Value) {
        let is_online = worker.get("online").and_then(Value::as_bool) == Some(true);
        let state = worker.pointer("/command/state").and_then(Value::as_str);
        let is_new = is_online && state != Some("sent");
        let at = |key: &str| json::number_at(worker, key).filter(|_| is_new);
        let hashrate_hs = at("hashrate_hs");
        readings.sensor(id, "load_pct", load_pct(worker, hashrate_hs));
        if self.hashrate {
            readings.hashrate(id, hashrate_hs);
        }
        readings.sensor_if_any(id, "temperature_c", at("temperature_c"));
    }
}

/// The share of the threads that hash, by what the worker reported.
fn load_pct(worker: &Value, hashrate_hs: Option<f64>) -> Option<f64> {
    let threads = json::number_at(worker, "threads").filter(|threads| *threads > 0.0)?;
    let active = json::number_at(worker, "threads_active")?;
    match hashrate_hs? {
        0.0 => Some(0.0),
        // A thread that was stopped ends the nonce it has.
        _ => Some(100.0 * active.max(1.0) / threads),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::Reading;
    use serde_json::json;

    fn read(keys: Value, workers: Value) -> Readings {
        let keys = keys.as_object().unwrap().clone();
        let body = json!({"workers": workers}).to_string();
        let device = CoopMine.device(keys).unwrap();
        device.read(&[Some(Bytes::from(body))]).unwrap()
    }

    fn worker(more: Value) -> Value {
        let mut worker = json!({"id": "rig-1", "online": true, "hashrate_hs": 500.0,
            "threads": 4, "threads_active": 4, "temperature_c": null, "command": null});
        for (key, value) in more.as_object().unwrap() {
            worker[key] = value.clone();
        }
        worker
    }

    fn load(worker: Value) -> Option<f64> {
        let readings = read(json!({"hashrate": false}), json!([worker]));
        match &readings.values[..] {
            [
                Reading::Sensor {
                    part,
                    quantity,
                    value,
                },
            ] => {
                assert_eq!((&**part, &**quantity), ("rig-1", "load_pct"));
                Some(*value)
            }
            [] => {
                assert_eq!(readings.missing, 1);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_load_is_the_share_of_threads_that_hash_as_far_as_the_worker_proves_it() {
        assert_eq!(load(worker(json!({}))), Some(100.0));
        assert_eq!(load(worker(json!({"threads_active": 1}))), Some(25.0));
        let ends = json!({"threads_active": 0, "hashrate_hs": 9.0});
        assert_eq!(load(worker(ends)), Some(25.0), "it still hashes");
        let rests = json!({"threads_active": 0, "hashrate_hs": 0.0});
        assert_eq!(load(worker(rests)), Some(0.0));
        for state in ["acknowledged", "verified", "refused"] {
            let command = json!({"command": {"id": 7, "state": state}});
            assert_eq!(load(worker(command)), Some(100.0), "{state}");
        }
    }

    #[test]
    fn what_is_old_or_not_said_is_missing_and_never_zero() {
        for more in [
            json!({"online": false, "hashrate_hs": 0.0}),
            json!({"hashrate_hs": 0.0, "command": {"id": 7, "state": "sent"}}),
            json!({"hashrate_hs": null}),
            json!({"threads": 0}),
            json!({"threads_active": null}),
        ] {
            assert_eq!(load(worker(more.clone())), None, "{more}");
        }
    }

    #[test]
    fn workers_that_are_named_are_read_and_those_that_are_gone_are_missing() {
        let workers = json!([worker(json!({})), worker(json!({"id": "rig-2"}))]);
        let readings = read(json!({"workers": ["rig-2", "rig-3"]}), workers);
        assert_eq!(readings.missing, 1);
        let parts = readings.values.iter().map(|reading| match reading {
            Reading::Sensor { part, .. } | Reading::Hashrate { part, .. } => &**part,
            Reading::Power { .. } => "power",
        });
        assert_eq!(parts.collect::<Vec<_>>(), ["rig-2", "rig-2"]);
    }
}
