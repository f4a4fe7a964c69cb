//! The console as a visitor meets it, in a browser: each page of the pool on a server with an hour
//! of shares, each page of the mine on a server that gets a day of measurements, and a demo that
//! mines, while it runs and when it is killed and started again.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::clients::python;
use crate::server::{Headframe, free_port, http, until};

mod mine_pages;
mod pool_pages;

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

/// The same beside the tasks of the test.
async fn assert_walks_beside(command: Command) {
    tokio::task::spawn_blocking(|| assert_walks(command))
        .await
        .unwrap();
}

/// Makes the admin ann on a server of this folder, and waits until she may log in; her password.
async fn add_admin(folder: &Path, running: &Headframe) -> String {
    let (_, port) = running.url.rsplit_once(':').unwrap();
    let added = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["users", "--config"])
        .arg(folder.join(format!("headframe-{port}.toml")))
        .args(["add", "ann", "--role", "admin"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let password = String::from_utf8(added.stdout).unwrap();
    let login = json!({"name": "ann", "password": password.trim()});
    until("ann may log in", async || {
        let request = http().post(format!("{}/api/v1/login", running.url));
        let answer = request.json(&login).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        status.is_success().then_some(()).ok_or(status.to_string())
    })
    .await;
    password.trim().to_owned()
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
fn a_browser_walks_a_demo_that_mines() {
    walk_demo("console.py");
}

#[test]
fn pages_that_are_open_go_on_after_the_demo_was_killed() {
    walk_demo("restart.py");
}
