//! The console as a visitor meets it, in a browser: the pages of the pool on a demo that mines, the
//! same while the demo is killed and started again, and the pages of the mine on a server that gets
//! a day of measurements.

use std::path::{Path, PathBuf};
use std::process::Command;

use headframe_ingest::{ManagedServer, Nats};
use serde_json::json;

use crate::clients::python;
use crate::registry::{nats, start};
use crate::server::{Headframe, free_port, http};
use crate::violations::now_us;

/// A script of `tests/clients`, and axe-core for it.
fn script(name: &str) -> (Command, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let axe = root.join(".parts/node-clients/node_modules/axe-core/axe.min.js");
    assert!(
        axe.is_file(),
        "{} is missing: deploy/setup.sh test brings it",
        axe.display()
    );
    let mut command = python();
    command.arg(root.join("tests/clients").join(name));
    (command, axe)
}

/// Where the pictures go.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/console")
}

fn assert_walks(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{failed}"
    );
}

/// Has a script look at a demo that it starts.
fn walk_demo(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, axe) = script(name);
    let ports = [(); 3].map(|()| free_port().to_string());
    command
        .arg(env!("CARGO_BIN_EXE_headframe"))
        .args(ports)
        .args([axe, pictures()])
        .current_dir(folder.path())
        .env(
            "HEADFRAME_NATS_SERVER",
            headframe_ingest::find_nats_server().unwrap(),
        );
    assert_walks(command);
}

#[test]
fn a_browser_walks_the_pages_of_a_demo_that_mines() {
    walk_demo("console.py");
}

#[test]
fn pages_that_are_open_go_on_after_the_demo_was_killed() {
    walk_demo("restart.py");
}

/// An hour of the work of the mine's pool. While there is no user, any program of the machine may
/// send it.
async fn send_shares(running: &Headframe) {
    let now_s = now_us() / 1_000_000;
    let share = |(number, at): (usize, i64)| {
        json!({"event_time": at * 1_000_000, "pool": "fjord-pool", "miner": "fjord",
            "worker": "rig-00", "outcome": "accepted", "difficulty": 1_000_000_000_000_000_i64,
            "network_difficulty": "9".repeat(20), "height": at, "producer": "walk",
            "producer_seq": number})
        .to_string()
    };
    let times = (now_s - 3_600..now_s).step_by(30);
    let shares: Vec<String> = times.enumerate().map(share).collect();
    let request = http()
        .post(format!("{}/api/v1/ingest/shares", running.url))
        .header("Content-Type", "application/x-ndjson");
    let answer = request.body(shares.join("\n")).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

/// What a program sends to JetStream itself and nobody can read.
async fn send_no_row(nats: &ManagedServer) {
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let sent = connection.js.publish("signals.north", "no row".into());
    sent.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_walks_the_pages_of_a_mine() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    send_shares(&running).await;
    send_no_row(&nats).await;
    let (_, port) = running.url.rsplit_once(':').unwrap();
    let added = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["users", "--config"])
        .arg(folder.path().join(format!("headframe-{port}.toml")))
        .args(["add", "ann", "--role", "admin"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let password = String::from_utf8(added.stdout).unwrap();
    let (mut command, axe) = script("mine_pages.py");
    command
        .args([running.url.as_str(), password.trim()])
        .args([axe, pictures()])
        .current_dir(folder.path());
    tokio::task::spawn_blocking(|| assert_walks(command))
        .await
        .unwrap();
    running.kill();
}
