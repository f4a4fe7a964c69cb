//! The pool over a real `nats-server`: what was answered OK is in the stream, and without the server nothing is OK.

use headframe_ingest::server::find_binary;
use headframe_ingest::{Expect, ManagedServer, Nats, NatsConfig, Publisher, PublisherConfig, ReadFrom, Reader};
use headframe_ingest::{ServerConfig, StreamSettings, provision};
use headframe_schemas::stream::{self, shares::Share, shares::Shares};
use headframe_stratum::{PublisherFacts, StratumConfig};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::facts::Memory;
use crate::scripted::{Scene, Stage, config};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok, message};

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_ok_is_in_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let nats_server = ManagedServer::start(ServerConfig::new(find_binary().unwrap(), folder.path().to_owned())).await.unwrap();
    let nats = Nats::connect(&NatsConfig { url: nats_server.url().to_owned(), ..NatsConfig::default() }).await.unwrap();
    for stream in stream::ALL {
        provision(&nats.js, *stream, &StreamSettings::default()).await.unwrap();
    }
    let facts = Arc::new(PublisherFacts(Publisher::new(nats.clone(), "test", PublisherConfig::default())));
    let config = StratumConfig { durable_timeout_s: 2, ..config() };
    let stage = Stage::open_over(Scene::default(), config, Arc::new(Memory::new()), facts).await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));

    // A frozen server holds nothing durably, whatever its sockets accept.
    let pid = nats_server.pid().unwrap();
    signal(pid, "STOP");
    let refused = client.submit(OTHER_NONCE, OTHER_RESULT).await;
    signal(pid, "CONT");
    assert!(message(&refused).starts_with("Share could not be recorded"), "{refused}");
    assert_eq!((stage.stats.snapshot().accepted, stage.stats.snapshot().unrecorded), (1, 1));

    let from = ReadFrom { next: 1, expect: Expect::default() };
    let mut reader = Reader::open(nats, &Shares, from).await.unwrap();
    let messages = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("no message came").unwrap();
    let share: Share = serde_json::from_slice(messages[0].payload.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((share.miner.as_str(), share.worker.as_str(), share.outcome.as_str()), ("4AddrExample", "rack7", "accepted"));
    assert_eq!((share.pool.as_str(), share.difficulty, share.height), ("test", 16, 100));
    stage.close().await;
    nats_server.shutdown().await;
}
