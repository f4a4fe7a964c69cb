//! Machines that do not obey: Foreman away, their own interface, and outlets without a read-back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use headframe_ingest::simulator::FaultKind;
use headframe_ingest::{Nats, NatsConfig};
use serde_json::{Value, json};

use super::{Bench, assert_decided, assert_facts, commands, now_ms, raises, s};
use crate::fixture::serve;
use crate::service::{nats_server, rows};

/// Foreman, which answers 503 to everything, and how often it was asked.
async fn foreman() -> (Arc<AtomicUsize>, String) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    (requests, serve(Router::new().fallback(any(answer))).await)
}

/// The ways on which each machine was told to stop, with the times.
fn ways(entries: &[Value]) -> BTreeMap<String, Vec<(String, u64)>> {
    let mut ways: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for entry in entries {
        for (target, action, path) in commands(entry) {
            let Some(machine) = target["machine"].as_str().filter(|_| action == "off") else {
                continue;
            };
            let own = ways.entry(machine.to_owned()).or_default();
            own.push((path, now_ms(entry)));
        }
    }
    ways
}

fn paths(ways: &[(String, u64)]) -> Vec<&str> {
    ways.iter().map(|(path, _)| path.as_str()).collect()
}

/// These ways were taken, and the last of them again where the proof was late.
fn assert_paths(ways: &[(String, u64)], wanted: [&str; 3]) {
    let paths = paths(ways);
    assert!(paths.starts_with(&wanted), "{paths:?}");
    assert!(
        paths[3..].iter().all(|path| *path == wanted[2]),
        "{paths:?}"
    );
}

/// The one machine whose first order came after those of the others.
fn newest_of(ways: &BTreeMap<String, Vec<(String, u64)>>, known: &[String]) -> String {
    let new: Vec<&String> = ways.keys().filter(|name| !known.contains(name)).collect();
    assert_eq!(new.len(), 1, "{ways:?}");
    new[0].clone()
}

/// The stream has the ways on which a machine was told to stop, and what became of each.
async fn assert_ways(nats: &NatsConfig, machine: &str) {
    let nats = Nats::connect(nats).await.unwrap();
    let rows = rows(&nats, "site_commands").await;
    let own = rows.iter().map(|row| &row.2);
    let own: Vec<&Value> = own.filter(|row| row["target"] == machine).collect();
    let has = |path: &str, state: &str| {
        let is_it = |row: &&&Value| row["path"] == path && row["state"] == state;
        assert!(own.iter().any(|row| is_it(&row)), "{path} {state}: {own:?}");
    };
    for (path, end) in [
        ("device", "escalated"),
        ("foreman", "escalated"),
        ("outlet", "verified"),
    ] {
        has(path, "queued");
        has(path, end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_foreman_machines_are_asked_directly_then_cut_and_said_when_stuck() {
    let (requests, address) = foreman().await;
    let pdu = json!([{"kind": "controlbyweb", "name": "pdu",
        "feeds": ["old-1", "old-2", "old-3", "old-4"]}]);
    let change = |config: &mut Value| {
        let names: Vec<String> = (1..=4).map(|number| format!("old-{number}")).collect();
        let control = |(at, name): (usize, &String)| {
            json!({"channel": at.to_string(),
            "machine": name})
        };
        let outlets: Vec<Value> = (1..).zip(&names).map(control).collect();
        let pdu = config["source"].as_array().unwrap().iter();
        let pdu = pdu.clone().find(|one| one["name"] == "pdu").unwrap()["address"].clone();
        let actuators = config["actuator"].as_array_mut().unwrap();
        actuators.push(
            json!({"kind": "controlbyweb", "name": "pdu", "address": pdu,
            "controls": outlets}),
        );
        actuators.push(
            json!({"kind": "foreman", "name": "foreman", "address": address,
            "token_scheme": "Token", "secret_env": "PATH", "controls": outlets}),
        );
        for machine in config["plan"]["machines"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .take(4)
        {
            machine["has_outlet"] = json!(true);
            machine["has_foreman"] = json!(true);
        }
        // A machine that was cut says nothing any more; the meter shows that it is off.
        config["policy"]["dispatch"] = json!({"proof_within_s": 2});
        // One that was stopped in a machine's place would blur the picture.
        config["policy"]["power"]["meter_noise_kw"] = json!(0.05);
    };
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(pdu, 4.0, Some(nats.clone()), change).await;
    for number in 1..=4 {
        bench
            .simulator
            .set_fault(&format!("old-{number}"), Some(FaultKind::Refusing));
    }
    // The first is refused by itself and by Foreman, and cut.
    // Two fans run, and the meter knows it.
    let kw = |site: &Value| site["measured_kw"].as_f64().unwrap();
    let steady = |site: &Value| site["fans_on"] == 2 && kw(site) < 22.9;
    bench.process.until("two fans", steady).await;
    let cap = kw(&bench.process.site().await) - 2.6;
    bench.ask("curtail", cap);
    let off = |known: usize| move |site: &Value| site["machines"]["stopped"] == known;
    bench.process.until("one is off", off(1)).await;
    let orders = ways(&bench.process.journal().await);
    let first = newest_of(&orders, &[]);
    assert_paths(&orders[&first], ["device", "foreman", "outlet"]);
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    bench.pager.until("foreman/lost").await;

    // Foreman is known to be away: the next is asked directly twice, and cut.
    bench.ask("curtail", cap - 3.0);
    bench.process.until("two are off", off(2)).await;
    let orders = ways(&bench.process.journal().await);
    let second = newest_of(&orders, std::slice::from_ref(&first));
    assert_paths(&orders[&second], ["device", "device", "outlet"]);
    assert_eq!(
        requests.load(Ordering::Relaxed),
        1,
        "it was not asked again"
    );

    // Outlets that say yes and do nothing: written again after 1, 2 and 4 seconds, then said, and
    // another machine stops in its place.
    bench.simulator.set_fault("pdu", Some(FaultKind::Ignoring));
    bench.ask("curtail", cap - 6.0);
    bench.pager.until("machines/stuck").await;
    let entries = bench.process.journal().await;
    let orders = ways(&entries);
    // By now another one may be on its way in its place.
    let is_stuck = |(name, ways): &(&String, &Vec<(String, u64)>)| {
        **name != first && **name != second && ways.len() >= 6
    };
    let (_, third) = orders.iter().find(is_stuck).unwrap();
    let wanted = ["device", "device", "outlet", "outlet", "outlet", "outlet"];
    assert_eq!(paths(third)[..6], wanted);
    let times: Vec<u64> = third[2..6].iter().map(|one| one.1).collect();
    for (pair, least) in times.windows(2).zip([1, 2, 4]) {
        assert!(pair[1] - pair[0] >= s(least), "{times:?}");
    }
    let said = entries
        .iter()
        .position(|entry| raises(entry, "machines/stuck"))
        .unwrap();
    assert!(now_ms(&entries[said]) > times[3]);
    // What obeys by itself stops in its place.
    for number in 1..=4 {
        let name = format!("old-{number}");
        bench.simulator.set_fault(&name, None);
    }
    let replaced = |site: &Value| site["machines"]["stopped"].as_u64() > Some(2);
    bench
        .process
        .until("others stop in its place", replaced)
        .await;
    assert_facts(&bench, &nats, &["foreman/lost", "machines/stuck"]).await;
    assert_decided(&nats, "utility").await;
    assert_ways(&nats, &first).await;
}
