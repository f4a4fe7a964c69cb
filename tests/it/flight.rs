//! The program and the ADBC driver of Flight SQL, as a notebook uses them.

use std::path::Path;
use std::process::Command;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};

use crate::server::{Headframe, free_port, until};

const TOKEN: &str = "a-token-of-20-letters";
const PYTHON: &str = ".parts/clients/bin/python";
const SCRIPT: &str = "tests/it/flight.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_reads_describes_cancels_and_appends() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let port = free_port();
    let running = Headframe::start_with_env(
        folder.path(),
        nats.url(),
        port,
        "pipelines,query",
        "",
        &[("HEADFRAME__QUERY__TOKEN_FILE", token.to_str().unwrap())],
    );
    let ask = crate::server::http();
    let url = format!("{}/api/v1/sql", running.url);
    until("the server answers", async || {
        let sent = ask.post(&url).bearer_auth(TOKEN).body("SELECT 1").send();
        match sent.await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let said = run_client(port);
    assert!(said.ends_with("every step passed\n"), "{said}");
    running.kill();
}

/// What the script says, all of it.
fn run_client(port: u16) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(PYTHON))
        .arg(root.join(SCRIPT))
        .args([&port.to_string(), TOKEN])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the clients; deploy/setup.sh test brings them");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    )
}
