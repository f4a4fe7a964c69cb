//! Contacts of safety: one that is lost, one that opens, and the emergency stop.

use headframe_ingest::simulator::{FaultKind, Simulator};
use serde_json::{Value, json};

use super::{
    Bench, ages, assert_at_age, assert_facts, is_capped_by, newest, now_ms, raises, s,
    tells_a_machine,
};
use crate::fixture::until;
use crate::service::nats_server;

const CONTACT: &str = "interlock/door/relay1";

/// A contact at the door: the first input of a board of its own.
fn more() -> Value {
    json!([{"kind": "controlbyweb", "name": "door", "feeds": ["fan-5"]}])
}

fn change(config: &mut Value) {
    config["plan"]["interlocks"] = json!(["door/relay1"]);
    config["readings"]["interlock"] = json!([{"reading": "door/relay1",
        "quantity": "relay_state", "kind": "door", "trips_when_open": true}]);
    config["policy"]["health"]["interlock_period_s"] = json!(1);
    config["policy"]["trips"] = json!({"lost_half_after_s": 4, "lost_curtail_after_s": 6,
        "clear_s": 1});
}

fn contact_read(observation: &Value) -> Option<u64> {
    newest(observation["interlocks"].as_array()?.iter())
}

/// Opens or closes the door.
async fn door(simulator: &Simulator, is_closed: bool) {
    let mut sources = simulator.sources().iter();
    let address = sources
        .find(|one| one.name == "door")
        .unwrap()
        .address
        .clone();
    let state = u8::from(is_closed);
    let host = address.trim_start_matches("http://").to_owned();
    let request = format!("GET /state.xml?relay1State={state} HTTP/1.1\r\nHost: door\r\n\r\n");
    // Its answers have no headers, so that no HTTP client takes them.
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let wanted = format!("<relay1state>{state}</relay1state>");
    assert!(answer.contains(&wanted), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_contact_blocks_halves_and_stops_and_an_open_one_trips_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let bench = Bench::start(more(), 4.0, Some(nats.clone()), change).await;
    bench.simulator.set_fault("door", Some(FaultKind::Dead));
    bench
        .process
        .until("nothing runs", |site| site["machines"]["stopped"] == 8)
        .await;
    assert_eq!(bench.hashing(), 0);
    let entries = bench.process.journal().await;
    let age = ages(&entries, contact_read);
    assert_at_age(&entries, &age, s(3), |entry| {
        raises(entry, "interlock/lost")
    });
    let stale = format!("stale/{CONTACT}");
    assert_at_age(&entries, &age, s(3), |entry| raises(entry, &stale));
    let capped = |kw: f64| move |entry: &Value| is_capped_by(entry, "interlock", kw);
    assert_at_age(&entries, &age, s(4), capped(12.0));
    let stopped = assert_at_age(&entries, &age, s(6), capped(0.0));
    bench.pager.until("interlock/lost").await;
    // It is no trip: power comes back by itself once the contact is read, and not before.
    bench.journal_until(now_ms(&entries[stopped]) + s(1)).await;
    bench.simulator.set_fault("door", None);
    let all = |site: &Value| site["machines"]["running"] == 8;
    bench.process.until("machines run again", all).await;
    let entries = bench.process.journal().await;
    let starts = |entry: &Value| tells_a_machine(entry, "on");
    let started = entries.iter().position(starts).unwrap();
    let read = |entry: &Value| contact_read(&entry["observation"]).is_some();
    let again = entries[stopped..].iter().position(read).unwrap() + stopped;
    assert!(started >= again, "{started} {again}");

    // The door opens: commanded in the step that reads it, and everything is off within a minute.
    door(&bench.simulator, false).await;
    bench.process.until_state("tripped").await;
    let is_off =
        |site: &Value| site["machines"]["stopped"] == 8 && site["measured_kw"].as_f64() < Some(6.0);
    bench.process.until("nothing runs", is_off).await;
    let now = bench.process.site().await["now_ms"].as_u64().unwrap();
    let entries = bench.journal_until(now).await;
    let is_open = |entry: &Value| {
        let all = entry["observation"]["interlocks"].as_array();
        all.into_iter()
            .flatten()
            .any(|one| one["is_tripped"] == true)
    };
    let open = entries.iter().position(is_open).unwrap();
    assert!(raises(&entries[open], "trip/door"), "in the same step");
    assert!(tells_a_machine(&entries[open], "off"), "in the same step");
    let read_ms = contact_read(&entries[open]["observation"]).unwrap();
    assert!(
        now_ms(&entries[open]) - read_ms <= s(5),
        "commanded within 5 s"
    );
    let off = |entry: &&Value| entry["observation"]["site_meter"]["kw"].as_f64() < Some(6.0);
    let metered = |entry: &&Value| entry["observation"]["site_meter"].is_object() && off(entry);
    let measured = entries[open..].iter().find(metered).map(now_ms).unwrap();
    assert!(
        measured - now_ms(&entries[open]) <= s(60),
        "measured within 60 s"
    );
    bench.pager.until("trip/door").await;

    // It stays, whatever the door says, until somebody resets it with a reason.
    door(&bench.simulator, true).await;
    bench
        .process
        .until("the door is closed", |site| site["reset_in_s"] == 0.0)
        .await;
    assert_eq!(bench.process.site().await["state"], "tripped");
    until("the reset is taken", || async {
        let reset = json!({"reason": "the wind, and the lock is mended", "by": "ann"});
        let (status, said) = bench.process.post("/api/v1/site/reset", reset).await;
        assert!(status == 200 || status == 409, "{said}");
        assert!(
            status == 409 || said["state"]["power"] == "hold_off",
            "{said}"
        );
        status == 200
    })
    .await;

    // The emergency stop of the old controller, which needs no token.
    let stop = reqwest::Client::builder().no_proxy().build().unwrap();
    let path = format!(
        "http://127.0.0.1:{}/api/debug/emergency-shutdown",
        bench.port
    );
    assert!(stop.post(path).send().await.unwrap().status().is_success());
    bench.pager.until("trip/emergency_stop").await;
    assert_facts(
        &bench,
        &nats,
        &["interlock/lost", "trip/door", "trip/emergency_stop"],
    )
    .await;
}
