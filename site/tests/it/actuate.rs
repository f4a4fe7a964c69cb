//! Actuators against a simulated plant that obeys, or does not.

use headframe_ingest::simulator::{FaultKind, Scenario, Simulator};
use headframe_ingest::source::Exchange;
use headframe_site::actuate::{ActuatorConfig, Dispatcher};
use headframe_site::command::{Action, Command, Path, PowerMode, Progress, Target};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fixture::{clock, now, until};

/// Simulated seconds in a second.
const SPEED: f64 = 8.0;

/// Machines of every firmware, and a device of every kind that feeds some of them.
fn scenario() -> Scenario {
    let machines = [
        ("am", "antminer"),
        ("wm", "whatsminer"),
        ("lux", "luxos"),
        ("old", "none"),
    ];
    let machines = machines.map(|(name, api)| {
        json!({"name": name, "count": 2, "hashrate_ths": 100.0, "efficiency_j_th": 30.0,
            "boot_s": 1.0, "standby_w": 15.0, "api": api})
    });
    let text = json!({"seed": 3, "site": "north", "step_s": 0.5, "interval_s": 1.0,
        "container": {"fans": 4}, "machines": machines, "devices": [
            {"kind": "shelly2", "name": "shelly2", "feeds": ["old-1", "fan-1"]},
            {"kind": "shelly1", "name": "shelly1", "feeds": ["old-2"]},
            {"kind": "tasmota", "name": "tasmota", "feeds": ["am-2", "fan-2"]},
            {"kind": "controlbyweb", "name": "cbw", "feeds": ["fan-3", "fan-4"]},
            {"kind": "modbus", "name": "coils", "feeds": ["wm-*"]}]});
    serde_json::from_value(text).unwrap()
}

/// An `[[actuator]]` for a simulated device.
fn actuator(simulator: &Simulator, kind: &str, device: &str, more: Value) -> ActuatorConfig {
    let mut sources = simulator.sources().iter();
    let address = &sources
        .find(|source| source.name == device)
        .unwrap()
        .address;
    let mut entry = json!({"kind": kind, "name": device, "address": address});
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    if entry["firmware"] == "antminer" {
        entry["web_address"] = json!(format!("http://{address}"));
        entry["user"] = json!("root");
        entry["secret_env"] = json!("PATH");
    }
    serde_json::from_value(entry).unwrap()
}

/// Seconds that a device may take where none has a fault: more than any does on a busy machine.
const HEALTHY_TIMEOUT_S: f64 = 60.0;
/// Seconds where some have: they are waited for.
const FAULTY_TIMEOUT_S: f64 = 3.0;
/// Seconds for one that is slow, and yet within its time.
const SLUGGISH_TIMEOUT_S: f64 = 30.0;

fn plant(simulator: &Simulator, timeout_s: f64) -> Vec<ActuatorConfig> {
    let mut entries = controls(simulator);
    for entry in &mut entries {
        let is_sluggish = entry.name == "wm-2" && timeout_s < SLUGGISH_TIMEOUT_S;
        entry.timeout_s = Some(if is_sluggish {
            SLUGGISH_TIMEOUT_S
        } else {
            timeout_s
        });
    }
    entries
}

fn controls(simulator: &Simulator) -> Vec<ActuatorConfig> {
    let fan = |channel: &str, fan: u8| json!({"channel": channel, "fan": fan});
    let machine = |channel: &str, name: &str| json!({"channel": channel, "machine": name});
    let mut entries: Vec<ActuatorConfig> =
        [("am", "antminer"), ("wm", "whatsminer"), ("lux", "luxos")]
            .into_iter()
            .flat_map(|(name, firmware)| [1, 2].map(|n| (format!("{name}-{n}"), firmware)))
            .map(|(name, firmware)| {
                actuator(simulator, "asic", &name, json!({"firmware": firmware}))
            })
            .collect();
    let two = json!({"controls": [machine("0", "old-1"), {"channel": "1", "fan": 1,
        "dead_man": {"after_s": 64, "rests_on": true}}]});
    entries.push(actuator(simulator, "shelly", "shelly2", two));
    let one = json!({"generation": 1, "controls": [machine("0", "old-2")]});
    entries.push(actuator(simulator, "shelly", "shelly1", one));
    let tasmota = json!({"controls": [machine("1", "am-2"), {"channel": "2", "fan": 2,
        "dead_man": {"after_s": 64, "rests_on": true}}]});
    entries.push(actuator(simulator, "tasmota", "tasmota", tasmota));
    let cbw = json!({"controls": [fan("1", 3), fan("2", 4)]});
    entries.push(actuator(simulator, "controlbyweb", "cbw", cbw));
    let coils = json!({"controls": [{"channel": "0", "feeder": "wm"}]});
    entries.push(actuator(simulator, "modbus", "coils", coils));
    entries
}

async fn start() -> (Simulator, Dispatcher) {
    start_with(HEALTHY_TIMEOUT_S).await
}

async fn start_with(timeout_s: f64) -> (Simulator, Dispatcher) {
    let simulator = Simulator::start(scenario(), SPEED).await.unwrap();
    let exchange = Exchange::new().unwrap();
    let dispatcher =
        Dispatcher::new(&plant(&simulator, timeout_s), exchange, clock(SPEED)).unwrap();
    until("every machine hashes", || async {
        let state = simulator.state();
        state
            .machines
            .iter()
            .all(|machine| machine.hashrate_hs > 0.0)
    })
    .await;
    (simulator, dispatcher)
}

fn command(id: u64, target: Target, action: Action, path: Path) -> Command {
    Command {
        id,
        decision: 1,
        target,
        action,
        path,
        at: now(),
    }
}

fn machine(name: &str) -> Target {
    Target::Machine(name.to_owned())
}

fn watts(simulator: &Simulator, name: &str) -> f64 {
    let state = simulator.state();
    let found = state.machines.iter().find(|machine| machine.name == name);
    found.unwrap().power_w
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_sleep_and_wake_by_their_own_api() {
    let (simulator, dispatcher) = start().await;
    for (index, name) in ["am-1", "wm-1", "lux-1"].into_iter().enumerate() {
        let id = 10 * index as u64;
        let off = command(id + 1, machine(name), Action::Off, Path::Device);
        let report = dispatcher.apply(&off).await;
        assert_eq!(report.progress, Progress::Acknowledged, "{name}");
        until("it draws its standby power", || async {
            watts(&simulator, name) == 15.0
        })
        .await;
        let found = dispatcher
            .read_back(&machine(name), Path::Device)
            .await
            .unwrap();
        assert_eq!(found.is_on, Some(false), "{name}");
        // Once more changes nothing.
        let again = command(id + 2, machine(name), Action::Off, Path::Device);
        assert_eq!(
            dispatcher.apply(&again).await.progress,
            Progress::Acknowledged
        );
        let on = command(id + 3, machine(name), Action::On, Path::Device);
        assert_eq!(dispatcher.apply(&on).await.progress, Progress::Acknowledged);
        until("it hashes", || async { watts(&simulator, name) > 2_000.0 }).await;
    }
    let limit = command(90, machine("am-1"), Action::LimitWatts(1_000), Path::Device);
    let report = dispatcher.apply(&limit).await;
    assert!(matches!(report.progress, Progress::Failed(reason) if reason.contains("no command")));
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_work_in_low_power_by_their_own_api() {
    let (simulator, dispatcher) = start().await;
    let (low, normal) = (PowerMode::Low, PowerMode::Normal);
    for (index, name) in ["am-1", "wm-1"].into_iter().enumerate() {
        let id = 10 * index as u64;
        let order = command(id + 1, machine(name), Action::Mode(low), Path::Device);
        let report = dispatcher.apply(&order).await;
        assert_eq!(report.progress, Progress::Acknowledged, "{name}");
        until("it draws 70 % of its 3 kW", || async {
            (1_950.0..2_250.0).contains(&watts(&simulator, name))
        })
        .await;
        let found = dispatcher.read_back(&machine(name), Path::Device).await;
        assert_eq!(found.unwrap().is_on, Some(true), "{name}");
        let order = command(id + 2, machine(name), Action::Mode(normal), Path::Device);
        let report = dispatcher.apply(&order).await;
        assert_eq!(report.progress, Progress::Acknowledged, "{name}");
        until("it draws all of it", || async {
            watts(&simulator, name) > 2_750.0
        })
        .await;
    }
    let order = command(90, machine("lux-1"), Action::Mode(low), Path::Device);
    let report = dispatcher.apply(&order).await;
    assert!(matches!(report.progress, Progress::Failed(reason) if reason.contains("no command")));
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_cut_what_they_feed_and_read_back_what_was_written() {
    let (simulator, dispatcher) = start().await;
    for (index, (name, target, path)) in [
        ("old-1", machine("old-1"), Path::Outlet),
        ("old-2", machine("old-2"), Path::Outlet),
        ("am-2", machine("am-2"), Path::Outlet),
        ("wm-2", Target::Feeder("wm".to_owned()), Path::Feeder),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 10 * index as u64;
        let off = command(id + 1, target.clone(), Action::Off, path);
        assert_eq!(
            dispatcher.apply(&off).await.progress,
            Progress::Verified,
            "{name}"
        );
        until("it draws nothing", || async {
            watts(&simulator, name) == 0.0
        })
        .await;
        let found = dispatcher.read_back(&target, path).await.unwrap();
        assert_eq!(found.is_on, Some(false), "{name}");
        let on = command(id + 2, target, Action::On, path);
        assert_eq!(
            dispatcher.apply(&on).await.progress,
            Progress::Verified,
            "{name}"
        );
        until("it hashes", || async { watts(&simulator, name) > 2_000.0 }).await;
    }
    assert_eq!(simulator.state().fans_on, 4);
    for fan in [3, 4] {
        let off = command(
            100 + u64::from(fan),
            Target::Fan(fan),
            Action::Off,
            Path::Device,
        );
        assert_eq!(dispatcher.apply(&off).await.progress, Progress::Verified);
    }
    until("two fans run", || async { simulator.state().fans_on == 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_returns_to_on_when_nobody_refreshes_its_timer() {
    let (simulator, dispatcher) = start().await;
    for fan in [1, 2] {
        let off = command(u64::from(fan), Target::Fan(fan), Action::Off, Path::Device);
        assert_eq!(dispatcher.apply(&off).await.progress, Progress::Verified);
    }
    until("two fans stand", || async {
        simulator.state().fans_on == 2
    })
    .await;
    // Twice the timer of 64 s, eight of our seconds.
    let start_s = simulator.state().elapsed_s;
    until("two timers", || async {
        assert_eq!(dispatcher.refresh().await, []);
        let state = simulator.state();
        assert_eq!(state.fans_on, 2, "{}", state.elapsed_s - start_s);
        state.elapsed_s > start_s + 128.0
    })
    .await;
    until("all fans run again", || async {
        simulator.state().fans_on == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_lie_refuse_or_are_dead_are_failures_with_a_reason() {
    let (simulator, dispatcher) = start_with(FAULTY_TIMEOUT_S).await;
    for (device, fault) in [
        ("shelly2", FaultKind::Ignoring),
        ("shelly1", FaultKind::Dead),
        ("cbw", FaultKind::Refusing),
        ("coils", FaultKind::Error500),
        ("tasmota", FaultKind::Malformed),
        ("wm-1", FaultKind::Refusing),
        ("am-1", FaultKind::Dead),
        ("lux-1", FaultKind::Slow),
        ("wm-2", FaultKind::Sluggish),
        ("am-2", FaultKind::Ignoring),
    ] {
        simulator.set_fault(device, Some(fault));
    }
    let (reports, mut received) = mpsc::channel(100);
    let mut tasks = JoinSet::new();
    let commands = [
        (machine("old-1"), Path::Outlet),
        (machine("old-2"), Path::Outlet),
        (Target::Fan(3), Path::Device),
        (Target::Feeder("wm".to_owned()), Path::Feeder),
        (Target::Fan(2), Path::Device),
        (machine("wm-1"), Path::Device),
        (machine("am-1"), Path::Device),
        (machine("lux-1"), Path::Device),
        (machine("wm-2"), Path::Device),
        (machine("am-2"), Path::Device),
    ];
    let commands = commands.into_iter().zip(1..);
    let commands = commands.map(|((target, path), id)| command(id, target, Action::Off, path));
    dispatcher.start(commands.collect(), &reports, &mut tasks);
    drop(reports);
    let mut last = std::collections::BTreeMap::new();
    while let Some(report) = received.recv().await {
        last.insert(report.command, report.progress);
    }
    let reason = |id: u64| match &last[&id] {
        Progress::Failed(reason) => reason.clone(),
        other => panic!("{id}: {other:?}"),
    };
    assert!(reason(1).contains("still on"), "{}", reason(1));
    for (id, part) in [(3, "403"), (4, "refuses"), (6, "says no"), (8, "3s")] {
        assert!(reason(id).contains(part), "{id}: {}", reason(id));
    }
    for id in [2, 5, 7] {
        reason(id);
    }
    // Slow, but within its time; and one that says yes and does nothing, which only meters show.
    assert_eq!(last[&9], Progress::Acknowledged);
    assert!(watts(&simulator, "am-2") > 2_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_command_ends_an_older_one_that_is_still_tried() {
    let (simulator, dispatcher) = start_with(FAULTY_TIMEOUT_S).await;
    simulator.set_fault("shelly1", Some(FaultKind::Dead));
    let (reports, mut received) = mpsc::channel(100);
    let mut tasks = JoinSet::new();
    let off = command(1, machine("old-2"), Action::Off, Path::Outlet);
    dispatcher.start(vec![off], &reports, &mut tasks);
    assert_eq!(received.recv().await.unwrap().progress, Progress::Sent);
    simulator.set_fault("shelly1", None);
    let on = command(2, machine("old-2"), Action::On, Path::Outlet);
    dispatcher.start(vec![on], &reports, &mut tasks);
    let mut last = std::collections::BTreeMap::new();
    while last.len() < 2 {
        let report = received.recv().await.unwrap();
        if report.progress != Progress::Sent {
            last.insert(report.command, report.progress);
        }
    }
    assert_eq!(last[&2], Progress::Verified);
    assert!(
        matches!(last[&1], Progress::Superseded(2) | Progress::Verified),
        "{:?}",
        last[&1]
    );
    until("it hashes", || async {
        watts(&simulator, "old-2") > 2_000.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_names_the_actuators_that_switch_it() {
    let simulator = Simulator::start(scenario(), SPEED).await.unwrap();
    let entries = simulator.actuators().iter();
    let entries: Vec<ActuatorConfig> = entries
        .map(|entry| serde_json::from_value(entry.clone()).unwrap())
        .collect();
    assert_eq!(headframe_site::actuate::faults(&entries, false), []);
    // Six machines with an API, and five devices with relays.
    assert_eq!(entries.len(), 11);
    let relays = entries.iter().map(|entry| entry.controls.len());
    assert_eq!(relays.sum::<usize>(), 8);
}

#[test]
fn entries_that_cannot_work_are_refused_by_name() {
    let entry = |more: Value| {
        let mut entry = json!({"kind": "shelly", "name": "a", "address": "http://10.0.0.1",
            "controls": [{"channel": "0", "fan": 1}]});
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        serde_json::from_value::<ActuatorConfig>(entry).unwrap()
    };
    entry(json!({})).validate().unwrap();
    let closed = json!([{"channel": "1", "fan": 1, "dead_man": {"after_s": 60, "rests_on": true}}]);
    for (more, named) in [
        (json!({"kind": "toaster"}), "toaster"),
        (json!({"address": "10.0.0.1"}), "address"),
        (json!({"address": "http://u:p@10.0.0.1"}), "login"),
        (json!({"timeout_s": 0}), "timeout_s"),
        (json!({"generation": 3}), "generation"),
        (json!({"volume": 11}), "volume"),
        (json!({"controls": [{"fan": 1}]}), "channel"),
        (json!({"controls": [{"channel": "0"}]}), "exactly one"),
        (
            json!({"controls": [{"channel": "0", "fan": 10}]}),
            "exactly one",
        ),
        (
            json!({"controls": [{"channel": "99", "fan": 1}]}),
            "channel",
        ),
        (
            json!({"kind": "controlbyweb", "address": "10.0.0.1", "controls": closed}),
            "inverted",
        ),
        (
            json!({"kind": "foreman", "address": "http://foreman.mn"}),
            "https",
        ),
        (json!({"kind": "asic", "address": "10.0.0.1"}), "firmware"),
    ] {
        let error = entry(more.clone()).validate().unwrap_err().to_string();
        assert!(error.contains(named), "{more}: {error}");
    }
    let twice = [entry(json!({})), entry(json!({"name": "b"}))];
    let faults = headframe_site::actuate::faults(&twice, false);
    assert!(faults[0].to_string().contains("same way"), "{faults:?}");
}
