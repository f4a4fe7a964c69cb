//! The configuration that follows from a scenario: what the simulator serves is controlled, all of
//! it.

use std::collections::BTreeSet;
use std::path::Path;

use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_site::command::Target;
use headframe_site::simulated_site::site_config;
use serde_json::json;

async fn assert_controls(
    scenario: &Scenario,
    fans: usize,
    feeders: &[&str],
    uncontrolled: &[&str],
) {
    let simulator = Simulator::start(scenario.clone(), 1.0).await.unwrap();
    let config = site_config(scenario, &simulator).unwrap();
    let site = config.check(false).unwrap();
    let targets: BTreeSet<Target> = config
        .actuator
        .iter()
        .flat_map(|one| one.targets())
        .collect();
    let machine = |name: &str| Target::Machine(name.to_owned());
    let left: Vec<&str> = site
        .plan
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .filter(|name| !targets.contains(&machine(name)))
        .collect();
    assert_eq!(left, uncontrolled);
    let is_fan = |target: &&Target| matches!(target, Target::Fan(_));
    assert_eq!(targets.iter().filter(is_fan).count(), fans);
    let named: Vec<&str> = site
        .plan
        .feeders
        .iter()
        .map(|feeder| feeder.name.as_str())
        .collect();
    assert_eq!(named, feeders);
    assert!(site.plan.has_site_meter && config.readings.temperature.len() == 1);
    let text = toml::to_string(&toml::Value::try_from(&config).unwrap()).unwrap();
    let read: headframe_site::config::SiteConfig = toml::from_str(&text).unwrap();
    assert_eq!(read.plan, config.plan, "a file of it says the same");
}

fn scenario_of(name: &str) -> Scenario {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/scenarios");
    toml::from_str(&std::fs::read_to_string(root.join(name)).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_scenario_serves_is_controlled() {
    assert_controls(&scenario_of("demo.toml"), 2, &[], &[]).await;
    // Its API is dead, and nothing feeds it.
    assert_controls(&scenario_of("container.toml"), 0, &[], &["old-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_feed_many_machines_are_feeders_and_meters_speak_for_silent_machines() {
    let text = json!({"seed": 1, "site": "north",
        "machines": [{"name": "s9", "count": 2, "hashrate_ths": 14.0, "efficiency_j_th": 95.0,
            "api": "none"}, {"name": "m50", "count": 1, "hashrate_ths": 118.0,
            "efficiency_j_th": 27.0, "api": "whatsminer"}],
        "devices": [{"kind": "iotawatt", "name": "main"}, {"kind": "roomalert_flat", "name": "air"},
            {"kind": "tasmota", "name": "plug", "measures": "s9-1", "feeds": ["s9-1"]},
            {"kind": "controlbyweb", "name": "board", "feeds": ["fan-1", "s9-*"]}]});
    let scenario: Scenario = serde_json::from_value(text).unwrap();
    assert_controls(&scenario, 1, &["s9"], &["s9-2"]).await;
    let simulator = Simulator::start(scenario.clone(), 1.0).await.unwrap();
    let config = site_config(&scenario, &simulator).unwrap();
    let readings = &config.readings;
    assert_eq!(readings.site_meter.as_deref(), Some("main/main"));
    assert_eq!(
        readings.machine.get("s9-1").map(String::as_str),
        Some("plug")
    );
    let feeders: Vec<Option<&str>> = config
        .plan
        .machines
        .iter()
        .map(|one| one.feeder.as_deref())
        .collect();
    assert_eq!(feeders, [Some("s9"), Some("s9"), None]);
    let outlets: Vec<bool> = config
        .plan
        .machines
        .iter()
        .map(|one| one.has_outlet)
        .collect();
    assert_eq!(outlets, [true, false, false]);
    assert_eq!(
        readings.feeder[0].contactor.as_deref(),
        Some("board/relay2")
    );
}
