//! Kills: resources are registered, changed and deleted by several at once while the server dies.
//!
//! At the end the stream, the bucket, the table and the answers agree, and what was acknowledged
//! is in all of them. `HEADFRAME_REGISTRY_KILLS` sets the number of kills,
//! `HEADFRAME_REGISTRY_CHANGES` the changes between two of them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use headframe_ingest::Nats;
use headframe_ingest::registry::WatchEvent;
use headframe_ingest::registry::resources::open_bucket;
use headframe_schemas::stream::registry::RegistryChange;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;

use crate::registry::{nats, site, start, try_send};
use crate::server::{Headframe, PATIENCE, until};

/// The newest change of each resource in the bucket.
async fn bucket(nats: &Nats, resources: usize) -> BTreeMap<String, RegistryChange> {
    let bucket = open_bucket(nats.clone(), 1).await.unwrap();
    let mut watch = std::pin::pin!(bucket.watch().await.unwrap());
    let mut found = BTreeMap::new();
    while found.len() < resources {
        let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
        if let WatchEvent::Entry(entry) = event.unwrap().unwrap() {
            let change = serde_json::from_slice(&entry.value.unwrap()).unwrap();
            found.insert(entry.key, change);
        }
    }
    found
}

fn setting(name: &str, default: usize) -> usize {
    let set = std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok());
    set.unwrap_or(default)
}

/// Random changes until the server is gone; answers those that were acknowledged, as
/// `(kind/id, version)`, deletions with the version after the deleted one.
async fn changes(url: String, seed: u64) -> Vec<(String, i64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = Vec::new();
    loop {
        let id = format!("s{}", random.random_range(0..6));
        let path = format!("sites/{id}");
        let Ok(there) = try_send(&url, Method::GET, &path, None, None).await else {
            return acknowledged;
        };
        let mut body = site(&id);
        body["connection_kw"] = json!(random.random_range(0..1_000));
        let tag = there.etag.as_deref();
        let (method, path, is_deletion) = match (there.status.as_u16(), random.random_range(0..4)) {
            (404, _) => (Method::POST, "sites", false),
            (_, 0) => (Method::DELETE, path.as_str(), true),
            _ => (Method::PUT, path.as_str(), false),
        };
        let body = (!is_deletion).then_some(&body);
        let Ok(done) = try_send(&url, method, path, tag, body).await else {
            return acknowledged;
        };
        match done.status.as_u16() {
            200 | 201 if is_deletion => {
                let version = done.body["deleted"]["version"].as_i64().unwrap();
                acknowledged.push((format!("sites.{id}"), version + 1));
            }
            200 | 201 => {
                let version = done.body["version"].as_i64().unwrap();
                acknowledged.push((format!("sites.{id}"), version));
            }
            // Somebody was faster.
            404 | 409 | 412 => {}
            status => panic!("{status}: {}", done.body),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_any_process_leaves_stream_bucket_table_and_answers_the_same() {
    let kills = setting("HEADFRAME_REGISTRY_KILLS", 3);
    let between = setting("HEADFRAME_REGISTRY_CHANGES", 40);
    let mut random = StdRng::seed_from_u64(20_261_123);
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let mut acknowledged: Vec<(String, i64)> = Vec::new();
    for kill in 0..kills {
        let running = start(folder.path(), &nats).await;
        let writers: Vec<_> = (0..3)
            .map(|_| tokio::spawn(changes(running.url.clone(), random.random())))
            .collect();
        let due = acknowledged.len() + between + random.random_range(0..20);
        running
            .until("SELECT count(*) AS n FROM registry", |row| {
                row["n"].as_u64().unwrap() >= due as u64
            })
            .await;
        running.kill();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        println!(
            "{:>4}: {} changes were acknowledged",
            kill + 1,
            acknowledged.len()
        );
    }
    let running = start(folder.path(), &nats).await;
    let all = stored(&connection).await;
    let newest: BTreeMap<String, RegistryChange> = all
        .iter()
        .map(|change| (change.resource.clone(), change.clone()))
        .collect();
    let made: BTreeSet<(String, i64)> = all
        .iter()
        .map(|change| (change.resource.clone(), change.version))
        .collect();
    // Each acknowledged change is one of the stream, and none was acknowledged twice.
    let count = acknowledged.len();
    for change in &acknowledged {
        assert!(made.contains(change), "{change:?} is lost");
    }
    acknowledged.sort();
    acknowledged.dedup();
    assert_eq!(acknowledged.len(), count, "a version was given twice");
    agree(&running, &connection, &newest, all.len()).await;
    running.kill();
    nats.shutdown().await;
}

/// Every change of the stream, each of which follows the one before of its resource.
async fn stored(connection: &Nats) -> Vec<RegistryChange> {
    let stream = connection.js.get_stream("registry").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut newest: BTreeMap<String, RegistryChange> = BTreeMap::new();
    let mut all = Vec::new();
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.unwrap();
        let change: RegistryChange = serde_json::from_slice(&message.payload).unwrap();
        let before = newest.get(&change.resource);
        assert_eq!(
            change.version,
            before.map_or(0, |before| before.version) + 1
        );
        assert_eq!(
            change.before,
            before.and_then(|before| before.after.clone())
        );
        newest.insert(change.resource.clone(), change.clone());
        all.push(change);
    }
    all
}

/// The table, what the server answers, and the bucket have what the stream has.
async fn agree(
    running: &Headframe,
    connection: &Nats,
    newest: &BTreeMap<String, RegistryChange>,
    last: usize,
) {
    // The table has every change of the stream, once.
    let row = running
        .until("SELECT count(*) AS n FROM registry", |row| {
            row["n"] == json!(last)
        })
        .await;
    assert_eq!(row, json!({"n": last}));
    for change in newest.values() {
        let row = running
            .row(&format!(
                "SELECT version, after, before FROM registry WHERE resource = '{}' ORDER BY \
                 version DESC LIMIT 1",
                change.resource
            ))
            .await;
        let wanted =
            json!({"version": change.version, "after": change.after, "before": change.before});
        assert_eq!(row, wanted);
        let found = running.read(&change.resource.replace('.', "/")).await;
        match &change.after {
            None => assert_eq!(found.status, 404, "{}", found.body),
            Some(_) => assert_eq!(found.body["version"], json!(change.version)),
        }
    }
    until("the bucket is the stream", async || {
        let found = bucket(connection, newest.len()).await;
        let wanted = newest
            .values()
            .map(|change| (change.resource.replace('.', "_"), change.clone()));
        match found == wanted.collect() {
            true => Ok(()),
            false => Err(format!("still {found:?}")),
        }
    })
    .await;
}
