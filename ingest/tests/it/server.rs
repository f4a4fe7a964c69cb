//! The managed server: one per folder, restarted when it dies, an orphan stopped first.

use headframe_ingest::{ManagedServer, Nats, ServerConfig, ServerError};

use crate::fixture::{Bed, SENSORS, binary, publisher, reading};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_takes_one_server() {
    let bed = Bed::start().await;
    let second =
        ManagedServer::start(ServerConfig::new(binary(), bed.folder.path().to_owned())).await;
    assert!(matches!(second, Err(ServerError::Locked(_))), "{second:?}");
    let info = bed.nats().await.client.server_info();
    assert_eq!(info.max_payload, 8 * 1024 * 1024);
    assert_eq!(info.host, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    let before = publisher.record(&reading(1)).await.unwrap();
    bed.kill().await;
    let after = publisher.record(&reading(2)).await.unwrap();
    assert_eq!(after.seq, before.seq + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_stopped_before_the_next_start() {
    let mut bed = Bed::start().await;
    let nats = bed.sensors().await;
    publisher(&nats).record(&reading(1)).await.unwrap();
    bed.down().await;
    // As a parent killed with SIGKILL would leave it: running, with nobody watching.
    let config = bed.folder.path().join("nats.conf");
    let mut orphan = std::process::Command::new(binary())
        .arg("-c")
        .arg(config.canonicalize().unwrap())
        .spawn()
        .unwrap();
    let ready = async {
        while Nats::connect(&bed.client_config()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::fixture::PATIENCE, ready)
        .await
        .unwrap();
    // Whoever adopted it must reap it; here that is us.
    let reaper = std::thread::spawn(move || orphan.wait());
    bed.up().await;
    reaper.join().unwrap().unwrap();
    let nats = bed.nats().await;
    let identity = headframe_ingest::inspect_stream(&nats.js, SENSORS)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(identity.last_seq, 1);
}

#[tokio::test]
async fn a_binary_that_is_none_is_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let error = ManagedServer::start(ServerConfig::new(
        "/bin/false".into(),
        folder.path().to_owned(),
    ))
    .await
    .unwrap_err();
    assert!(matches!(error, ServerError::Start { .. }), "{error}");
}
