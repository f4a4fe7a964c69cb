//! Facts: each row once in JetStream, also when JetStream comes late, and in files without it.

use std::collections::BTreeMap;
use std::path::Path;

use headframe_coopmine::config::WorkerConfig;
use headframe_coopmine::proto::messages::{HeartbeatRequest, UnregisterRequest};
use headframe_coopmine::worker::Worker;
use headframe_ingest::{
    ManagedServer, Nats, ReadFrom, Reader, ServerConfig, find_nats_server, inspect_stream,
};
use headframe_schemas::{Stream, codec, stream};
use headframe_stratum::randomx::plan::ModeSetting;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::own_pool::free_port;
use crate::stand_in::{Peer, Running, StandIn, job, soon, until};

pub async fn nats_server(folder: &Path, port: u16) -> ManagedServer {
    let binary = find_nats_server().unwrap();
    let config = ServerConfig {
        port,
        ..ServerConfig::new(binary, folder.to_owned())
    };
    ManagedServer::start(config).await.unwrap()
}

/// The rows of a stream, in its order, and their numbers by producer. `None` while it is not there.
pub async fn rows(nats: &Nats, name: &str) -> Option<(Vec<Value>, BTreeMap<String, Vec<i64>>)> {
    let mut rows = StreamRows::new(nats, name);
    rows.read_on().await?;
    Some((rows.found, rows.numbers))
}

/// The rows of a stream as far as they were read, by one consumer however often one looks.
pub struct StreamRows<'a> {
    nats: &'a Nats,
    stream: &'static dyn Stream,
    reader: Option<Reader>,
    pub found: Vec<Value>,
    /// The numbers of the rows by producer.
    pub numbers: BTreeMap<String, Vec<i64>>,
}

impl<'a> StreamRows<'a> {
    pub fn new(nats: &'a Nats, name: &str) -> Self {
        Self {
            nats,
            stream: stream::find(name).unwrap(),
            reader: None,
            found: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Reads to the row that is the last now. `None` while the stream is not there.
    pub async fn read_on(&mut self) -> Option<()> {
        let identity = inspect_stream(&self.nats.js, self.stream).await.ok()??;
        if identity.first_seq > identity.last_seq {
            return Some(());
        }
        if self.reader.is_none() {
            let from = ReadFrom {
                next: identity.first_seq,
                ..ReadFrom::default()
            };
            let opened = Reader::open(self.nats.clone(), self.stream, from).await;
            self.reader = Some(opened.unwrap());
        }
        let reader = self.reader.as_mut()?;
        while reader.position() <= identity.last_seq {
            for message in soon("a message", reader.next()).await.unwrap() {
                for (place, (_, line)) in codec::lines(&message.payload).enumerate() {
                    let (producer, number) = message.identity(place).unwrap();
                    let numbers = self.numbers.entry(producer.to_owned());
                    numbers.or_default().push(number);
                    self.found.push(serde_json::from_slice(line).unwrap());
                }
            }
        }
        Some(())
    }
}

fn worker(coordinator: &Running) -> Worker {
    let mut config = WorkerConfig::default();
    config.worker.id = "rig-1".to_owned();
    config.coordinator.address = coordinator.workers.to_string();
    config.mining.threads = 1;
    config.mining.mode = ModeSetting::Light;
    Worker::new(config).unwrap()
}

fn texts<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter()
        .map(|row| row[key].as_str().unwrap_or("none"))
        .collect()
}

/// Refuses a share, accepts another, and all that come until the worker rests.
async fn judge(mut peer: Peer<tokio::net::TcpStream>, paused: CancellationToken) {
    let (first, _) = peer.share().await;
    peer.refuse(first, "Block expired").await;
    loop {
        tokio::select! {
            (id, _) = peer.share() => peer.accept(id).await,
            () = paused.cancelled() => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_wait_for_jetstream_and_each_is_there_once() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // It comes back with its port, which nobody else may have taken meanwhile.
    let port = free_port();
    let server = nats_server(data.path(), port).await;
    let nats_config = server.client_config();
    server.shutdown().await;
    let pool = StandIn::open().await;
    let facts_folder = folder.path().to_owned();
    let facts_nats = nats_config.clone();
    let coordinator = Running::start(&pool.address(), move |config| {
        config.dashboard.token = "secret".to_owned();
        config.heartbeat_interval = "200ms".parse().unwrap();
        config.facts.folder = facts_folder;
        config.facts.nats = Some(facts_nats);
    })
    .await;
    let (stop, paused) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn(worker(&coordinator).run(stop.clone()));
    let peer = pool.peer(&job("a", 1, 1, 2)).await;
    let judging = tokio::spawn(judge(peer, paused.clone()));
    until("shares", async || {
        let shares = coordinator.get("/api/stats").await["shares"].clone();
        (shares["accepted"].as_u64() >= Some(3)).then_some(())
    })
    .await;
    let url = format!("http://{}/api/workers/rig-1/commands", coordinator.pages);
    let sent = reqwest::Client::new()
        .post(url)
        .bearer_auth("secret")
        .json(&json!({"command": "pause"}));
    assert_eq!(sent.send().await.unwrap().status(), 202);
    until("the pause", async || {
        let worker = coordinator.get("/api/workers/rig-1").await;
        (worker["command"]["state"] == "verified").then_some(())
    })
    .await;
    stop.cancel();
    soon("the worker's end", running).await.unwrap().unwrap();
    let all_answered = async || {
        let shares = coordinator.get("/api/stats").await["shares"].clone();
        let count = |key: &str| shares[key].as_u64();
        (count("accepted")? + count("refused_upstream")? == count("valid")?).then(|| count("valid"))
    };
    let answered = until("every share is answered", all_answered).await;
    let answered = usize::try_from(answered.unwrap()).unwrap();

    // Everything happened without JetStream, and waits in the spool.
    let server = nats_server(data.path(), port).await;
    let nats = Nats::connect(&nats_config).await.unwrap();
    let arrived = until("all shares are in the stream", async || {
        let (found, _) = rows(&nats, "worker_shares").await?;
        (found.len() >= answered).then_some(())
    });
    Box::pin(arrived).await;
    // One may have been verified since.
    until("every later share is answered", all_answered).await;
    paused.cancel();
    soon("the pool's end", judging).await.unwrap();
    coordinator.stop().await;
    let (shares, _) = rows(&nats, "worker_shares").await.unwrap();
    let mut nonces: Vec<_> = shares
        .iter()
        .map(|row| (row["job"].as_i64(), row["nonce"].as_str()))
        .collect();
    nonces.sort_unstable();
    nonces.dedup();
    // One that was still being verified when the others were answered is there, too.
    assert!(nonces.len() >= answered, "{nonces:?}");
    assert_eq!(shares.len(), nonces.len(), "each share once");
    let verdicts = texts(&shares, "upstream_verdict");
    assert_eq!(
        verdicts.iter().filter(|text| **text == "refused").count(),
        1
    );
    let refused = shares
        .iter()
        .find(|row| row["upstream_verdict"] == "refused");
    assert_eq!(refused.unwrap()["reason"], "Block expired");
    assert!(
        verdicts
            .iter()
            .all(|text| ["accepted", "refused"].contains(text))
    );
    assert!(
        texts(&shares, "local_verdict")
            .iter()
            .all(|text| *text == "right")
    );
    let (commands, _) = rows(&nats, "commands").await.unwrap();
    let states = texts(&commands, "state");
    assert_eq!((states[0], *states.last().unwrap()), ("sent", "verified"));
    let (workers, _) = rows(&nats, "workers").await.unwrap();
    let events = texts(&workers, "event");
    assert_eq!(
        (events[0], *events.last().unwrap()),
        ("registered", "unregistered")
    );
    let reports = events.iter().filter(|event| **event == "report").count();
    let (hashrate, _) = rows(&nats, "hashrate").await.unwrap();
    assert_eq!(hashrate.len(), reports);
    assert_eq!(
        (&hashrate[0]["pool"], &hashrate[0]["miner"]),
        (&json!("cluster"), &json!("4wallet"))
    );
    for stream in ["workers", "worker_shares", "commands", "hashrate"] {
        for (producer, mut numbers) in rows(&nats, stream).await.unwrap().1 {
            let (first, count) = (numbers[0], numbers.len());
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{stream} {producer}: a number twice");
            let last = first + i64::try_from(count).unwrap() - 1;
            assert_eq!(*numbers.last().unwrap(), last, "{stream} {producer}: a gap");
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_jetstream_rows_are_lines_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("facts");
    let place = kept.clone();
    // A pool that answers no login.
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), move |config| {
        config.cluster.id = "farm".to_owned();
        config.facts.folder = place;
    })
    .await;
    let worker_id = "rig-1".to_owned();
    let (client, session) = coordinator.register(&worker_id, 0).await;
    for hashrate_hs in [123.0, 456.0] {
        let report = HeartbeatRequest {
            worker_id: worker_id.clone(),
            session,
            hashrate_hs,
            temperature_c: Some(45.5),
            ..HeartbeatRequest::default()
        };
        client.heartbeat(report).await.unwrap();
    }
    let goodbye = UnregisterRequest { worker_id, session };
    client.unregister(goodbye).await.unwrap();
    coordinator.stop().await;
    let read = |stream: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(kept.join(format!("{stream}.ndjson"))).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let workers = read("workers");
    // The second heartbeat came within the minute.
    assert_eq!(
        texts(&workers, "event"),
        ["registered", "report", "unregistered"]
    );
    assert_eq!(
        (
            &workers[1]["hashrate_hs"],
            &workers[1]["temperature_c"],
            &workers[1]["cluster"]
        ),
        (&json!(123.0), &json!(45.5), &json!("farm"))
    );
    let hashrate = read("hashrate");
    assert_eq!(hashrate.len(), 1);
    assert_eq!(
        (&hashrate[0]["pool"], &hashrate[0]["hashrate_hs"]),
        (&json!("farm"), &json!(123.0))
    );
}
