//! What Foreman says of machines counts: one that tunes itself goes on, one in repair stays off.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use headframe_ingest::simulator::Simulator;
use serde_json::{Value, json};

use crate::fixture::{serve, until};
use crate::service::{Running, config, hashing, scenario};

/// The status of each miner, as Foreman's list has it.
type Statuses = Arc<Mutex<BTreeMap<&'static str, &'static str>>>;

async fn miners(State(statuses): State<Statuses>) -> Json<Value> {
    let statuses = statuses.lock().unwrap();
    let miners = statuses.iter();
    let miners = miners.map(|(name, status)| json!({"name": name, "status": status}));
    Json(json!({"results": miners.collect::<Vec<_>>(), "next": null}))
}

async fn foreman() -> (Statuses, String) {
    let statuses = Statuses::default();
    let all = ["old-1", "old-2", "old-3", "old-4"].map(|name| (name, "mining"));
    statuses.lock().unwrap().extend(all);
    let routes = Router::new().route("/api/v2/miners", get(miners));
    let address = serve(routes.with_state(statuses.clone())).await;
    (statuses, address)
}

fn with_foreman(simulator: &Simulator, folder: &Path, address: &str) -> Value {
    let mut config = config(simulator, folder, None);
    let state = |quantity: &str, is_so: &str| {
        let others = ["mining", "tuning", "failing", "in repair"];
        let off: Vec<&str> = others.into_iter().filter(|one| *one != is_so).collect();
        json!({"pointer": "/status", "quantity": quantity, "on": [is_so], "off": off})
    };
    let mut sources = json!(simulator.sources());
    sources.as_array_mut().unwrap().push(json!({
        "kind": "foreman", "name": "foreman", "site": "north", "address": address,
        "interval_s": 0.5, "secret_env": "PATH", "path": "/api/v2/miners", "values": [
            state("busy_state", "tuning"), state("failing_state", "failing"),
            state("out_of_use_state", "in repair")]}));
    config["source"] = sources;
    let names = ["old-1", "old-2", "old-3", "old-4"];
    let read = names.map(|name| (name.to_owned(), json!([format!("foreman/{name}")])));
    config["readings"]["condition"] = Value::Object(read.into_iter().collect());
    config
}

/// Waits until the controller says of these machines what Foreman does.
async fn until_said(running: &Running, said: &[(&str, &str)]) {
    until(&format!("it knows {said:?}"), || async {
        let path = "/api/v1/site/machines";
        let (_, all) = running.send(reqwest::Method::GET, path, Value::Null).await;
        let machines = all["machines"].as_array().unwrap();
        said.iter().all(|(name, key)| {
            let own = machines.iter().find(|one| one["name"] == *name).unwrap();
            let keys = ["is_busy", "is_failing", "is_out_of_use"];
            keys.iter().all(|one| own[one] == (one == key))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_tunes_is_not_stopped_and_one_in_repair_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let (statuses, address) = foreman().await;
    let running = Running::start(&with_foreman(&simulator, folder.path(), &address)).await;
    running.until_state("running").await;
    let set = |name, status| statuses.lock().unwrap().insert(name, status);
    set("old-1", "tuning");
    set("old-2", "failing");
    until_said(&running, &[("old-1", "is_busy"), ("old-2", "is_failing")]).await;
    running
        .ask(json!([{"level": "curtail", "cap_kw": 14.0}]))
        .await;
    running.until_state("curtailed").await;
    // Without that the first of the four would be the first to stop.
    assert_eq!(hashing(&simulator, "old-1"), 1);
    assert_eq!(hashing(&simulator, "old-2"), 0);
    set("old-1", "mining");
    set("old-2", "in repair");
    until_said(&running, &[("old-1", ""), ("old-2", "is_out_of_use")]).await;
    running.ask(json!([{"level": "normal"}])).await;
    running.until_state("running").await;
    until("the others hash", || async { hashing(&simulator, "") == 7 }).await;
    assert_eq!(hashing(&simulator, "old-2"), 0);
    set("old-2", "mining");
    until("it is back", || async { hashing(&simulator, "") == 8 }).await;
    running.stop().await;
}
