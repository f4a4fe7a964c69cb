//! A whole site of 290 machines on a small machine: what the controller takes of its memory.

use std::path::Path;
use std::time::{Duration, Instant};

use headframe_ingest::NatsConfig;
use headframe_ingest::simulator::{Scenario, Simulator};
use serde_json::{Value, json};

use crate::process::{Process, free_port, say, write_config};
use crate::service::{TOKEN, nats_server, write_secret};

/// What the systemd unit gives it.
const MOST_MIB: u64 = 150;
/// Between a curtailment and its end, where it runs for minutes.
const TURN: Duration = Duration::from_secs(60);

fn scenario() -> Scenario {
    let machines = |name: &str, count: usize, api: &str, efficiency: f64| {
        json!({"name": name, "count": count, "hashrate_ths": 120.0, "boot_s": 1.0,
            "efficiency_j_th": efficiency, "api": api})
    };
    let text = json!({"seed": 1, "site": "north", "step_s": 1.0, "interval_s": 2.0,
        "weather": {"mean_c": 5.0, "swing_c": 0.0},
        "container": {"fans": 9, "initial_c": 15.0, "heat_capacity_j_k": 1e8},
        "machines": [machines("m50", 145, "whatsminer", 26.0),
            machines("s21", 145, "luxos", 18.0)],
        "devices": [
            {"kind": "shelly2", "name": "main", "measures": "site"},
            {"kind": "roomalert", "name": "room"},
            {"kind": "controlbyweb", "name": "relays", "feeds":
                (1..=9).map(|fan| format!("fan-{fan}")).collect::<Vec<_>>()}]});
    serde_json::from_value(text).unwrap()
}

fn site_config(simulator: &Simulator, folder: &Path, nats: NatsConfig, port: u16) -> Value {
    let scenario = scenario();
    let machines = scenario.machine_names().map(|(name, group)| {
        json!({"name": name, "hashrate_ths": 120.0, "efficiency_j_th": group.efficiency_j_th,
            "power_w": 120.0 * group.efficiency_j_th, "standby_w": 15.0, "boot_s": 1})
    });
    json!({"data_dir": folder.join("data"), "listen": format!("127.0.0.1:{port}"),
        "step_s": 0.5,
        "token_file": folder.join("token"), "nats": nats,
        "plan": {"name": "north", "design_kw": 800.0, "machines": machines.collect::<Vec<_>>(),
            "fans": vec![json!({"watts": 1_100.0}); 9],
            "container_sensors": ["room/Internal Sensor"]},
        "readings": {"site_meter": "main",
            "temperature": [{"reading": "room/Internal Sensor", "kind": "container"}]},
        "source": simulator.sources(), "actuator": simulator.actuators(),
        "signal": [{"kind": "file", "name": "utility", "class": "mandatory",
            "path": folder.join("signal.json"), "max_age_s": 100_000, "interval_s": 1.0}],
        "policy": {
            "power": {"restart_delay_s": 0, "restart_jitter_s": 0, "min_off_s": 1,
                "release_stable_s": 1},
            "signals": {"debounce_s": 1},
            "restore": {"ramp_pct_per_min": 100.0, "group_pct": 50.0, "group_every_s": 1}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_290_machines_fits_in_the_memory_of_its_unit() {
    let length = std::env::var("SITE_MEMORY_S").map_or(0, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let simulator = Simulator::start(scenario(), 1.0).await.unwrap();
    let port = free_port();
    let config = site_config(&simulator, folder.path(), server.client_config(), port);
    write_secret(&folder.path().join("token"), TOKEN);
    let signal = folder.path().join("signal.json");
    say(&signal, "normal", 400.0);
    let process = Process::start(&write_config(folder.path(), config), port);
    let begun = Instant::now();
    process.until_state("running").await;
    let mut turns = 0;
    loop {
        say(&signal, "curtail", 400.0);
        process.until_state("curtailed").await;
        turns += 1;
        println!(
            "{} s, {turns} curtailments: {} MiB resident, {} MiB at most",
            begun.elapsed().as_secs(),
            process.memory_mib("VmRSS"),
            process.memory_mib("VmHWM")
        );
        if begun.elapsed() + TURN > Duration::from_secs(length) {
            break;
        }
        say(&signal, "normal", 400.0);
        process.until_state("running").await;
        let next = begun + turns * TURN;
        process
            .until("the next turn", |_| Instant::now() >= next)
            .await;
    }
    let most = process.memory_mib("VmHWM");
    assert!(most < MOST_MIB, "{most} MiB");
}
