//! Devices that want a password by digest.

use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_ingest::source::{Reading, SourceConfig};
use serde_json::json;

use super::collected::{Polled, secret};

/// A source of the simulator's, whose password stands in a file.
fn with_file(source: &SourceConfig, file: std::path::PathBuf) -> SourceConfig {
    SourceConfig {
        secret_env: None,
        secret_file: Some(file),
        timeout_s: 2.0,
        stale_after_s: Some(3.0),
        ..source.clone()
    }
}

#[tokio::test]
async fn an_iotawatt_with_a_password_is_read_by_digest_and_with_another_one_it_is_failed() {
    let devices = ["iotawatt", "iotawatt_query"]
        .map(|kind| json!({"kind": kind, "name": kind, "password": "wet"}));
    let scenario = json!({"seed": 1, "site": "north", "step_s": 1.0, "interval_s": 0.1,
        "container": {"initial_c": 26.0, "fan_w_k": 5000.0}, "devices": devices,
        "machines": [{"name": "m", "count": 2, "hashrate_ths": 100.0, "efficiency_j_th": 30.0,
            "boot_s": 1.0, "api": "none"}]});
    let scenario: Scenario = serde_json::from_value(scenario).unwrap();
    let simulator = Simulator::start(scenario, 1.0).await.unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let files = [("wet", 0), ("dry", 1)].map(|(text, at)| secret(folders[at].path(), text));
    for source in simulator.sources() {
        assert_eq!(source.user.as_deref(), Some("admin"));
        let mut polled = Polled::start(with_file(source, files[0].clone()));
        let (readings, _) = polled.readings().await;
        let is_power = |one: &Reading| matches!(one, Reading::Power { part, .. } if part == "main");
        assert!(readings.iter().any(is_power), "{readings:?}");
        let mut wrong = Polled::start(with_file(source, files[1].clone()));
        let row = wrong.state("failed").await;
        assert!(row.reason.is_some_and(|reason| reason.contains("HTTP 401")));
    }
    // Without its password it says nothing at all.
    let nobody = SourceConfig {
        user: None,
        secret_env: None,
        ..simulator.sources()[0].clone()
    };
    Polled::start(nobody).state("failed").await;
}
