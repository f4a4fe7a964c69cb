//! A simulated mine with a script of faults, in virtual time: registry, energy, anomalies,
//! allocations and violations are what the script predicts. Some hours of a few machines here, a
//! week of 300 machines in `make soak`.

use std::path::Path;
use std::process::Command;

use headframe_ingest::ManagedServer;

use crate::clients::python;
use crate::registry::nats;
use crate::server::{Headframe, free_port};

/// Hours and machines.
fn extent() -> [String; 2] {
    let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    [
        text("HEADFRAME_WEEK_HOURS", "8"),
        text("HEADFRAME_WEEK_MACHINES", "6"),
    ]
}

async fn start(folder: &Path, nats: &ManagedServer) -> Headframe {
    // A meter that sends ten rows a second is missed soon.
    let more = "[anomalies]\nmissing_after_s = 2\n";
    let port = free_port();
    let running = Headframe::start_with(folder, nats.url(), port, "pipelines,query", more);
    running.row("SELECT 1").await;
    running
}

/// Runs a part of the comparison.
async fn compare(folder: &Path, running: &Headframe, phase: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/simulated_week.py");
    let mut command: Command = python();
    command
        .arg(script)
        .args([env!("CARGO_BIN_EXE_headframe"), running.url.as_str()])
        .args(extent())
        .arg(phase)
        .current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mines_tables_say_what_its_script_of_faults_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    compare(folder.path(), &running, "history").await;
    running.kill();
    // Allocations and rules were registered last: they are stated and applied before the kill or
    // after it.
    let running = start(folder.path(), &nats).await;
    compare(folder.path(), &running, "judged").await;
    running.kill();
    nats.shutdown().await;
}
