//! Temperatures: lost, stuck, jumping, in contradiction, and none at all.

use headframe_ingest::simulator::FaultKind;
use serde_json::{Value, json};

use super::{
    Bench, ages, assert_after, assert_at_age, assert_decided, assert_facts, is_capped_by, newest,
    now_ms, raises, s, tells_a_machine,
};
use crate::service::nats_server;

const SENSOR: &str = "temperature/room/Internal Sensor";

fn air_read(kind: &str, observation: &Value) -> Option<u64> {
    let all = observation["temperatures"].as_array()?.iter();
    newest(all.filter(|one| one["kind"] == kind))
}

/// All fans, then half, then nothing: the keys of the policy, in seconds instead of minutes.
fn short(config: &mut Value) {
    config["policy"]["thermal"] = json!({"half_after_s": 3, "curtail_after_s": 5});
}

/// From the step in which the sensor was lost: every fan, half of the power after three seconds,
/// nothing after five.
fn assert_staged(entries: &[Value], is_lost: &[bool]) {
    let since = assert_after(entries, is_lost, 0, |entry| {
        raises(entry, "temperature/lost")
    });
    let half = |entry: &Value| is_capped_by(entry, "temperature", 12.0);
    let held = assert_after(entries, is_lost, s(3), half);
    let power = |entry: &&Value| {
        entry["decision"]["after"]["power"]
            .as_str()
            .map(str::to_owned)
    };
    let before: Vec<_> = entries[since..held]
        .iter()
        .filter_map(|one| power(&one))
        .collect();
    assert!(
        before.iter().all(|state| state == "running"),
        "power is held: {before:?}"
    );
    assert_after(entries, is_lost, s(5), |entry| {
        is_capped_by(entry, "temperature", 0.0)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_or_unbelievable_air_starts_all_fans_halves_and_stops_and_blind_nothing_starts() {
    tokio::join!(Box::pin(lost()), Box::pin(unbelievable()));
}

/// The sensor is silent, then every temperature is.
async fn lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(json!([]), 4.0, Some(nats.clone()), short).await;
    let some = |site: &Value| site["fans_on"].as_u64() < Some(4);
    bench.process.until("fans stand", some).await;
    bench.simulator.set_fault("room", Some(FaultKind::Dead));
    bench
        .process
        .until("every fan", |site| site["fans_on"] == 4)
        .await;
    bench
        .process
        .until("nothing runs", |site| site["machines"]["stopped"] == 8)
        .await;
    assert_eq!(bench.simulator.state().fans_on, 4);
    assert_eq!(bench.hashing(), 0);
    let entries = bench.process.journal().await;
    let age = ages(&entries, |one| air_read("container", one));
    let is_lost: Vec<bool> = age.iter().map(|age| *age >= Some(s(4))).collect();
    assert_staged(&entries, &is_lost);
    let topic = format!("stale/{SENSOR}");
    assert_at_age(&entries, &age, s(4), |entry| raises(entry, &topic));
    bench.pager.until("temperature/lost").await;

    // Machines know the air as well; without them nothing is known at all, after one miss.
    for number in 1..=4 {
        bench
            .simulator
            .set_fault(&format!("new-{number}"), Some(FaultKind::Dead));
    }
    bench.pager.until("temperature/blind").await;
    let entries = bench.process.journal().await;
    let age = ages(&entries, |one| {
        air_read("container", one).max(air_read("miner_air", one))
    });
    let blind = assert_at_age(&entries, &age, s(2), |entry| {
        raises(entry, "temperature/blind")
    });
    // Nothing is started until the air is known again, and is then.
    bench.journal_until(now_ms(&entries[blind]) + s(2)).await;
    bench.simulator.set_fault("room", None);
    for number in 1..=4 {
        bench.simulator.set_fault(&format!("new-{number}"), None);
    }
    bench
        .process
        .until("machines start", |site| {
            site["machines"]["starting"].as_u64() > Some(0)
        })
        .await;
    let entries = bench.process.journal().await;
    let starts = |entry: &Value| tells_a_machine(entry, "on");
    let started = entries.iter().position(starts).unwrap();
    let known = |entry: &Value| air_read("container", &entry["observation"]).is_some();
    let again = entries[blind..].iter().position(known).unwrap() + blind;
    assert!(started >= again, "{started} {again}");
    let topics = ["temperature/lost", topic.as_str(), "temperature/blind"];
    assert_facts(&bench, &nats, &topics).await;
    assert_decided(&nats, "temperature").await;
}

/// The sensor jumps, contradicts the machines, and is stuck.
async fn unbelievable() {
    let change = |config: &mut Value| {
        config["policy"]["thermal"] = json!({"half_after_s": 3, "curtail_after_s": 600,
            "recover_s": 2, "stuck_s": 5});
    };
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(json!([]), 4.0, Some(nats.clone()), change).await;
    bench.simulator.set_fault("room", Some(FaultKind::Shifted));
    let fault = |site: &Value| {
        site["inputs"][SENSOR]["fault"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    bench
        .process
        .until("it jumped", |site| fault(site).contains("jumped by 1"))
        .await;
    bench
        .process
        .until("every fan", |site| site["fans_on"] == 4)
        .await;
    let contradicts = |site: &Value| fault(site).contains("degrees from what machines measure");
    bench.process.until("it contradicts", contradicts).await;
    bench
        .process
        .until("half", |site| site["winner"]["source"] == "temperature")
        .await;
    let entries = bench.process.journal().await;
    let topic = format!("failed/{SENSOR}");
    let failed = entries
        .iter()
        .position(|entry| raises(entry, &topic))
        .unwrap();
    let from = now_ms(&entries[failed]);
    let half = |entry: &Value| is_capped_by(entry, "temperature", 12.0);
    let halved = entries.iter().position(half).unwrap();
    assert!(now_ms(&entries[halved]) >= from + s(3));
    assert!(now_ms(&entries[halved - 1]) < from + s(3));
    bench.pager.until(&topic).await;

    bench.simulator.set_fault("room", None);
    bench
        .process
        .until("it is believed again", |site| fault(site).is_empty())
        .await;
    bench.simulator.set_fault("room", Some(FaultKind::Stuck));
    bench
        .process
        .until("it is stuck", |site| fault(site).contains("says the same"))
        .await;
    let entries = bench.process.journal().await;
    let celsius = |entry: &Value| {
        let all = entry["observation"]["temperatures"].as_array()?.iter();
        let own: Vec<&Value> = all.filter(|one| one["kind"] == "container").collect();
        let last = own.last()?;
        Some((
            last["at"]["elapsed_ms"].as_u64()?,
            last["celsius"].as_f64()?,
        ))
    };
    let read: Vec<(u64, f64)> = entries.iter().filter_map(celsius).collect();
    let last = read.last().unwrap();
    let same = read
        .iter()
        .rev()
        .take_while(|one| one.1 == last.1)
        .last()
        .unwrap();
    assert!(last.0 - same.0 >= s(5), "{read:?}");
    assert_facts(&bench, &nats, &[&topic]).await;
    assert_decided(&nats, "temperature").await;
}
