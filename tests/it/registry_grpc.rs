//! The registry over gRPC by a client that is not ours: Python's, with stubs of the file that the
//! server gives.

use std::path::Path;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};

use crate::clients::python;
use crate::server::{Headframe, free_port, http, until};

const READER: &str = "a-token-of-20-letters";
const OPERATOR: &str = "another-token-of-24-chars";
const SCRIPT: &str = "tests/clients/registry_grpc.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_reads_and_changes_what_is_registered() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let write = |name: &str, token: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, token).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (reader, operator) = (write("reader", READER), write("operator", OPERATOR));
    let port = free_port();
    let running = Headframe::start_with_env(
        folder.path(),
        nats.url(),
        port,
        "pipelines,query",
        "",
        &[
            ("HEADFRAME__QUERY__TOKEN_FILE", &reader),
            ("HEADFRAME__QUERY__OPERATOR_TOKEN_FILE", &operator),
        ],
    );
    let url = format!("{}/api/v1/sql", running.url);
    until("the server answers", async || {
        let sent = http().post(&url).bearer_auth(READER).body("SELECT 1");
        match sent.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let output = python()
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT))
        .args([&port.to_string(), READER, OPERATOR])
        .output()
        .unwrap();
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.ends_with("every step passed\n"), "{said}");
    running.kill();
    nats.shutdown().await;
}
