//! Channels that do not carry notices.

use headframe_ingest::Nats;
use headframe_ingest::simulator::FaultKind;
use serde_json::{Value, json};

use super::{Bench, assert_decided, assert_facts, now_ms, s};
use crate::fixture::until;
use crate::process::Pager;
use crate::service::{nats_server, rows, write_secret};

/// Attempts of a channel at notices of a topic, of the journal: how they ended, and when.
fn attempts(entries: &[Value], topic: &str, channel: &str) -> Vec<(bool, u64)> {
    let all = entries
        .iter()
        .flat_map(|entry| entry["deliveries"].as_array());
    let own = all
        .flatten()
        .filter(|one| one["notice"]["topic"] == topic && one["channel"] == channel);
    own.map(|one| {
        let is_delivered = one["outcome"].get("Ok").is_some();
        (is_delivered, one["at"]["elapsed_ms"].as_u64().unwrap())
    })
    .collect()
}

fn raised(entries: &[Value], topic: &str) -> Vec<u64> {
    let is_it = |entry: &&Value| super::raises(entry, topic);
    entries.iter().filter(is_it).map(now_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_channel_takes_over_emergencies_come_again_and_end_when_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let (second, url) = Pager::start().await;
    let change = |config: &mut Value| {
        let secret = config["channel"][0]["secret_file"].clone();
        write_secret(secret.as_str().unwrap().as_ref(), "a secret of the hook");
        config["channel"]
            .as_array_mut()
            .unwrap()
            .push(json!({"kind": "webhook",
            "name": "second", "url": url, "least": "emergency", "secret_file": secret}));
        config["policy"]["authority"] = json!({"acknowledge_within_s": 2});
    };
    let bench = Bench::start(json!([]), 4.0, Some(nats.clone()), change).await;
    // A busy machine may have lost the meter for a moment already, which is said once a minute.
    let is_well = |site: &Value| site["alarms"]["meter/estimated"].is_null();
    bench.process.until("the meter is read", is_well).await;
    // A warning that the first does not carry goes to the second, though that has emergencies only;
    // the first is tried again after five seconds.
    bench.pager.refuse(true);
    bench.simulator.set_fault("main", Some(FaultKind::Dead));
    second.until("meter/estimated").await;
    second.until("notifier/failing").await;
    bench.pager.refuse(false);
    // One that was delivered before is of that moment.
    let tried = || async {
        let tried = attempts(&bench.process.journal().await, "meter/estimated", "pager");
        tried
            .into_iter()
            .skip_while(|one| one.0)
            .collect::<Vec<_>>()
    };
    until("the first has it, too", || async {
        tried().await.iter().any(|one| one.0)
    })
    .await;
    let tried = tried().await;
    assert!(tried[1].1 - tried[0].1 >= s(5), "{tried:?}");

    // An emergency that no channel carries, and that nobody acknowledges, is said again.
    let topic = "trip/emergency_stop";
    for pager in [&bench.pager, &second] {
        pager.refuse(true);
    }
    let (status, _) = bench
        .process
        .post("/api/v1/site/emergency-stop", json!({}))
        .await;
    assert_eq!(status, 200);
    until("it is said again", || async {
        raised(&bench.process.journal().await, topic).len() > 1
    })
    .await;
    let times = raised(&bench.process.journal().await, topic);
    assert!(times[1] - times[0] >= s(2), "{times:?}");
    until("both were asked in vain", || async {
        bench.pager.came(topic).len() > 1 && second.came(topic).len() > 1
    })
    .await;

    // Somebody acknowledges it: nothing of it is tried or said any more.
    until("it is acknowledged", || async {
        let notice = bench.process.site().await["alarms"][topic]["notice"].clone();
        let path = format!("/api/v1/site/notices/{notice}/acknowledge");
        bench.process.post(&path, json!({"by": "ann"})).await.0 == 200
    })
    .await;
    // The step after it has told the channels.
    let given = bench.process.site().await["now_ms"].as_u64().unwrap();
    let last = now_ms(bench.journal_until(given + s(1)).await.last().unwrap());
    let acknowledged = std::time::Instant::now();
    let entries = bench.journal_until(times[1] + s(6)).await;
    for pager in [&bench.pager, &second] {
        let late = pager
            .came(topic)
            .into_iter()
            .filter(|(at, _)| *at > acknowledged);
        assert_eq!(late.count(), 0, "it is tried no more");
    }
    assert!(
        raised(&entries, topic).iter().all(|at| *at <= last),
        "it is said no more"
    );
    assert_eq!(bench.process.site().await["state"], "tripped", "and stands");
    assert_facts(&bench, &nats, &["meter/estimated", "notifier/failing"]).await;
    assert_decided(&nats, "emergency_stop").await;
    let nats = Nats::connect(&nats).await.unwrap();
    let notices = rows(&nats, "notifications").await;
    let has = |topic: &str, state: &str, channel: Value| {
        let is_it = |row: &Value| {
            row["topic"] == topic && row["state"] == state && row["channel"] == channel
        };
        let found = notices.iter().any(|row| is_it(&row.2));
        assert!(found, "{topic} {state} {channel}: {notices:?}");
    };
    for channel in ["pager", "second"] {
        has(topic, "failed", json!(channel));
    }
    has(topic, "acknowledged", Value::Null);
}
