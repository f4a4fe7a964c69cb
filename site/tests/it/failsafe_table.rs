//! The failsafe table, row by row, with real processes: a controller whose devices are simulated,
//! something that is lost or broken, and then the action, its time, its notice and the facts.
//!
//! Times are those of the journal: an effect belongs to the first step at which its cause was old
//! enough, and to none before. That holds however slow the machine is.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_ingest::{Nats, NatsConfig};
use serde_json::{Value, json};

use crate::fixture::until;
use crate::process::{Pager, Process, free_port, say, write_config};
use crate::service::{TOKEN, assert_each_once, config, rows, write_secret};

mod air;
mod clock;
mod devices;
mod documented;
mod fans;
mod interlock;
mod notifier;
mod signal;
mod watchdog;

/// Milliseconds of a time of the policy.
const fn s(seconds: u64) -> u64 {
    seconds * 1_000
}

/// A simulated site, its controller, and who gets its notices.
pub struct Bench {
    pub simulator: Simulator,
    pub process: Process,
    pub pager: Pager,
    signal: PathBuf,
    pub file: PathBuf,
    pub port: u16,
    /// What the controller tells who watches it.
    pub systemd: UnixDatagram,
    _folder: tempfile::TempDir,
}

/// Four machines that need 30 J/TH and four that need 20, and four fans behind relays and fuses.
fn scenario(more: Value) -> Scenario {
    let machine = |name: &str, api: &str, efficiency: f64| {
        json!({"name": name, "count": 4, "hashrate_ths": 100.0, "efficiency_j_th": efficiency,
            "boot_s": 2.0, "standby_w": 15.0, "api": api})
    };
    let mut devices = json!([
        {"kind": "shelly2", "name": "main", "measures": "site"},
        {"kind": "roomalert", "name": "room"},
        {"kind": "controlbyweb", "name": "relays", "feeds": ["fan-1", "fan-2", "fan-3", "fan-4"]}]);
    let all = devices.as_array_mut().unwrap();
    all.extend(more.as_array().unwrap().iter().cloned());
    let text = json!({"seed": 3, "site": "north", "step_s": 0.5, "interval_s": 0.5,
        "weather": {"mean_c": 5.0, "swing_c": 0.0}, "container": {"fans": 5, "initial_c": 15.0},
        "machines": [machine("old", "luxos", 30.0), machine("new", "whatsminer", 20.0)],
        "devices": devices});
    serde_json::from_value(text).unwrap()
}

/// The configuration of that site: readings every half second, late after two seconds, and every
/// fan may be switched at any time.
fn bench_config(simulator: &Simulator, folder: &Path, nats: Option<NatsConfig>) -> Value {
    let mut config = config(simulator, folder, nats);
    let controls = (1..=4).map(|fan| json!({"channel": fan.to_string(), "fan": fan}));
    config["actuator"][0]["controls"] = controls.collect();
    config["plan"]["fans"] = json!(vec![json!({"watts": 1_100.0}); 4]);
    let relay = |fan: u8| json!({"fan": fan, "relay": format!("relays/relay{fan}")});
    config["readings"]["fan"] = (1..=4).map(relay).collect();
    config["signal"] = json!([{"kind": "file", "name": "utility", "class": "mandatory",
        "path": folder.join("signal.json"), "max_age_s": 3_600}]);
    let policy = &mut config["policy"];
    policy["health"] = json!({"grace_s": 0, "temperature_period_s": 2, "meter_period_s": 2,
        "fan_period_s": 2, "interlock_period_s": 2});
    policy["signals"]["sources"] =
        json!({"utility": {"class": "mandatory", "period_s": 2, "curtail_kw": 19.0}});
    policy["restore"]["planned_share"] = json!(1.0);
    policy["fans"] = json!({"min_on_s": 0, "min_off_s": 0, "stage_hold_s": 0, "stagger_s": 0,
        "starts_per_hour": 1_000});
    config
}

impl Bench {
    /// Starts it with further devices and a changed configuration, and waits until it runs.
    pub async fn start(
        more: Value,
        speed: f64,
        nats: Option<NatsConfig>,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let bench = Self::set_up(more, speed, nats, &[], change).await;
        bench.process.until_state("running").await;
        bench
    }

    /// Starts it, with further variables in the environment of the controller.
    async fn set_up(
        more: Value,
        speed: f64,
        nats: Option<NatsConfig>,
        environment: &[(&str, &Path)],
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(scenario(more), speed).await.unwrap();
        let (pager, url) = Pager::start().await;
        let secret = folder.path().join("hook");
        write_secret(&secret, "a secret of the hook");
        let mut config = bench_config(&simulator, folder.path(), nats);
        config["channel"] = json!([{"kind": "webhook", "name": "pager", "url": url,
            "least": "warning", "secret_file": secret}]);
        let port = free_port();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        change(&mut config);
        write_secret(&folder.path().join("token"), TOKEN);
        let file = write_config(folder.path(), config);
        let signal = folder.path().join("signal.json");
        say(&signal, "normal", 14.0);
        let socket = folder.path().join("systemd");
        let mut environment = environment.to_vec();
        environment.push(("NOTIFY_SOCKET", socket.as_path()));
        Self {
            simulator,
            systemd: UnixDatagram::bind(&socket).unwrap(),
            process: Process::start_with(&file, port, &environment),
            pager,
            signal,
            file,
            port,
            _folder: folder,
        }
    }

    /// The utility asks for something.
    pub fn ask(&self, level: &str, cap_kw: f64) {
        say(&self.signal, level, cap_kw);
    }

    /// Machines that hash.
    pub fn hashing(&self) -> usize {
        let state = self.simulator.state();
        let machines = state.machines.iter();
        machines.filter(|one| one.hashrate_hs > 0.0).count()
    }

    /// The journal, once its last step is later than a moment of it.
    pub async fn journal_until(&self, elapsed_ms: u64) -> Vec<Value> {
        self.process
            .until("a later step", |site| {
                site["now_ms"].as_u64() > Some(elapsed_ms)
            })
            .await;
        self.process.journal().await
    }
}

/// When a step was taken, in milliseconds.
fn now_ms(entry: &Value) -> u64 {
    entry["now"]["elapsed_ms"].as_u64().unwrap()
}

/// Whether a step raised a notice of a topic.
fn raises(entry: &Value, topic: &str) -> bool {
    let notices = entry["notices"].as_array().into_iter().flatten();
    notices.into_iter().any(|one| {
        let title = one["title"].as_str().unwrap();
        one["topic"] == topic && !title.starts_with("over:")
    })
}

/// Whether a step decided by a cap of this source, at so many kilowatts.
fn is_capped_by(entry: &Value, source: &str, kw: f64) -> bool {
    let decision = &entry["decision"];
    let Some(winner) = decision["verdict"]["winner"].as_u64() else {
        return false;
    };
    let cap = &decision["caps"][winner as usize];
    cap["source"] == source && (cap["kw"].as_f64().unwrap() - kw).abs() < 0.001
}

/// The commands that were decided in a step: target, action and path.
fn commands(entry: &Value) -> Vec<(Value, String, String)> {
    let progress = entry["progress"].as_array().into_iter().flatten();
    let queued = progress.filter(|one| one["progress"] == "queued");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    queued
        .map(|one| {
            let command = &one["command"];
            (
                command["target"].clone(),
                text(&command["action"]),
                text(&command["path"]),
            )
        })
        .collect()
}

/// Whether a step told a machine something.
fn tells_a_machine(entry: &Value, wanted: &str) -> bool {
    let orders = commands(entry);
    orders
        .iter()
        .any(|(target, action, _)| target["machine"].is_string() && action == wanted)
}

/// How old an input was in each step, by the times of its readings; nothing before the first.
fn ages(entries: &[Value], read: impl Fn(&Value) -> Option<u64>) -> Vec<Option<u64>> {
    let mut last: Option<u64> = None;
    let age = |entry: &Value| {
        last = last.max(read(&entry["observation"]));
        Some(now_ms(entry).saturating_sub(last?))
    };
    entries.iter().map(age).collect()
}

/// The newest time among readings that are picked.
fn newest<'a>(readings: impl Iterator<Item = &'a Value>) -> Option<u64> {
    readings
        .filter_map(|one| one["at"]["elapsed_ms"].as_u64())
        .max()
}

/// The effect came in the first step at which its input was so old: the place of that step.
#[track_caller]
fn assert_at_age(
    entries: &[Value],
    ages: &[Option<u64>],
    age_ms: u64,
    is_effect: impl Fn(&Value) -> bool,
) -> usize {
    let due = ages.iter().position(|age| *age >= Some(age_ms));
    let done = entries.iter().position(is_effect);
    assert_eq!(done, due, "the effect at {age_ms} ms: {ages:?}");
    done.expect("it never came")
}

/// The effect came in the first step at which something had been so for so long.
#[track_caller]
fn assert_after(
    entries: &[Value],
    is_so: &[bool],
    after_ms: u64,
    is_effect: impl Fn(&Value) -> bool,
) -> usize {
    let mut since = None;
    let due = entries.iter().zip(is_so).position(|(entry, is_so)| {
        let begun = since.filter(|_| *is_so).unwrap_or(now_ms(entry));
        since = Some(begun).filter(|_| *is_so);
        *is_so && now_ms(entry) - begun >= after_ms
    });
    let done = entries.iter().position(is_effect);
    assert_eq!(done, due, "the effect after {after_ms} ms");
    done.expect("it never came")
}

/// Whether a step wrote down that a channel carried a notice of a topic.
fn is_delivered(entries: &[Value], topic: &str) -> bool {
    let deliveries = entries.iter().flat_map(|one| one["deliveries"].as_array());
    deliveries
        .flatten()
        .any(|one| one["notice"]["topic"] == topic && one["outcome"].get("Ok").is_some())
}

/// A decision of the stream was decided by a cap of this source.
async fn assert_decided(nats: &NatsConfig, source: &str) {
    let nats = Nats::connect(nats).await.unwrap();
    let decisions = rows(&nats, "curtailment").await;
    let is_it = |row: &&(String, i64, Value)| {
        let winner = row.2["winner"].as_str().unwrap_or_default();
        winner.split_once(' ').is_some_and(|(_, one)| one == source)
    };
    let found = decisions.iter().find(is_it).map(|row| &row.2);
    let found = found.unwrap_or_else(|| panic!("nothing was decided by {source}"));
    let caps = found["caps"].as_str().unwrap_or_default();
    assert!(caps.contains(source), "{found}");
    assert!(
        found["inputs"].as_str().is_some_and(|text| text.len() > 2),
        "{found}"
    );
}

/// The streams hold what the journal holds: no gap, nothing twice, and these topics.
async fn assert_facts(bench: &Bench, nats: &NatsConfig, topics: &[&str]) {
    until("it is written down that people were told", || async {
        let entries = bench.process.journal().await;
        topics.iter().all(|topic| is_delivered(&entries, topic))
    })
    .await;
    let entries = bench.process.journal().await;
    let count = entries.len();
    assert!(count > 10, "{count}");
    let seq = bench.process.get("/api/v1/site/journal?limit=1000").await;
    let written = seq["entries"]
        .as_array()
        .and_then(|all| all.last()?["seq"].as_u64());
    let sent = |site: &Value| site["facts"]["sent_seq"].as_u64() >= written;
    bench.process.until("facts are sent", sent).await;
    let nats = Nats::connect(nats).await.unwrap();
    for name in [
        "signals",
        "curtailment",
        "site_commands",
        "notifications",
        "energy",
        "sensors",
    ] {
        let rows = rows(&nats, name).await;
        assert!(!rows.is_empty(), "{name}");
        assert_each_once(name, &rows);
    }
    for topic in topics {
        for state in ["raised", "delivered"] {
            until(&format!("{topic} is {state} in the stream"), || async {
                let notices = rows(&nats, "notifications").await;
                let is_it = |row: &Value| row["topic"] == *topic && row["state"] == state;
                notices.iter().any(|row| is_it(&row.2))
            })
            .await;
        }
    }
    // Each command of the journal is in its stream.
    let decided: usize = entries.iter().map(|entry| commands(entry).len()).sum();
    let stored = rows(&nats, "site_commands").await;
    let stored = stored
        .iter()
        .filter(|row| row.2["state"] == "queued")
        .count();
    assert!(stored >= decided, "{stored} of {decided}");
}
