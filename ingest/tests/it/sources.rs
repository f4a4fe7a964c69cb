//! Every kind of source against its simulated device, with every fault: nothing crashes, nothing
//! that is missing becomes zero, and the health says what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headframe_ingest::simulator::{FaultKind, Scenario, ServedAnswer, Simulator};
use headframe_ingest::source::{Poller, SourceConfig, SourcesConfig};
use headframe_ingest::{Nats, ReadFrom, Reader, StreamSettings, provision_stream};
use headframe_schemas::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Bed, PATIENCE, publisher};

mod bodies;
mod collected;
mod foreman;
mod login;
mod mosquitto;
mod round_trip;
mod snmpd;

/// The simulated kinds that stand in `[[devices]]`.
pub const DEVICES: &[&str] = &[
    "roomalert",
    "roomalert_flat",
    "iotawatt",
    "iotawatt_query",
    "tasmota",
    "shelly1",
    "shelly2",
    "controlbyweb",
    "modbus",
    "http_json",
    "coopmine",
    "apc_pdu",
    "raritan_pdu",
    "roomalert_snmp",
    "mqtt_tasmota",
    "mqtt_json",
    "foreman",
];
/// Those that are machines.
const MACHINES: [&str; 3] = ["antminer", "whatsminer", "luxos"];
/// Kinds whose answers have nothing that moves on by itself.
const TIMELESS: [&str; 4] = ["roomalert_flat", "shelly2", "modbus", "coopmine"];
/// Kinds that say the time.
const CLOCKS: [&str; 6] = [
    "shelly1",
    "controlbyweb",
    "antminer",
    "whatsminer",
    "luxos",
    "mqtt_json",
];

/// A site with this many devices and machines of every kind, named `kind-number`.
pub fn scenario(each: usize) -> Scenario {
    let devices = DEVICES.iter().flat_map(|kind| {
        (1..=each).map(move |n| json!({"kind": kind, "name": format!("{kind}-{n}")}))
    });
    let machines = MACHINES.map(|api| {
        json!({"name": api, "count": each, "hashrate_ths": 100.0, "efficiency_j_th": 30.0,
            "boot_s": 1.0, "api": api})
    });
    let text = json!({"seed": 11, "site": "north", "step_s": 1.0, "interval_s": 0.5,
        "container": {"initial_c": 26.0, "fan_w_k": 5000.0},
        "machines": machines, "devices": devices.collect::<Vec<_>>()});
    serde_json::from_value(text).unwrap()
}

/// The rows of a stream that come, gathered as they are.
pub struct Rows {
    reader: Reader,
    pub rows: Vec<Value>,
}

impl Rows {
    pub async fn open(nats: &Nats, name: &str) -> Self {
        let stream = stream::find(name).unwrap();
        provision_stream(&nats.js, stream, &StreamSettings::default())
            .await
            .unwrap();
        let reader = Reader::open(nats.clone(), stream, ReadFrom::default());
        Self {
            reader: reader.await.unwrap(),
            rows: Vec::new(),
        }
    }

    /// Reads what comes next; false when nothing came for a while.
    pub async fn more(&mut self, patience: Duration) -> bool {
        let Ok(messages) = tokio::time::timeout(patience, self.reader.next()).await else {
            return false;
        };
        let messages = match messages {
            Ok(messages) => messages,
            Err(fault) if fault.retryable() => return true,
            Err(fault) => panic!("{fault}"),
        };
        for message in messages {
            let lines = message.payload.split(|byte| *byte == b'\n');
            let rows = lines.filter(|line| !line.is_empty());
            self.rows
                .extend(rows.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        true
    }
}

/// Fast polls: late after 1.25 s, stale after 3 s, failed after three polls.
pub fn fast(sources: &[SourceConfig]) -> Vec<SourceConfig> {
    let fast = |source: &SourceConfig| SourceConfig {
        timeout_s: 0.5,
        stale_after_s: Some(3.0),
        ..source.clone()
    };
    sources.iter().map(fast).collect()
}

/// Pauses after failures are at most a second here.
pub fn impatient() -> SourcesConfig {
    SourcesConfig {
        max_backoff_s: 1,
        ..SourcesConfig::default()
    }
}

/// Reads health until each of these devices has been in one of the states given for it. Not all at
/// one moment: on a busy machine some device is always late. `states` has the last row of each
/// before, and afterwards the one that was waited for.
async fn wait_for_states(
    health: &mut Rows,
    states: &mut BTreeMap<String, Value>,
    wanted: &BTreeMap<String, &[&str]>,
    mut meanwhile: impl FnMut(),
) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let is_wanted = |name: &str, row: &Value| {
        let state = row["state"].as_str().unwrap();
        wanted
            .get(name)
            .is_some_and(|wanted| wanted.contains(&state))
    };
    let mut found: BTreeMap<String, Value> = states
        .iter()
        .filter(|(name, row)| is_wanted(name, row))
        .map(|(name, row)| (name.clone(), row.clone()))
        .collect();
    while found.len() < wanted.len() {
        for row in health.rows.drain(..) {
            let name = row["source"].as_str().unwrap().to_owned();
            if is_wanted(&name, &row) {
                found.insert(name.clone(), row.clone());
            }
            states.insert(name, row);
        }
        let missing = wanted.keys().filter(|name| !found.contains_key(*name));
        let missing: Vec<_> = missing.map(|name| (name, states.get(name))).collect();
        assert!(
            missing.is_empty() || tokio::time::Instant::now() < deadline,
            "{missing:?}"
        );
        if !missing.is_empty() {
            health.more(Duration::from_millis(200)).await;
        }
        meanwhile();
    }
    states.extend(found);
}

/// The states in which a device of this kind with this fault may end.
fn states_of(kind: &str, fault: FaultKind) -> &'static [&'static str] {
    match fault {
        FaultKind::Malformed
        | FaultKind::Error500
        | FaultKind::Busy
        | FaultKind::Slow
        | FaultKind::Sluggish
        | FaultKind::Dead => &["failed"],
        FaultKind::Frozen if !TIMELESS.contains(&kind) => &["stale"],
        FaultKind::Lying | FaultKind::Missing => &["stale"],
        FaultKind::Frozen
        | FaultKind::Fahrenheit
        | FaultKind::ClockOff
        | FaultKind::Ignoring
        | FaultKind::Refusing
        | FaultKind::Stuck
        | FaultKind::Shifted => &["fresh"],
    }
}

fn names() -> impl Iterator<Item = (String, &'static str, FaultKind)> {
    let kinds = DEVICES.iter().copied().chain(MACHINES);
    kinds.flat_map(|kind| {
        let faults = FaultKind::ALL.into_iter().enumerate();
        faults.map(move |(index, fault)| (format!("{kind}-{}", index + 1), kind, fault))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_survives_every_fault_and_its_health_says_so() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut health = Rows::open(&nats, "source_health").await;
    let mut facts = Vec::new();
    for name in ["energy", "sensors", "hashrate"] {
        facts.push(Rows::open(&nats, name).await);
    }
    let simulator = Simulator::start(scenario(FaultKind::ALL.len()), 8.0)
        .await
        .unwrap();
    let sources = fast(simulator.sources());
    let poller = Poller::new(publisher(&nats), &impatient(), &sources).unwrap();
    let stop = CancellationToken::new();
    let polling = tokio::spawn(poller.run(stop.clone()));

    // The simulator holds so many answers and no more, and a busy machine takes its time.
    let mut answers = Answers::default();
    let mut take = || answers.add(simulator.take_answers());
    let mut states = BTreeMap::new();
    let fresh: BTreeMap<String, &[&str]> =
        names().map(|(name, ..)| (name, &["fresh"][..])).collect();
    wait_for_states(&mut health, &mut states, &fresh, &mut take).await;
    for (name, _, fault) in names() {
        simulator.set_fault(&name, Some(fault));
    }
    let broken = names().map(|(name, kind, fault)| (name, states_of(kind, fault)));
    wait_for_states(&mut health, &mut states, &broken.collect(), &mut take).await;
    for (name, _, fault) in names() {
        let (state, reason) = (&states[&name]["state"], &states[&name]["reason"]);
        assert!(
            *state == "fresh" || reason.is_string(),
            "{name} {fault:?}: {}",
            states[&name]
        );
    }
    for (name, ..) in names() {
        simulator.set_fault(&name, None);
    }
    wait_for_states(&mut health, &mut states, &fresh, &mut take).await;
    stop.cancel();
    polling.await.unwrap();

    answers.add(simulator.take_answers());
    let mut stored = 0;
    for rows in &mut facts {
        while rows.more(Duration::from_millis(500)).await {}
        for row in &rows.rows {
            answers.check(row);
            stored += 1;
        }
    }
    assert!(stored > 1_000, "only {stored} rows");
}

/// What devices showed: values by device, part and quantity.
#[derive(Default)]
pub struct Answers(BTreeMap<(String, String), Vec<f64>>);

impl Answers {
    pub fn add(&mut self, answers: Vec<ServedAnswer>) {
        for answer in answers {
            for (part, quantity, value) in answer.shown {
                let name = match part.as_str() {
                    "" => answer.device.clone(),
                    part => format!("{}/{part}", answer.device),
                };
                let values = self.0.entry((name, quantity)).or_default();
                values.extend(value);
            }
        }
    }

    /// What no device shows follows from a power and a hashrate that it showed.
    fn check_efficiency(&self, name: &str, quantity: &str, value: &Value) {
        let value = value.as_f64().unwrap();
        let shown = |quantity: &str| &self.0[&(name.to_owned(), quantity.to_owned())];
        let follows = |power_w: &f64, rate_hs: &f64| {
            let jth = power_w * 1e12 / rate_hs;
            match quantity {
                "efficiency_jth" => (jth - value).abs() <= 1e-6 * value,
                // As rated, or a few hundredths from it.
                _ => (0.5..2.0).contains(&value),
            }
        };
        let rates = shown("hashrate_hs");
        let is_so = |power_w: &f64| rates.iter().any(|rate_hs| follows(power_w, rate_hs));
        assert!(
            shown("power_w").iter().any(is_so),
            "{name} {quantity} {value}"
        );
    }

    /// A row says what its device showed at some time, and never the impossible.
    pub fn check(&self, row: &Value) {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let shown: Vec<(String, String, f64)> = if row["meter"].is_string() {
            let power = (
                text("meter"),
                "power_w".to_owned(),
                row["power_w"].as_f64().unwrap(),
            );
            let energy = row["energy_total_wh"].as_f64();
            let energy = energy.map(|wh| (text("meter"), "energy_total_wh".to_owned(), wh));
            std::iter::once(power).chain(energy).collect()
        } else if text("quantity").starts_with("efficiency_") {
            self.check_efficiency(&text("sensor"), &text("quantity"), &row["value"]);
            return;
        } else if row["sensor"].is_string() {
            let value = row["value"].as_f64().unwrap();
            vec![(text("sensor"), text("quantity"), value)]
        } else {
            let rate = row["hashrate_hs"].as_f64().unwrap();
            vec![(text("worker"), "hashrate_hs".to_owned(), rate)]
        };
        for (name, quantity, value) in shown {
            let values = self.0.get(&(name.clone(), quantity.clone()));
            let values = values.unwrap_or_else(|| panic!("nobody showed {name} {quantity}"));
            let is_same = |shown: &&f64| (**shown - value).abs() <= 0.001 + shown.abs() * 1e-9;
            assert!(
                values.iter().any(|shown| is_same(&shown)),
                "{name} {quantity} {value}"
            );
            // What the fault `lying` shows.
            let most = match quantity.as_str() {
                "temperature_c" => 150.0,
                "humidity_pct" => 100.0,
                "hashrate_hs" => 1e18,
                "energy_total_wh" => 1e14,
                _ => 1e7,
            };
            assert!(value <= most, "{name} {quantity} {value} was stored");
            if ["temperature_c", "humidity_pct", "voltage_v"].contains(&quantity.as_str()) {
                assert_ne!(
                    value, 0.0,
                    "{name} {quantity}: something missing became zero"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_and_its_readings_are_stored_by_ours() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut health = Rows::open(&nats, "source_health").await;
    let mut sensors = Rows::open(&nats, "sensors").await;
    for name in ["energy", "hashrate"] {
        Rows::open(&nats, name).await;
    }
    let simulator = Simulator::start(scenario(1), 8.0).await.unwrap();
    for kind in CLOCKS {
        simulator.set_fault(&format!("{kind}-1"), Some(FaultKind::ClockOff));
    }
    let config = SourcesConfig {
        heartbeat_s: 1,
        ..impatient()
    };
    let poller = Poller::new(publisher(&nats), &config, &fast(simulator.sources())).unwrap();
    let stop = CancellationToken::new();
    let polling = tokio::spawn(poller.run(stop.clone()));
    let mut reported = BTreeSet::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while reported.len() < CLOCKS.len() {
        assert!(tokio::time::Instant::now() < deadline, "only {reported:?}");
        health.more(Duration::from_millis(200)).await;
        for row in health.rows.drain(..) {
            let offset = row["clock_offset_s"].as_f64();
            if offset.is_some_and(|offset| (86_000.0..87_000.0).contains(&offset)) {
                reported.insert(row["source"].as_str().unwrap().to_owned());
            }
        }
    }
    stop.cancel();
    polling.await.unwrap();
    while sensors.more(Duration::from_millis(300)).await {}
    let now = std::time::SystemTime::now();
    let now_us = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    assert!(!sensors.rows.is_empty());
    for row in &sensors.rows {
        let age_s = (now_us - row["event_time"].as_i64().unwrap()) / 1_000_000;
        assert!((0..600).contains(&age_s), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_devices_are_polled_at_their_own_pace_through_few_connections() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let mut energy = Rows::open(&nats, "energy").await;
    for name in ["sensors", "source_health"] {
        Rows::open(&nats, name).await;
    }
    let kinds = ["shelly2", "apc_pdu", "mqtt_tasmota", "modbus"];
    let devices = (1..=200_usize)
        .map(|n| json!({"kind": kinds[n % kinds.len()], "name": format!("plug-{n}")}));
    let text = json!({"seed": 1, "site": "north", "step_s": 1.0, "interval_s": 1.0,
        "devices": devices.collect::<Vec<_>>()});
    let simulator = Simulator::start(serde_json::from_value(text).unwrap(), 1.0)
        .await
        .unwrap();
    let config = SourcesConfig {
        max_connections: 16,
        ..SourcesConfig::default()
    };
    let poller = Poller::new(publisher(&nats), &config, simulator.sources()).unwrap();
    let stop = CancellationToken::new();
    let polling = tokio::spawn(poller.run(stop.clone()));
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while times.len() < 200 || times.values().any(|times| times.len() < 4) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} devices",
            times.len()
        );
        energy.more(Duration::from_millis(200)).await;
        for row in energy.rows.drain(..) {
            let meter = row["meter"].as_str().unwrap().to_owned();
            times
                .entry(meter)
                .or_default()
                .push(row["event_time"].as_i64().unwrap());
        }
    }
    stop.cancel();
    polling.await.unwrap();
    // Spread over the second, not all at once.
    let firsts: BTreeSet<i64> = times
        .values()
        .map(|times| times[0] / 100_000 % 10)
        .collect();
    assert!(firsts.len() >= 8, "{firsts:?}");
    for (meter, times) in &times {
        let rises = times.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rises, "{meter} {times:?}");
    }
}

#[tokio::test]
async fn every_answer_of_a_poll_is_noted_with_what_it_says() {
    let machines = ["antminer", "luxos"].map(|api| {
        json!({"name": api, "count": 1, "hashrate_ths": 100.0, "efficiency_j_th": 30.0,
            "boot_s": 1.0, "api": api})
    });
    let text = json!({"seed": 1, "site": "north", "step_s": 1.0, "interval_s": 1.0,
        "machines": machines});
    let simulator = Simulator::start(serde_json::from_value(text).unwrap(), 1.0)
        .await
        .unwrap();
    for (machine, command, said) in [
        (0, "summary", vec!["hashrate_hs"]),
        (0, "stats", vec!["temperature_c", "fan_rpm", "fan_rpm"]),
        (0, "devs", vec![]),
        (1, "summary", vec!["hashrate_hs"]),
        (1, "power", vec!["power_w"]),
        (1, "config", vec![]),
    ] {
        let address = &simulator.sources()[machine].address;
        let mut machine = TcpStream::connect(address).await.unwrap();
        let request = json!({"command": command}).to_string();
        machine.write_all(request.as_bytes()).await.unwrap();
        machine.read_to_end(&mut Vec::new()).await.unwrap();
        let noted = simulator.take_answers();
        let shown = noted.iter().flat_map(|answer| &answer.shown);
        let quantities: Vec<&str> = shown.map(|(_, quantity, _)| quantity.as_str()).collect();
        assert_eq!(quantities, said, "{command}");
    }
}
