//! Fans: their watts are lost, they draw none, and relays that do not follow.

use headframe_ingest::simulator::{FaultKind, Simulator};
use serde_json::{Value, json};

use super::{
    Bench, ages, assert_at_age, assert_decided, assert_facts, commands, newest, now_ms, raises, s,
};
use crate::service::nats_server;

/// Four meters of fans, and a fuse before each fan, which the controller does not know.
fn more() -> Value {
    let meter = |fan: u8| {
        let (name, measures) = (format!("watts-{fan}"), format!("fan-{fan}"));
        json!({"kind": "iotawatt", "name": name, "measures": measures})
    };
    let fuses = json!({"kind": "shelly2", "name": "fuses",
        "feeds": ["fan-1", "fan-2", "fan-3", "fan-4"]});
    (1..=4).map(meter).chain([fuses]).collect()
}

fn change(config: &mut Value) {
    for fan in 1..=4 {
        config["plan"]["fans"][fan - 1]["is_metered"] = json!(true);
        config["readings"]["fan"][fan - 1]["power"] = json!(format!("watts-{fan}/main"));
    }
    config["policy"]["fans"]["fault_after_s"] = json!(2);
    config["policy"]["fans"]["feed_forward_fans"] = json!(2);
}

/// Blows a fuse, or puts it back.
async fn fuse(simulator: &Simulator, fan: u64, is_on: bool) {
    let mut sources = simulator.sources().iter();
    let fuses = &sources.find(|one| one.name == "fuses").unwrap().address;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let path = format!("{fuses}/rpc/Switch.Set?id={}&on={is_on}", fan - 1);
    assert!(client.get(path).send().await.unwrap().status().is_success());
}

fn fans_on(site: &Value) -> Vec<u64> {
    let all = site["fan_list"].as_array().into_iter().flatten();
    let on = all.filter(|fan| fan["is_on"] == true && fan["is_faulty"] == false);
    on.filter_map(|fan| fan["fan"].as_u64()).collect()
}

fn watts_read(observation: &Value) -> Option<u64> {
    let fans = observation["fans"].as_array()?.iter();
    newest(fans.filter(|one| one["watts"].is_number()))
}

/// Since when a fan has drawn nothing, as its readings said until a step.
fn low_since(entries: &[Value], fan: u64) -> Option<u64> {
    let mut since = None;
    for reading in entries
        .iter()
        .flat_map(|entry| entry["observation"]["fans"].as_array())
    {
        for one in reading.iter().filter(|one| one["fan"] == fan) {
            let Some(watts) = one["watts"].as_f64() else {
                continue;
            };
            let at = one["at"]["elapsed_ms"].as_u64();
            since = since.or(at).filter(|_| watts < 400.0);
        }
    }
    since
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_watts_add_a_fan_dead_ones_are_replaced_and_cap_the_site_and_deaf_relays_are_said() {
    tokio::join!(Box::pin(without_watts()), Box::pin(deaf_relay()));
}

/// Watts of all fans are lost, then fans draw none.
async fn without_watts() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(more(), 4.0, Some(nats.clone()), change).await;
    let steady = |site: &Value| fans_on(site).len() == 2 && site["fans_wanted"] == 2;
    bench.process.until("two fans", steady).await;
    for fan in 1..=4 {
        bench
            .simulator
            .set_fault(&format!("watts-{fan}"), Some(FaultKind::Dead));
    }
    bench
        .process
        .until("one fan more", |site| site["fans_wanted"] == 3)
        .await;
    let entries = bench.process.journal().await;
    let age = ages(&entries, watts_read);
    assert_at_age(&entries, &age, s(6), |entry| {
        raises(entry, "fans/unverified")
    });
    bench.pager.until("fans/unverified").await;
    for fan in 1..=4 {
        bench.simulator.set_fault(&format!("watts-{fan}"), None);
    }
    bench.process.until("two fans again", steady).await;

    // One that is on and draws nothing is said within the time, and another runs for it.
    let first = fans_on(&bench.process.site().await)[0];
    fuse(&bench.simulator, first, false).await;
    let replaced = |site: &Value| fans_on(site).len() == 2 && !fans_on(site).contains(&first);
    bench.process.until("another fan", replaced).await;
    let entries = bench.process.journal().await;
    let topic = format!("fan/{first}/fault");
    let at = entries
        .iter()
        .position(|entry| raises(entry, &topic))
        .unwrap();
    let since = low_since(&entries[..at], first).unwrap();
    assert!(now_ms(&entries[at]) >= since + s(2), "{since}");
    assert!(now_ms(&entries[at - 1]) < since + s(2), "{since}");
    bench.pager.until(&topic).await;

    // Three cap the site at 70 per cent of its design.
    for fan in 1..=4 {
        fuse(&bench.simulator, fan, false).await;
    }
    let capped = |site: &Value| site["winner"]["source"] == "fans" && site["state"] == "curtailed";
    bench.process.until("the cap of faulty fans", capped).await;
    let site = bench.process.site().await;
    let target = site["target_kw"].as_f64().unwrap();
    assert!((target - 0.7 * 24.0).abs() < 0.001, "{site}");
    assert_facts(&bench, &nats, &["fans/unverified", &topic]).await;
    assert_decided(&nats, "fans").await;
}

/// A relay says yes and does nothing: it is written again after 1, 2 and 4 seconds, and said.
async fn deaf_relay() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(json!([]), 4.0, Some(nats.clone()), |_| {}).await;
    let settled =
        |site: &Value| fans_on(site).len() < 4 && site["fans_wanted"] == fans_on(site).len();
    bench.process.until("fans stand", settled).await;
    let on = fans_on(&bench.process.site().await);
    bench
        .simulator
        .set_fault("relays", Some(FaultKind::Ignoring));
    bench.simulator.set_fault("room", Some(FaultKind::Dead));
    let is_deaf = |site: &Value| {
        let alarms = site["alarms"].as_object().unwrap();
        alarms
            .keys()
            .any(|topic| topic.starts_with("fan/") && topic.ends_with("/relay"))
    };
    bench
        .process
        .until("the relay does not follow", is_deaf)
        .await;
    let entries = bench.process.journal().await;
    let deaf = |fan: u64, entry: &Value| raises(entry, &format!("fan/{fan}/relay"));
    let fan = (1..=4)
        .find(|fan| entries.iter().any(|entry| deaf(*fan, entry)))
        .unwrap();
    assert!(!on.contains(&fan), "{fan} {on:?}");
    let writes: Vec<u64> = entries
        .iter()
        .filter(|entry| {
            commands(entry)
                .iter()
                .any(|one| one.0["fan"] == fan && one.1 == "on")
        })
        .map(now_ms)
        .collect();
    let said = entries.iter().position(|entry| deaf(fan, entry)).unwrap();
    let last = writes
        .iter()
        .rev()
        .take(4)
        .rev()
        .copied()
        .collect::<Vec<_>>();
    for (pair, least) in last.windows(2).zip([1, 2, 4]) {
        assert!(pair[1] - pair[0] >= s(least), "{last:?}");
    }
    assert!(now_ms(&entries[said]) > last[3], "{last:?}");
    let topic = format!("fan/{fan}/relay");
    bench.pager.until(&topic).await;
    assert_facts(&bench, &nats, &[&topic]).await;
}
