//! The utility's signal and the site's meter.

use headframe_ingest::simulator::FaultKind;
use serde_json::{Value, json};

use super::{Bench, ages, assert_at_age, assert_facts, newest, raises, s};
use crate::service::nats_server;

/// When the signal was understood last, of what a step observed.
fn signal_read(observation: &Value) -> Option<u64> {
    let signals = observation["signals"].as_array()?.iter();
    let known = signals.filter(|one| one["value"]["known"].is_array());
    known
        .filter_map(|one| one["read_at"]["elapsed_ms"].as_u64())
        .max()
}

fn meter_read(observation: &Value) -> Option<u64> {
    newest(std::iter::once(&observation["site_meter"]))
}

fn is_curtailing(entry: &Value) -> bool {
    entry["decision"]["after"]["power"] == "curtailing"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_signal_is_held_then_curtails_and_a_lost_meter_is_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let change = |config: &mut Value| config["plan"]["auxiliary_kw"] = json!(3.0);
    let bench = Bench::start(json!([]), 4.0, Some(nats.clone()), change).await;
    let entries = bench.process.journal().await;
    let early = ["temperature/blind", "temperature/lost"];
    let is_early = |topic: &&str| entries.iter().any(|entry| raises(entry, topic));
    let said: Vec<_> = early.iter().filter(|topic| is_early(topic)).collect();
    assert!(
        said.is_empty(),
        "nothing is wrong right after a start: {said:?}"
    );

    // The signal: late after one missed read, curtailed after three.
    std::fs::remove_file(&bench.signal).unwrap();
    bench.process.until_state("curtailed").await;
    let entries = bench.process.journal().await;
    let age = ages(&entries, signal_read);
    assert_at_age(&entries, &age, s(2), |entry| {
        raises(entry, "late/signal/utility")
    });
    assert_at_age(&entries, &age, s(6), |entry| {
        raises(entry, "stale/signal/utility")
    });
    let at = assert_at_age(&entries, &age, s(6), is_curtailing);
    let reason = entries[at]["decision"]["reason"].as_str().unwrap();
    assert!(reason.contains("utility is lost"), "{reason}");
    for topic in ["late/signal/utility", "stale/signal/utility"] {
        bench.pager.until(topic).await;
    }
    bench.ask("normal", 14.0);
    bench.process.until_state("running").await;

    // The meter: estimated after two missed readings, with five per cent more, and proof by it.
    let before = bench.process.journal().await.len();
    bench.simulator.set_fault("main", Some(FaultKind::Dead));
    bench
        .process
        .until("an estimate", |site| site["quality"] == "estimated")
        .await;
    let entries = bench.process.journal().await;
    let age = ages(&entries, meter_read);
    // On a busy machine the first reading is late, too.
    assert_at_age(&entries[before..], &age[before..], s(4), |entry| {
        raises(entry, "meter/estimated")
    });
    bench.pager.until("meter/estimated").await;
    bench.ask("curtail", 12.0);
    bench.process.until_state("curtailed").await;
    let site = bench.process.site().await;
    let estimate = site["measured_kw"].as_f64().unwrap();
    let real = bench
        .simulator
        .state()
        .power_of(&super::scenario(json!([])), "site");
    assert!(estimate <= 12.0, "{estimate}");
    assert!(
        real / 1_000.0 <= estimate,
        "{real} W, estimated at {estimate} kW"
    );
    let topics = [
        "late/signal/utility",
        "stale/signal/utility",
        "meter/estimated",
    ];
    assert_facts(&bench, &nats, &topics).await;
}
