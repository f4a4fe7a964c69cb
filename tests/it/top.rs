//! `headframe top` over a running server: one look, printed.

use std::process::{Command, Output};

use crate::grafana::send_facts;
use crate::roles::nats_server;
use crate::server::{Headframe, free_port};

fn top(url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headframe"));
    command
        .args(["top", "--once", "--url", url])
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_look_shows_the_pool_its_blocks_and_the_lag_of_the_streams() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let roles = "pipelines,maintenance,query";
    let running = Headframe::start(folder.path(), nats.url(), free_port(), roles);
    running.row("SELECT 1").await;
    send_facts(&running.url).await;
    let blocks = "SELECT count(*) AS n FROM blocks";
    running
        .until(blocks, |row| row["n"].as_i64() == Some(2))
        .await;
    let output = top(&running.url);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "pool main",
        "50 H/s now",
        "1 miners",
        "height 100",
        "accepted",
        "ababababab",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    for stream in ["shares", "blocks", "energy"] {
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("{stream} ")));
        let line = line.unwrap_or_else(|| panic!("no line of {stream} in\n{said}"));
        let numbers = line
            .split_whitespace()
            .filter_map(|word| word.parse::<u64>().ok());
        assert!(numbers.clone().any(|number| number > 0), "{line}");
    }

    let nowhere = top(&format!("http://127.0.0.1:{}", free_port()));
    assert!(!nowhere.status.success());
    let said = String::from_utf8_lossy(&nowhere.stderr);
    assert!(said.contains("no server answers"), "{said}");
}
