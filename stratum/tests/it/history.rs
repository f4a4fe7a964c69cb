//! What the `blocks` stream says of earlier runs, over a real `nats-server`.

use headframe_ingest::find_nats_server;
use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, StreamSettings, provision_stream,
};
use headframe_schemas::stream;
use headframe_schemas::stream::blocks::Block;
use headframe_stratum::chain::ChainPosition;
use headframe_stratum::{DurableFacts, Facts, StratumConfig};
use std::path::Path;
use std::sync::Arc;

use crate::facts::Memory;
use crate::scripted::{Scene, Stage, config};
use crate::server::{NONCE, RESULT, is_ok};

fn facts(nats: &Nats, folder: &Path) -> Arc<DurableFacts> {
    let publisher = Publisher::new(nats.clone(), "test", PublisherConfig::default());
    let (facts, spooler) =
        DurableFacts::open(publisher, &StratumConfig::default().spool, folder).unwrap();
    tokio::spawn(spooler.run());
    Arc::new(facts)
}

fn statuses(rows: &[Block]) -> Vec<&str> {
    rows.iter().map(|row| row.status.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_itself_tells_a_restart_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let nats_server = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().to_owned(),
    ))
    .await
    .unwrap();
    let nats = Nats::connect(&nats_server.client_config()).await.unwrap();
    let durable = facts(&nats, &folder.path().join("spool"));
    assert!(
        durable
            .block_rows("test")
            .await
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
    for stream in stream::ALL {
        provision_stream(&nats.js, *stream, &StreamSettings::default())
            .await
            .unwrap();
    }
    assert_eq!(durable.block_rows("test").await.unwrap(), []);
    assert_eq!(durable.newest_height("test").await.unwrap(), None);
    let config = || {
        let mut config = StratumConfig { ..config() };
        config.blocks.look_s = 1;
        config
    };
    let scene = || Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let stage = Stage::open_over(scene(), config(), Arc::new(Memory::new()), durable.clone()).await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    until(&*durable, &["candidate", "accepted"]).await;
    stage
        .chain
        .standings
        .lock()
        .unwrap()
        .insert([0x0c; 32], ChainPosition::Best { confirmations: 12 });
    until(&*durable, &["candidate", "accepted", "confirmed"]).await;
    stage.close().await;
    assert_eq!(
        durable.newest_height("test").await.unwrap(),
        Some(scene().height)
    );
    // Another producer, another pool, the same block: none of it is ours.
    let foreign = Block {
        pool: "elsewhere".to_owned(),
        ..durable.block_rows("test").await.unwrap().remove(0)
    };
    durable.block(foreign).await.unwrap();

    // The next run knows where the last one stopped, and writes nothing twice.
    let again = facts(&nats, &folder.path().join("spool-of-the-next-run"));
    let stage = Stage::open_over(scene(), config(), Arc::new(Memory::new()), again.clone()).await;
    stage
        .chain
        .standings
        .lock()
        .unwrap()
        .insert([0x0c; 32], ChainPosition::Best { confirmations: 60 });
    until(&*again, &["candidate", "accepted", "confirmed", "matured"]).await;
    stage.close().await;
    let rows = again.block_rows("test").await.unwrap();
    assert_eq!(
        statuses(&rows),
        ["candidate", "accepted", "confirmed", "matured"]
    );
    assert!(
        rows.iter()
            .all(|row| row.worker == "rack7" && row.reward_atomic == Some(600_000_000_000))
    );
    assert_eq!(again.block_rows("elsewhere").await.unwrap().len(), 1);
    nats_server.shutdown().await;
}

async fn until(facts: &dyn Facts, wanted: &[&str]) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(240);
    while !facts
        .block_rows("test")
        .await
        .is_ok_and(|rows| statuses(&rows) == *wanted)
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{wanted:?} did not come"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
