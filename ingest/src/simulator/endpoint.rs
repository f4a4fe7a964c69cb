//! A simulated device with its name: what it shows now, how it answers, and the `[[source]]` that
//! polls it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::agent;
use super::answer::Snapshot;
use super::device::{self, DeviceKind, View, Wire};
use super::faults::FaultKind;
use super::scenario::{Scenario, ScenarioError, fan_number};
use super::site::{Mode, SiteState};
use crate::source::mqtt_packet::{Publish, Stored, stored_bytes};
use crate::source::snmp_message;
use crate::source::{ConfiguredSource, Query, Request, SourceConfig, SourcesConfig};

/// One device or machine of a scenario.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: &'static dyn DeviceKind,
    place: Place,
}

/// Where it stands in the scenario.
#[derive(Debug, Clone, Copy)]
enum Place {
    Device(usize),
    Machine(usize),
}

/// Every device and every machine that has an API.
pub fn endpoints(scenario: &Scenario) -> Result<Vec<Endpoint>, ScenarioError> {
    scenario.validate()?;
    let mut endpoints = Vec::new();
    for (index, entry) in scenario.devices.iter().enumerate() {
        let Some(kind) = device::find(&entry.kind) else {
            let kinds: Vec<&str> = device::ALL.iter().map(|kind| kind.name()).collect();
            let (kind, kinds) = (&entry.kind, kinds.join(", "));
            return Err(ScenarioError(format!(
                "the kind {kind:?} is not simulated; there are {kinds}"
            )));
        };
        endpoints.push(Endpoint {
            name: entry.name.clone(),
            kind,
            place: Place::Device(index),
        });
    }
    for (index, (name, group)) in scenario.machine_names().enumerate() {
        if let Some(kind) = device::of_api(group.api) {
            endpoints.push(Endpoint {
                name,
                kind,
                place: Place::Machine(index),
            });
        }
    }
    Ok(endpoints)
}

impl Endpoint {
    /// What it shows; nothing when it is cut from power.
    pub fn snapshot(
        &self,
        scenario: &Scenario,
        state: &SiteState,
        start_s: f64,
        elapsed_s: f64,
    ) -> Option<Snapshot> {
        let (view, uptime_s) = match self.place {
            Place::Device(index) => (View::of_device(scenario, state, index), elapsed_s),
            Place::Machine(index) => {
                let machine = &state.machines[index];
                if machine.mode == Mode::Off {
                    return None;
                }
                // Its uptime goes on between two steps of the model.
                let since = machine.uptime_s + elapsed_s - state.elapsed_s;
                (View::of_machine(state, index), since)
            }
        };
        Some(Snapshot {
            shown: self.kind.shown(&view),
            clock_s: (start_s + elapsed_s) as i64,
            uptime_s: uptime_s.max(0.0) as u64,
            is_fahrenheit: false,
            is_asleep: view.machine.is_some_and(|machine| machine.is_asleep),
            is_low: view.machine.is_some_and(|machine| machine.is_low),
            relays: view.relays,
        })
    }

    /// The `[[actuator]]` of the site controller that switches it at this address; none where it
    /// obeys nothing. The page of a stock Antminer takes any password.
    pub fn actuator(&self, scenario: &Scenario, address: &str) -> Option<Value> {
        let (name, kind) = (&self.name, self.kind.source_kind());
        match self.place {
            Place::Machine(_) if self.kind.name() == "antminer" => Some(json!({"kind": "asic",
                "name": name, "address": address, "firmware": "antminer",
                "web_address": format!("http://{address}"), "user": "root",
                "secret_env": "HEADFRAME_SIM_PASSWORD"})),
            Place::Machine(_) => Some(json!({"kind": "asic", "name": name, "address": address,
                "firmware": self.kind.name()})),
            Place::Device(index) => {
                let feeds = &scenario.devices[index].feeds;
                let mut entry = json!({"kind": kind, "name": name, "address": address,
                    "controls": controls(kind, feeds)});
                if self.kind.name() == "shelly1" {
                    entry["generation"] = 1.into();
                }
                if kind == "snmp" {
                    let own = self.kind.keys();
                    entry["model"] = own["model"].clone();
                    entry["version"] = own.get("version").cloned().unwrap_or("2c".into());
                    entry["secret_env"] = "HEADFRAME_SIM_PASSWORD".into();
                }
                (!feeds.is_empty()).then_some(entry)
            }
        }
    }

    /// Does what a request asks for.
    pub fn obey(&self, scenario: &Scenario, state: &mut SiteState, request: &str) {
        let (Place::Device(index) | Place::Machine(index)) = self.place;
        for change in self.kind.changes(request) {
            state.change(scenario, index, &change);
        }
    }

    /// Its answers to the requests of a poll, as bytes.
    pub fn answers(&self, snapshot: &Snapshot, source: &ConfiguredSource) -> Vec<Option<Bytes>> {
        let answer = |request: &Request| self.answer(snapshot, &request.query);
        let mut answers: Vec<Option<Bytes>> = source.requests().iter().map(answer).collect();
        while let Some(request) = source.next_request(&answers) {
            answers.push(answer(&request));
        }
        answers
    }

    fn answer(&self, snapshot: &Snapshot, query: &Query) -> Option<Bytes> {
        match query {
            Query::Get(path) | Query::PlainGet(path) => {
                self.kind.answer(snapshot, path).map(Bytes::from)
            }
            Query::Send(bytes) => {
                let command = command_of(bytes)?;
                self.kind.answer(snapshot, &command).map(Bytes::from)
            }
            Query::Registers { address, count, .. } => {
                let all = self.kind.answer(snapshot, "")?;
                let from = 2 * usize::from(*address);
                let bytes = all.get(from..from + 2 * usize::from(*count))?;
                Some(Bytes::copy_from_slice(bytes))
            }
            Query::Messages(subscription) => {
                let message = |topic: &String| {
                    let payload = self.kind.answer(snapshot, topic)?;
                    let publish = Publish {
                        topic: topic.clone(),
                        is_retained: false,
                        payload: payload.into(),
                    };
                    Some(Stored {
                        at_us: 0,
                        is_new: true,
                        publish,
                    })
                };
                let messages = subscription.topics.iter().filter_map(message);
                Some(stored_bytes(&messages.collect::<Vec<_>>()))
            }
            Query::Snmp(_, wanted) => {
                let objects = self.kind.answer(snapshot, "")?;
                let objects = snmp_message::bindings(&objects).ok()?;
                let found = agent::select(&objects, wanted);
                Some(snmp_message::bindings_bytes(&found).into())
            }
        }
    }

    /// What reads its answers, without anything that could be asked.
    pub fn reader(&self, scenario: &Scenario) -> Result<ConfiguredSource, ScenarioError> {
        let address = match self.kind.wire() {
            Wire::Http => "http://127.0.0.1",
            Wire::Mqtt => "mqtt://127.0.0.1",
            _ => "127.0.0.1",
        };
        let wrong = |reason: &str| ScenarioError(format!("{}: {reason}", self.name));
        let config = self.source(scenario, address);
        let config = config.ok_or_else(|| wrong("it has no source"))?;
        let source = ConfiguredSource::new(config, &SourcesConfig::default());
        source.map_err(|error| wrong(&error.to_string()))
    }

    /// The `[[source]]` that polls it at this address.
    pub fn source(&self, scenario: &Scenario, address: &str) -> Option<SourceConfig> {
        let mut entry = json!({
            "kind": self.kind.source_kind(), "name": self.name, "site": scenario.site,
            "address": address, "interval_s": scenario.interval_s});
        let own = self.kind.keys();
        for (key, value) in own.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        if let Place::Machine(index) = self.place
            && let Some(rated) = rated_jth(scenario, index)
        {
            entry["rated_jth"] = rated.into();
        }
        if self.password(scenario).is_some() {
            entry["user"] = super::device::USER.into();
            entry["secret_env"] = "HEADFRAME_SIM_PASSWORD".into();
        }
        serde_json::from_value(entry).ok()
    }

    /// The password that it wants.
    pub fn password<'a>(&self, scenario: &'a Scenario) -> Option<&'a str> {
        match self.place {
            Place::Device(index) => scenario.devices[index].password.as_deref(),
            Place::Machine(_) => None,
        }
    }
}

/// What the maker rates a machine at, joules a terahash, by its place among all machines.
fn rated_jth(scenario: &Scenario, index: usize) -> Option<f64> {
    let mut first = 0;
    scenario.machines.iter().find_map(|group| {
        let place = index.checked_sub(first)?;
        first += group.count;
        (place < group.count).then_some(group.efficiency_j_th)
    })
}

/// The `controls` of a device with relays: what it feeds, each with its channel as the site
/// controller counts it.
fn controls(kind: &str, feeds: &[String]) -> Vec<Value> {
    let first = usize::from(["tasmota", "controlbyweb", "snmp"].contains(&kind));
    let control = |(index, fed): (usize, &String)| {
        let channel = (first + index).to_string();
        match (fan_number(fed), fed.strip_suffix('*')) {
            (Some(fan), _) => json!({"channel": channel, "fan": fan}),
            (None, Some(many)) => {
                json!({"channel": channel, "feeder": many.trim_end_matches('-')})
            }
            (None, None) => json!({"channel": channel, "machine": fed}),
        }
    };
    feeds.iter().enumerate().map(control).collect()
}

/// The command in a request to a machine's API, and its parameter in a second line.
pub fn command_of(request: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(request).ok()?;
    // Whatsminer's commands that change something say `cmd`.
    let command = request.get("command").or(request.get("cmd"))?.as_str()?;
    let parameter = request.get("parameter").and_then(Value::as_str);
    Some(match parameter {
        Some(parameter) => format!("{command}\n{parameter}"),
        None => command.to_owned(),
    })
}

/// An answer that breaks off and ends in rubbish.
pub fn malformed(answer: &[u8]) -> Vec<u8> {
    let mut broken = answer[..answer.len() / 2].to_vec();
    broken.extend_from_slice(b"\xFF\xFE}{[<\x01");
    broken
}

/// Whether a device with this fault gives an answer that can be read.
pub fn is_readable(fault: Option<FaultKind>) -> bool {
    !matches!(
        fault,
        Some(
            FaultKind::Malformed
                | FaultKind::Error500
                | FaultKind::Busy
                | FaultKind::Slow
                | FaultKind::Dead
        )
    )
}
