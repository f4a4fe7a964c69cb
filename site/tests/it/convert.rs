//! The old configuration file, through the program itself.

use std::process::Command;

use headframe_ingest::simulator::{Scenario, Simulator};
use serde_json::{Value, json};

use crate::fixture::until;
use crate::process::{Process, free_port};
use crate::service::{TOKEN, write_secret};

const OLD: &str = "[APIS]\nroomalert_ip = 192.168.1.100\niotawatt_ip = 192.168.1.101\n";

#[test]
fn an_iotawatt_becomes_the_meter_of_the_site_when_one_line_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.txt");
    let convert = |old: &str| {
        std::fs::write(&file, old).unwrap();
        let ran = Command::new(env!("CARGO_BIN_EXE_headframe-site"))
            .arg("convert")
            .arg(&file)
            .arg("--secrets")
            .arg(folder.path().join("secrets"))
            .output()
            .unwrap();
        let errors = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success(), "{errors}");
        (String::from_utf8(ran.stdout).unwrap(), errors)
    };
    let (printed, warnings) = convert(OLD);
    assert!(warnings.contains("[APIS] iotawatt_ip"), "{warnings}");
    let read = |text: &str| -> Value { toml::from_str(text).unwrap() };
    assert_eq!(read(&printed)["readings"]["site_meter"], Value::Null);
    let used = printed.replace("# site_meter", "site_meter");
    assert_eq!(
        read(&used)["readings"]["site_meter"],
        "iotawatt/input-1",
        "{printed}"
    );
    let sensor = "roomalert/Internal Sensor";
    assert_eq!(read(&used)["readings"]["humidity"][0], sensor);
    assert_eq!(read(&used)["plan"]["container_sensors"][0], sensor);
    let (printed, _) = convert("[APIS]\nroomalert_ip = 192.168.1.100\n");
    assert!(!printed.contains("site_meter"), "{printed}");
}

/// A cold container with nine fans at a board, and its thermometer.
fn cold_container() -> Scenario {
    let fans: Vec<String> = (1..=9).map(|fan| format!("fan-{fan}")).collect();
    let text = json!({"seed": 3, "site": "old", "step_s": 0.5, "interval_s": 1.0,
        "weather": {"mean_c": 2.0, "swing_c": 0.0},
        "container": {"fans": 9, "initial_c": 4.0},
        "devices": [{"kind": "roomalert", "name": "room"},
            {"kind": "controlbyweb", "name": "board", "feeds": fans}]});
    serde_json::from_value(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_file_is_run_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(cold_container(), 1.0).await.unwrap();
    let address = |name: &str| {
        let mut sources = simulator.sources().iter();
        let address = &sources.find(|source| source.name == name).unwrap().address;
        address.trim_start_matches("http://").to_owned()
    };
    let (old, add) = (
        folder.path().join("config.txt"),
        folder.path().join("add.toml"),
    );
    let text = format!(
        "# Bitcoin mine\n[GENERAL]\nloop_interval_minutes = 1\nmax_temp_celsius = 33\n[APIS]\n\
         roomalert_ip = {}\nfan_relay_ip = {}\n",
        address("room"),
        address("board")
    );
    std::fs::write(&old, text).unwrap();
    // What the file does not know; without it the controller runs as well, at its usual port.
    let (port, data) = (free_port(), folder.path().join("data"));
    let token = folder.path().join("token");
    write_secret(&token, TOKEN);
    let more = format!(
        "data_dir = {data:?}\nlisten = \"127.0.0.1:{port}\"\nstep_s = 0.5\n\
         token_file = {token:?}\n\
         [policy.fans]\nmin_on_s = 0\nmin_off_s = 0\nstage_hold_s = 0\nstagger_s = 0\n"
    );
    std::fs::write(&add, more).unwrap();
    let add = add.to_str().unwrap();
    until("every fan runs", || async {
        simulator.state().fans_on == 9
    })
    .await;
    let process = Process::start_as(&old, port, &["--add", add], &[]);
    until("the fans of a cold container stand", || async {
        simulator.state().fans_on == 0
    })
    .await;
    let policy = process.get("/api/v1/site/policy").await;
    let policy = &policy["policy"];
    let found = (&policy["thermal"]["hot_c"], &policy["health"]["loop_s"]);
    assert_eq!(found, (&json!(33.0), &json!(60)));
}
