//! `headframe blocks` and the path behind it, over a pool of its own that has nothing unproven.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};

use crate::bans::{pool, said};
use crate::roles::until_answer;
use crate::server::free_port;

fn blocks(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .arg("blocks")
        .args(["--url", url])
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_which_blocks_wait_and_cannot_confirm_others() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let running = pool(folder.path(), &nats, free_port());
    until_answer(&running.url, "/live", |status, _| status == 200).await;
    let listed = blocks(&running.url, &["list"]);
    assert!(
        listed.status.success() && said(&listed).contains("0 unproven"),
        "{}",
        said(&listed)
    );
    let unknown = "ab".repeat(32);
    for (arguments, word) in [
        (["confirm", &unknown], "no unproven block has this hash"),
        (["reject", &unknown], "no unproven block has this hash"),
        (["confirm", "ab"], "not 64 hex digits"),
    ] {
        let refused = blocks(&running.url, &arguments);
        let text = said(&refused);
        assert!(!refused.status.success() && text.contains(word), "{text}");
    }
    let key = folder.path().join("keys/blocks.key");
    let mode = std::fs::metadata(key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
