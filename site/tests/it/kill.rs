//! A controller that is killed again and again while it works: it goes on where it was, asserts
//! nothing that was read back otherwise, and every fact is in its stream once.

use std::path::Path;
use std::time::{Duration, Instant};

use headframe_ingest::simulator::Simulator;
use headframe_ingest::{ManagedServer, Nats, NatsConfig, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use crate::fixture::until;
use crate::process::{Pager, Process, free_port, say, write_config};
use crate::service::{
    TOKEN, assert_each_once, config, hashing, nats_server, rows, scenario, write_secret,
};

/// Kills in `make test`; `SITE_KILLS` says another number.
const KILLS: u32 = 6;

/// What a controller in a process of its own is started with.
struct Files {
    file: std::path::PathBuf,
    port: u16,
    signal: std::path::PathBuf,
}

/// `change` is what differs from the usual configuration.
fn files(
    simulator: &Simulator,
    folder: &Path,
    nats: Option<NatsConfig>,
    change: impl FnOnce(&mut Value),
) -> Files {
    let mut config = config(simulator, folder, nats);
    change(&mut config);
    let (port, signal) = (free_port(), folder.join("signal.json"));
    config["listen"] = json!(format!("127.0.0.1:{port}"));
    config["signal"] = json!([{"kind": "file", "name": "utility", "class": "mandatory",
        "path": signal, "max_age_s": 3_600}]);
    write_secret(Path::new(config["token_file"].as_str().unwrap()), TOKEN);
    let file = write_config(folder, config);
    say(&signal, "normal", 14.0);
    Files { file, port, signal }
}

fn is_below_target(site: &Value) -> bool {
    let measured = site["measured_kw"].as_f64();
    site["target_kw"] == 14.0 && site["quality"] == "measured" && measured <= Some(14.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_every_fact_is_there_once() {
    let kills = std::env::var("SITE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats_config = server.client_config();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let Files { file, port, signal } =
        files(&simulator, folder.path(), Some(nats_config.clone()), |_| ());
    for round in 0..kills {
        let process = Process::start(&file, port);
        process
            .until("it decides", |site| site["state"].is_string())
            .await;
        let level = if round % 2 == 0 { "curtail" } else { "normal" };
        say(&signal, level, 14.0);
        // Killed on the way as well as at its end. One that was started below its target waits.
        if round % 3 != 2 && round % 2 == 0 {
            process
                .until("it is below its target", is_below_target)
                .await;
        } else if round % 3 != 2 {
            // Or has started them already.
            let starts = |site: &Value| {
                ["restoring", "running"].contains(&site["state"].as_str().unwrap_or_default())
            };
            process.until("it starts machines", starts).await;
        }
        drop(process);
    }
    say(&signal, "curtail", 14.0);
    let process = Process::start(&file, port);
    process
        .until("it is below its target in the end", is_below_target)
        .await;
    let resident = process.memory_mib("VmHWM");
    println!("{kills} kills; {resident} MiB resident at most");
    assert!(resident < 150, "{resident} MiB");
    let nats = Nats::connect(&nats_config).await.unwrap();
    let last = process.site().await["facts"]["sent_seq"].clone();
    process
        .until("its decisions are in their stream", |site| {
            site["facts"]["sent_seq"].as_u64() > last.as_u64()
        })
        .await;
    drop(process);
    for name in [
        "signals",
        "curtailment",
        "site_commands",
        "energy",
        "sensors",
    ] {
        let rows = rows(&nats, name).await;
        assert!(!rows.is_empty(), "{name}");
        assert_each_once(name, &rows);
    }
    // No number of a command is used twice.
    let commands = rows(&nats, "site_commands").await;
    let queued = commands.iter().filter(|row| row.2["state"] == "queued");
    let mut numbers: Vec<i64> = queued
        .map(|row| row.2["command"].as_i64().unwrap())
        .collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_controls_without_nats_and_with_a_full_disk_and_tells_later() {
    let (folder, nats_port) = (tempfile::tempdir().unwrap(), free_port());
    // It comes back with its port, which nobody else may have taken meanwhile.
    let settings = || ServerConfig {
        port: nats_port,
        ..ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"))
    };
    let server = ManagedServer::start(settings()).await.unwrap();
    let nats_config = server.client_config();
    server.shutdown().await;
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let (pager, url) = Pager::start().await;
    write_secret(&folder.path().join("hook"), "a secret of the hook");
    let channels = json!([{"kind": "webhook", "name": "pager", "url": url,
        "secret_file": folder.path().join("hook")}]);
    let nats = Some(nats_config.clone());
    let Files { file, port, signal } = files(&simulator, folder.path(), nats, |config| {
        config["channel"] = channels;
    });
    let process = Process::start(&file, port);
    process
        .until("it runs", |site| site["state"] == "running")
        .await;
    process.limit_file_size(600);
    process
        .until("the disk is full", |site| site["disk_trouble"].is_string())
        .await;
    pager.until("journal/lost").await;
    say(&signal, "emergency", 14.0);
    process
        .until("it is curtailed", |site| site["state"] == "curtailed")
        .await;
    let site = process.site().await;
    assert_eq!(site["facts"]["sent_seq"], 0, "{site}");
    let alarms = site["alarms"].to_string();
    assert!(alarms.contains("journal/lost"), "{alarms}");
    process.lift_limit();
    process
        .until("the disk is well", |site| site["disk_trouble"].is_null())
        .await;
    let server = ManagedServer::start(settings()).await.unwrap();
    let nats = Nats::connect(&nats_config).await.unwrap();
    until("the facts of the time alone are there", || async {
        let rows = rows(&nats, "curtailment").await;
        rows.iter().any(|row| row.2["state"] == "curtailed")
    })
    .await;
    drop(process);
    for name in ["curtailment", "site_commands", "energy", "notifications"] {
        assert_each_once(name, &rows(&nats, name).await);
    }
    let decisions = rows(&nats, "curtailment").await;
    let numbers: Vec<i64> = decisions
        .iter()
        .map(|row| row.2["decision"].as_i64().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    server.shutdown().await;
}

/// A full disk that takes orders, trips and lockouts into what it has for them, and no step of the
/// journal: those that machines were stopped in are lost by the kill.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_on_a_full_disk_orders_stand_and_machines_rest_as_long_as_after_any_stop() {
    const MIN_OFF_S: u64 = 10;
    // More than `safety.json` has, and less than the journal of a few steps.
    const FULL: u64 = 12_000;
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let Files { file, port, signal } = files(&simulator, folder.path(), None, |config| {
        config["policy"]["power"]["min_off_s"] = json!(MIN_OFF_S);
    });
    let process = Process::start(&file, port);
    process
        .until("it runs", |site| site["state"] == "running")
        .await;
    process.limit_file_size(FULL);
    let is_full = |site: &Value| site["disk_trouble"].is_string();
    process.until("the disk is full", is_full).await;
    say(&signal, "curtail", 14.0);
    process
        .until("it is below its target", is_below_target)
        .await;
    let lockout = json!({"reason": "work at the rack", "by": "ann", "scope": {"machine": "new-1"}});
    let (status, said) = process.post("/api/v1/site/lockout", lockout).await;
    assert_eq!((status, &said["durable"]), (200, &json!(true)), "{said}");
    say(&signal, "normal", 14.0);
    let site = process.site().await;
    assert!(is_full(&site), "{site}");
    drop(process);

    let started = Instant::now();
    let process = Process::start_on_full_disk(&file, port, FULL);
    let starts = |site: &Value| {
        let machines = &site["machines"];
        machines["starting"].as_u64() > Some(0) || machines["running"] == 7
    };
    process.until("it starts machines", starts).await;
    let rested = started.elapsed();
    assert!(rested >= Duration::from_secs(MIN_OFF_S), "{rested:?}");
    process.until("the disk is full", is_full).await;
    process
        .until("all run that may", |site| site["machines"]["running"] == 7)
        .await;
    let site = process.site().await;
    assert_eq!(site["machines"]["stopped"], 1, "{site}");
    assert_eq!(
        hashing(&simulator, "new-1"),
        0,
        "the one that is locked out"
    );
    // The steps in which machines were stopped were never on the disk.
    let entries = process.journal().await;
    let is_in = |state: &str| {
        let mut entries = entries.iter();
        entries.any(|entry| entry["decision"]["after"]["power"] == state)
    };
    assert!(is_in("running") && !is_in("curtailed"));
}
