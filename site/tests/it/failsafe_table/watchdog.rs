//! The controller itself: it hangs, it is killed, and it is started again.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use headframe_ingest::Nats;
use serde_json::{Value, json};

use super::{Bench, now_ms, raises, s, tells_a_machine};
use crate::fixture::{PATIENCE, until};
use crate::process::Process;
use crate::service::{assert_each_once, nats_server, rows};

/// Steps that the controller told systemd of, until there are so many, or none comes for so long.
fn steps_told(systemd: &UnixDatagram, wait: Duration, most: usize) -> usize {
    let mut text = [0; 2_048];
    let mut seen = 0;
    systemd.set_read_timeout(Some(wait)).unwrap();
    while let Ok(length) = systemd.recv(&mut text) {
        seen += usize::from(text[..length].starts_with(b"WATCHDOG=1"));
        if seen >= most {
            break;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_controller_is_killed_fans_return_and_it_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let more = json!([{"kind": "shelly2", "name": "box", "feeds": ["fan-1", "fan-2"]}]);
    let change = |config: &mut Value| {
        // Fans 1 and 2 hang at relays with a timer that returns them to on.
        let source = config["source"].as_array().unwrap().iter();
        let address = source.clone().find(|one| one["name"] == "box").unwrap()["address"].clone();
        let control = |fan: usize| {
            json!({"channel": (fan - 1).to_string(), "fan": fan,
            "dead_man": {"after_s": 9, "rests_on": true}})
        };
        config["actuator"][0] = json!({"kind": "shelly", "name": "box", "address": address,
            "controls": [control(1), control(2)]});
        config["plan"]["fans"] = json!([{"watts": 1_100.0}, {"watts": 1_100.0}]);
        config["readings"]["fan"] = json!([]);
        config["policy"]["health"]["loop_s"] = json!(1);
        config["policy"]["fans"]["feed_forward_fans"] = json!(0);
    };
    let bench = Bench::set_up(more, 1.0, Some(nats.clone()), &[], change).await;
    bench.process.until_state("running").await;
    let stand = || async { bench.simulator.state().fans_on == 2 };
    until("the controller's two fans stand, the others run", stand).await;

    let Bench {
        simulator,
        process,
        file,
        port,
        systemd,
        pager,
        _folder,
        ..
    } = bench;
    assert_eq!(
        steps_told(&systemd, PATIENCE, 3),
        3,
        "it tells of its steps"
    );
    process.signal("STOP");
    // What was on its way is read; then nothing comes for three loops.
    steps_told(&systemd, Duration::from_millis(500), usize::MAX);
    assert_eq!(
        steps_told(&systemd, Duration::from_secs(3), 1),
        0,
        "it hangs"
    );
    process.signal("KILL");
    until("timers in the relays return the fans to on", || async {
        simulator.state().fans_on == 4
    })
    .await;
    let hashing = simulator
        .state()
        .machines
        .iter()
        .filter(|one| one.hashrate_hs > 0.0)
        .count();
    assert_eq!(hashing, 8, "machines go on");
    drop(process);

    let process = Process::start(&file, port);
    process.until_state("running").await;
    pager.until("controller/gap").await;
    let entries = process.journal().await;
    let gap = entries
        .iter()
        .rposition(|entry| raises(entry, "controller/gap"))
        .unwrap();
    assert!(now_ms(&entries[gap]) - now_ms(&entries[gap - 1]) > s(3));
    assert_eq!(entries[gap]["decision"]["before"]["power"], "boot");
    let seen = entries[gap..]
        .iter()
        .any(|entry| tells_a_machine(entry, "on") || tells_a_machine(entry, "off"));
    assert!(!seen, "nothing was asserted");
    let last = process.get("/api/v1/site").await["now_ms"].as_u64();
    let sent = |site: &Value| {
        let is_on = site["now_ms"].as_u64() > last.map(|last| last + 1_000);
        is_on && site["facts"]["trouble"].is_null() && site["facts"]["sent_seq"] != 0
    };
    tokio::time::timeout(PATIENCE, process.until("facts are sent", sent))
        .await
        .unwrap();
    let nats = Nats::connect(&nats).await.unwrap();
    for name in [
        "signals",
        "curtailment",
        "notifications",
        "energy",
        "sensors",
    ] {
        assert_each_once(name, &rows(&nats, name).await);
    }
    let notices = rows(&nats, "notifications").await;
    assert!(notices.iter().any(|row| row.2["topic"] == "controller/gap"));
}
