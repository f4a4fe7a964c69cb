//! Kills: resources of every kind are registered, changed and deleted by several at once while the
//! server dies.
//!
//! Two registries in this process write without a pause, as two servers would, and others over HTTP
//! to the server that is killed. At the end the stream, the bucket, the table and the answers
//! agree, what was acknowledged is in all of them, the chain of evidence holds from the tables
//! alone, and a flipped bit is found. `HEADFRAME_REGISTRY_KILLS` sets the number of kills,
//! `HEADFRAME_REGISTRY_CHANGES` the operations for each of them, `HEADFRAME_REGISTRY_IDS` the ids
//! of a kind and `HEADFRAME_REGISTRY_FLIPS` the bits.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use futures::{StreamExt, stream};
use headframe_ingest::registry::WatchEvent;
use headframe_ingest::registry::resources::{ChangeError, ResourceRegistry, open_bucket};
use headframe_ingest::{ManagedServer, Nats, ReadFrom, Reader, StreamSettings};
use headframe_schemas::resource::{self, Action, Change, Values};
use headframe_schemas::stream::evidence::EvidenceRows;
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};
use headframe_schemas::{Resource, Stream, Table};
use headframe_sinks::{Lake, SnapshotReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::registry::{nats, try_send};
use crate::server::{Headframe, PATIENCE, free_port, until};
use crate::user_pipelines::rows;

/// Changes of one registry that wait at the same time.
const IN_FLIGHT: usize = 16;
const REGISTRIES: usize = 2;
const CLIENTS: usize = 2;

fn setting(name: &str, default: usize) -> usize {
    let set = std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok());
    set.unwrap_or(default)
}

/// Ids of a kind that there may be.
fn ids() -> usize {
    setting("HEADFRAME_REGISTRY_IDS", 12)
}

/// A change that was acknowledged: `kind.id`, its version, and a hash of the fields where they are
/// known; a deletion has the version after the deleted one.
type Acknowledged = (String, i64, Option<u64>);

fn hash(fields: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    fields.hash(&mut hasher);
    hasher.finish()
}

/// Random fields of a kind, which name other resources that may or may not be there.
fn fields(kind: &Resource, id: &str, random: &mut StdRng) -> Value {
    let number = random.random_range(0..1_000);
    let mut other = |kind: &str| format!("{kind}{}", random.random_range(0..ids()));
    let time = format!("2026-01-01T00:00:{:02}Z", number % 60);
    match kind.name {
        "operators" => json!({"name": format!("n{number}"),
            "registration_number": format!("r{}", number % 300)}),
        "sites" => json!({"name": id, "location": "a fjord", "time_zone": "Europe/Oslo",
            "connection_kw": number, "operator": other("operators")}),
        "pools" => json!({"name": id, "operator": other("operators"), "location": "a fjord",
            "power_limit_kw": number, "energy_limit_kwh": 1, "energy_period": "day"}),
        "meters" => json!({"serial_number": format!("m-{id}"), "site": other("sites"),
            "measures": "machine", "model": format!("x{number}")}),
        "machines" => json!({"site": other("sites"), "pool": other("pools"), "model": "x",
            "serial_number": format!("s-{id}"), "rated_power_w": number}),
        "allocations" => json!({"site": other("sites"), "power_kw": number, "period": "day",
            "valid_from": time}),
        "inspections" => json!({"site": other("sites"), "type": "routine", "status": "planned",
            "planned_at": time}),
        _ => json!({"type": "OTHER", "subject_kind": "site", "metric": "power_w",
            "comparison": "above", "threshold": number, "status": "paused"}),
    }
}

/// A random resource.
fn chosen(random: &mut StdRng) -> (&'static Resource, String) {
    let kind = resource::ALL[random.random_range(0..resource::ALL.len())];
    (
        kind,
        format!("{}{}", kind.name, random.random_range(0..ids())),
    )
}

/// One random change in this process; what was acknowledged.
async fn change(registry: &ResourceRegistry, seed: u64) -> Option<Acknowledged> {
    let mut random = StdRng::seed_from_u64(seed);
    let (kind, id) = chosen(&mut random);
    let there = registry.state().find(kind.name, &id);
    let values = fields(kind, &id, &mut random);
    let values: Values = kind.check(values.as_object().unwrap()).unwrap();
    let seen = there.as_ref().map_or(0, |there| there.version);
    let action = match (there, random.random_range(0..8)) {
        (None, _) => Action::Create(values),
        (Some(there), 0) => Action::Delete {
            seen: there.version,
        },
        (Some(there), _) => Action::Replace {
            values,
            seen: there.version,
        },
    };
    let is_deletion = matches!(action, Action::Delete { .. });
    let change = Change {
        resource: kind,
        id: id.clone(),
        action,
        actor: "test".to_owned(),
        role: None,
    };
    let key = format!("{}.{id}", kind.name);
    match registry.change(&change).await {
        Ok(there) if is_deletion => Some((key, there.version + 1, Some(hash(None)))),
        // The same fields are no change.
        Ok(there) if there.version == seen => None,
        Ok(there) => {
            let made = Value::Object(there.values).to_string();
            Some((key, there.version, Some(hash(Some(&made)))))
        }
        // Others were faster, or it is not allowed; or nobody knows whether it was made.
        Err(ChangeError::Refused(_) | ChangeError::Busy(_) | ChangeError::Stream(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// So many random changes, some at the same time.
async fn changes(
    registry: Arc<ResourceRegistry>,
    seed: u64,
    operations: usize,
) -> Vec<Acknowledged> {
    let mut random = StdRng::seed_from_u64(seed);
    let seeds: Vec<u64> = (0..operations).map(|_| random.random()).collect();
    let made = stream::iter(seeds).map(|seed| {
        let registry = registry.clone();
        async move { change(&registry, seed).await }
    });
    made.buffer_unordered(IN_FLIGHT)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Random changes over HTTP until the server is gone.
async fn requests(url: String, seed: u64) -> Vec<Acknowledged> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = Vec::new();
    loop {
        let (kind, id) = chosen(&mut random);
        let path = format!("{}/{id}", kind.name);
        let Ok(there) = try_send(&url, Method::GET, &path, None, None).await else {
            return acknowledged;
        };
        let mut body = fields(kind, &id, &mut random);
        body["id"] = json!(id);
        let tag = there.etag.as_deref();
        let seen = there.body["version"].as_i64();
        let (method, path, is_deletion) = match (there.status.as_u16(), random.random_range(0..8)) {
            (404, _) => (Method::POST, kind.name, false),
            (_, 0) => (Method::DELETE, path.as_str(), true),
            _ => (Method::PUT, path.as_str(), false),
        };
        let body = (!is_deletion).then_some(&body);
        let Ok(done) = try_send(&url, method, path, tag, body).await else {
            return acknowledged;
        };
        let key = format!("{}.{id}", kind.name);
        match done.status.as_u16() {
            200 | 201 if is_deletion => {
                let version = done.body["deleted"]["version"].as_i64().unwrap();
                acknowledged.push((key, version + 1, None));
            }
            // The same fields are no change.
            200 if done.body["version"].as_i64() == seen => {}
            200 | 201 => acknowledged.push((key, done.body["version"].as_i64().unwrap(), None)),
            // Somebody was faster, or it is not allowed.
            400 | 404 | 409 | 412 | 503 => {}
            status => panic!("{status}: {}", done.body),
        }
    }
}

async fn start(folder: &Path, nats: &ManagedServer) -> Headframe {
    let roles = "pipelines,maintenance,query";
    let running = Headframe::start(folder, nats.url(), free_port(), roles);
    running.row("SELECT 1").await;
    running
}

/// Registries of this process, as two servers have them.
async fn registries(nats: &ManagedServer, stop: &CancellationToken) -> Vec<Arc<ResourceRegistry>> {
    let mut registries = Vec::new();
    for _ in 0..REGISTRIES {
        let connection = Nats::connect(&nats.client_config()).await.unwrap();
        let opened = ResourceRegistry::open(connection, &StreamSettings::default()).await;
        let (registry, follower) = opened.unwrap();
        tokio::spawn(follower.run(stop.clone()));
        registries.push(Arc::new(registry));
    }
    registries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_any_process_leaves_stream_bucket_table_and_answers_the_same() {
    let kills = setting("HEADFRAME_REGISTRY_KILLS", 3);
    let between = setting("HEADFRAME_REGISTRY_CHANGES", 300);
    let mut random = StdRng::seed_from_u64(20_261_123);
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let stop = CancellationToken::new();
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let registries = registries(&nats, &stop).await;
    for kill in 0..kills {
        let running = start(folder.path(), &nats).await;
        let own: Vec<_> = registries
            .iter()
            .map(|registry| {
                let operations = between / REGISTRIES;
                tokio::spawn(changes(registry.clone(), random.random(), operations))
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(requests(running.url.clone(), random.random())))
            .collect();
        // Somewhere in the middle of what is being written.
        let due = acknowledged.len() + random.random_range(1..between / 4);
        running
            .until("SELECT count(*) AS n FROM registry", |row| {
                row["n"].as_u64().unwrap() >= due as u64
            })
            .await;
        running.kill();
        for writer in clients.into_iter().chain(own) {
            acknowledged.extend(writer.await.unwrap());
        }
        let count = acknowledged.len();
        println!("{:>4}: {count} changes were acknowledged", kill + 1);
    }
    let all = stored(&connection, acknowledged).await;
    let running = start(folder.path(), &nats).await;
    agree(&running, &connection, &all).await;
    chained(&running, all.count).await;
    running.kill();
    stop.cancel();
    nats.shutdown().await;
    every_flipped_bit_is_found(folder.path(), &mut random).await;
}

/// What the stream has.
struct Stored {
    newest: BTreeMap<String, RegistryChange>,
    count: usize,
}

/// Every change of the stream follows the one before of its resource, and each that was
/// acknowledged is there.
async fn stored(connection: &Nats, acknowledged: Vec<Acknowledged>) -> Stored {
    let mut missing: HashMap<(String, i64), Option<u64>> = HashMap::new();
    for (resource, version, fields) in acknowledged {
        let twice = missing.insert((resource.clone(), version), fields);
        assert!(twice.is_none(), "{resource} had {version} given twice");
    }
    let mut reader = Reader::open(connection.clone(), &RegistryChanges, ReadFrom::default())
        .await
        .unwrap();
    let stream = connection.js.get_stream(RegistryChanges.name()).await;
    let last = stream.unwrap().cached_info().state.last_sequence;
    let mut all = Stored {
        newest: BTreeMap::new(),
        count: 0,
    };
    while (all.count as u64) < last {
        let messages = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap();
        let messages = match messages {
            Ok(messages) => messages,
            Err(fault) if fault.retryable() => continue,
            Err(fault) => panic!("{fault}"),
        };
        for message in messages {
            let change: RegistryChange = serde_json::from_slice(&message.payload).unwrap();
            let before = all.newest.get(&change.resource);
            let version = before.map_or(0, |before| before.version) + 1;
            assert_eq!(change.version, version, "{change:?}");
            let after = before.and_then(|before| before.after.clone());
            assert_eq!(change.before, after, "{change:?}");
            let key = (change.resource.clone(), change.version);
            if let Some(Some(fields)) = missing.remove(&key) {
                assert_eq!(fields, hash(change.after.as_deref()), "{change:?}");
            }
            all.newest.insert(change.resource.clone(), change);
            all.count += 1;
        }
    }
    assert_eq!(missing.len(), 0, "lost: {:?}", missing.keys().next());
    all
}

/// The table, what the server answers, and the bucket have what the stream has.
async fn agree(running: &Headframe, connection: &Nats, all: &Stored) {
    until_all(running, "SELECT count(*) AS n FROM registry", all.count).await;
    let once = "SELECT count(DISTINCT (resource, version)) AS n FROM registry";
    assert_eq!(running.row(once).await, json!({"n": all.count}));
    let newest = "SELECT r.resource, r.version, r.before, r.after FROM registry AS r JOIN (SELECT \
                  resource, max(version) AS version FROM registry GROUP BY resource) AS m ON \
                  r.resource = m.resource AND r.version = m.version ORDER BY r.resource";
    let wanted = all.newest.values().map(|change| {
        json!({"resource": change.resource, "version": change.version, "before": change.before,
            "after": change.after})
    });
    assert_eq!(rows(running, newest).await, wanted.collect::<Vec<_>>());
    for kind in resource::ALL {
        let there = all.newest.values().filter(|change| {
            let is_kind = change.kind == kind.name;
            is_kind && change.after.is_some()
        });
        let there: BTreeMap<&str, i64> = there
            .map(|change| (change.id.as_str(), change.version))
            .collect();
        let list = running.read(&format!("{}?limit=1000", kind.name)).await;
        let list = list.body[kind.name].as_array().unwrap();
        let listed = list.iter().map(|one| {
            let version = one["version"].as_i64().unwrap();
            (one["id"].as_str().unwrap(), version)
        });
        assert_eq!(listed.collect::<BTreeMap<_, _>>(), there, "{}", kind.name);
    }
    until("the bucket is the stream", async || {
        let found = bucket(connection, all.newest.len()).await;
        let wanted = all
            .newest
            .values()
            .map(|change| (change.resource.replace('.', "_"), change.clone()));
        match found == wanted.collect() {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
}

/// Waits until a count is reached, for as long as it grows.
async fn until_all(running: &Headframe, sql: &str, all: usize) {
    let mut last = 0;
    while last < all as u64 {
        let counted = |row: &Value| row["n"].as_u64().unwrap_or(0);
        let row = running.until(sql, |row| counted(row) > last).await;
        last = counted(&row);
    }
    assert_eq!(last, all as u64, "{sql}");
}

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

/// Every change is a fact of the chain.
async fn chained(running: &Headframe, all: usize) {
    let facts = "SELECT CAST(count(*) FILTER (WHERE kind = 'fact' AND fact_stream = 'registry') AS \
                 BIGINT) AS n FROM evidence";
    until_all(running, facts, all).await;
}

fn audit(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["audit", "evidence", "--tables"])
        .arg(folder.join("tables"))
        .output()
        .unwrap()
}

/// Random bits of random files of the registry's table and of the chain's.
async fn every_flipped_bit_is_found(folder: &Path, random: &mut StdRng) {
    let whole = audit(folder);
    let said = String::from_utf8_lossy(&whole.stderr);
    assert!(whole.status.success(), "{said}");
    let tables = folder.join("tables");
    let lake = Lake::open(tables.to_str().unwrap(), &Default::default()).unwrap();
    let mut files = Vec::new();
    for stream in [&RegistryChanges as &dyn Stream, &EvidenceRows] {
        let snapshot = SnapshotReader::open(&lake, Table::raw(stream))
            .refresh()
            .await;
        let table = tables.join(stream.name());
        let live = snapshot.unwrap().files.clone();
        files.extend(live.iter().map(|file| table.join(&file.add.path)));
    }
    for _ in 0..setting("HEADFRAME_REGISTRY_FLIPS", 3) {
        let file = &files[random.random_range(0..files.len())];
        let bytes = std::fs::read(file).unwrap();
        let (place, bit) = (
            random.random_range(0..bytes.len()),
            random.random_range(0..8),
        );
        let mut changed = bytes.clone();
        changed[place] ^= 1 << bit;
        std::fs::write(file, &changed).unwrap();
        let found = audit(folder);
        let said = String::from_utf8_lossy(&found.stderr);
        let what = format!("bit {bit} of byte {place} of {}: {said}", file.display());
        assert_eq!(found.status.code(), Some(1), "{what}");
        assert!(said.contains("the evidence does not hold"), "{what}");
        std::fs::write(file, &bytes).unwrap();
    }
    assert!(audit(folder).status.success());
}
