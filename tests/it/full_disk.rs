//! A full disk, for real: no file of the process may grow any more, until it may again.

use std::process::Command;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::json;

use crate::roles::{complete, publish, until_answer};
use crate::server::{Headframe, free_port};

/// Sets the largest size of the files of a process; what it writes beyond fails as on a full disk.
fn limit_file_size(pid: u32, bytes: &str) {
    let set = Command::new("prlimit")
        .args([
            "--pid",
            &pid.to_string(),
            &format!("--fsize={bytes}:unlimited"),
        ])
        .status()
        .unwrap();
    assert!(set.success(), "prlimit comes with util-linux");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_the_batch_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    // The signal that comes with the limit would end the process; a full disk sends none. Ignored
    // signals are inherited.
    let mut program = Command::new("sh");
    program.args([
        "-c",
        "trap '' XFSZ; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_headframe"),
    ]);
    let running = Headframe::start_by(
        program,
        folder.path(),
        nats.url(),
        free_port(),
        "pipelines,maintenance,query",
        "",
    );
    publish(&running.url, 0, 10).await;
    complete(&running.url, 10).await;
    until_answer(&running.url, "/metrics", |_, text| {
        text.contains("headframe_tail_bytes 0")
    })
    .await;
    let stored = complete(&running.url, 10).await;
    // Half of a small file still fits, as it may on a disk that fills up.
    limit_file_size(running.pid(), "600");
    publish(&running.url, 10, 20).await;
    let ready = until_answer(&running.url, "/ready", |status, text| {
        status == 503 && text.contains("shares")
    })
    .await;
    assert!(ready.contains("File too large"), "it says why: {ready}");
    // Rows are still taken, kept by JetStream, and answered from memory, each once.
    publish(&running.url, 30, 20).await;
    let read = complete(&running.url, 50).await;
    assert_eq!(
        read["version"], stored["version"],
        "nothing could be committed: {read}"
    );
    limit_file_size(running.pid(), "unlimited");
    until_answer(&running.url, "/ready", |status, _| status == 200).await;
    until_answer(&running.url, "/metrics", |_, text| {
        text.contains("headframe_tail_bytes 0")
    })
    .await;
    complete(&running.url, 50).await;
    // And from the tables alone, by a process that was not there.
    running.kill();
    let next = Headframe::start(folder.path(), nats.url(), free_port(), "query");
    complete(&next.url, 50).await;
    let sums = "SELECT sum(accepted_shares) AS n FROM hashrate_1d";
    assert_eq!(next.row(sums).await["n"], json!(50));
    next.kill();
    nats.shutdown().await;
}
