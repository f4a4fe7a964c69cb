//! A coordinator with a worker of its own process at a pool that changes everything it can: no
//! wrong share goes upstream, commands are obeyed and verified, and the pages say what happens.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::StreamExt;
use headframe_coopmine::config::WorkerConfig;
use headframe_coopmine::proto::messages::{HeartbeatRequest, UnregisterRequest};
use headframe_coopmine::worker::Worker;
use headframe_stratum::randomx::plan::ModeSetting;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use crate::curtail::open_pool;
use crate::judge::{Judge, take_shares};
use crate::stand_in::{PATIENCE, Running, StandIn, job, soon, until};

/// A worker with one thread, in light mode.
pub fn worker(coordinator: &Running, id: &str, change: impl FnOnce(&mut WorkerConfig)) -> Worker {
    let mut config = WorkerConfig::default();
    config.worker.id = id.to_owned();
    config.coordinator.address = coordinator.workers.to_string();
    config.mining.threads = 1;
    config.mining.mode = ModeSetting::Light;
    change(&mut config);
    Worker::new(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_pool_does_no_wrong_share_goes_upstream() {
    let mut judge = Judge::new(&[1, 2]);
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.dashboard.token = "secret".to_owned();
        config.heartbeat_interval = "200ms".parse().unwrap();
    })
    .await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker(&coordinator, "rig-1", |_| {}).run(stop.clone()));

    let mut peer = pool.peer(&judge.given(job("a", 1, 1, 2))).await;
    take_shares(&mut peer, &mut judge, "a", 2).await;
    // Another extranonce, another difficulty, another seed.
    peer.push(&judge.given(job("b", 2, 1, 2))).await;
    take_shares(&mut peer, &mut judge, "b", 1).await;
    peer.push(&judge.given(job("c", 2, 1, 5))).await;
    take_shares(&mut peer, &mut judge, "c", 1).await;
    peer.push(&judge.given(job("d", 3, 2, 3))).await;
    take_shares(&mut peer, &mut judge, "d", 2).await;
    // The connection ends while a share has no answer, and the same work comes back under another
    // name: the share is sent again, and is not lost.
    let (_, share) = peer.share().await;
    judge.check(&share);
    judge.forget_last();
    drop(peer);
    let mut peer = pool.peer(&judge.given(job("e", 3, 2, 3))).await;
    let again = until("the share again", async || {
        let (request, next) = peer.share().await;
        judge.check(&next);
        peer.accept(request).await;
        (next["nonce"] == share["nonce"]).then_some(next)
    })
    .await;
    assert_eq!(
        (&again["job_id"], &again["result"]),
        (&json!("e"), &share["result"])
    );
    // A refusal is mapped back to the worker that found it.
    let (request, share) = peer.share().await;
    judge.check(&share);
    peer.refuse(request, "Block expired").await;
    until("the refusal is counted", async || {
        let worker = coordinator.get("/api/workers/rig-1").await;
        (worker["refused_upstream"] == 1 && worker["accepted"].as_u64() >= Some(7)).then_some(())
    })
    .await;
    let ws = message(&mut open_socket(&coordinator).await).await;
    assert!(
        ws["workers"][0]["id"] == "rig-1" && ws["stats"]["pool_connected"] == true,
        "{ws}"
    );
    commands(&coordinator).await;
    pages(&coordinator).await;

    stop.cancel();
    soon("the worker's end", running).await.unwrap().unwrap();
    coordinator.stop().await;
}

/// A header of a chain that is shaped as Bitcoin's is, whose nonce stands at its end.
fn header_job(id: &str, mark: u8) -> Value {
    let mut blob = vec![7; 80];
    blob[76..].fill(0);
    blob[40] = mark;
    let mut job = job(id, mark, 1, 2);
    job["blob"] = json!(hex::encode(blob));
    job["algo"] = json!("rx/opensy");
    job["nonce_offset"] = json!(76);
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_eighty_bytes_are_searched_at_their_own_place() {
    let mut judge = Judge::new(&[1]);
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.miners.listen = "127.0.0.1:0".parse().ok();
        config.miners.user = "farm".to_owned();
    })
    .await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker(&coordinator, "rig-1", |_| {}).run(stop.clone()));
    let mut peer = pool.peer(&judge.given(header_job("a", 1))).await;
    take_shares(&mut peer, &mut judge, "a", 2).await;
    peer.push(&judge.given(header_job("b", 2))).await;
    take_shares(&mut peer, &mut judge, "b", 1).await;
    // Stock XMRig would write its nonce elsewhere, and is told so before it hashes anything.
    let mut stock = TcpStream::connect(coordinator.miners.unwrap())
        .await
        .unwrap();
    let login = json!({"id": 1, "method": "login", "params": {"login": "farm.rig7", "pass": "x",
        "agent": "XMRig/6.26.0"}});
    tokio::io::AsyncWriteExt::write_all(&mut stock, format!("{login}\n").as_bytes())
        .await
        .unwrap();
    let mut said = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut stock, &mut said);
    soon("the refusal", read).await.unwrap();
    assert!(said.contains("mines the algorithm rx/opensy"), "{said}");
    stop.cancel();
    soon("the worker's end", running).await.unwrap().unwrap();
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_sends_what_a_heartbeat_and_a_goodbye_change() {
    // A pool that answers no login: no job, lease or share changes anything besides.
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |_| {}).await;
    let (client, session) = coordinator.register("rig-1", 0).await;
    let mut socket = open_socket(&coordinator).await;
    let first = message(&mut socket).await;
    assert_eq!(first["workers"][0]["hashrate_hs"], 0.0, "{first}");

    let report = HeartbeatRequest {
        worker_id: "rig-1".to_owned(),
        session,
        hashrate_hs: 123.0,
        ..HeartbeatRequest::default()
    };
    client.heartbeat(report).await.unwrap();
    until("the hashrate", async || {
        let stats = message(&mut socket).await["stats"].clone();
        (stats["hashrate_hs"] == 123.0).then_some(())
    })
    .await;
    let worker_id = "rig-1".to_owned();
    let goodbye = UnregisterRequest { worker_id, session };
    client.unregister(goodbye).await.unwrap();
    until("the worker is gone", async || {
        let stats = message(&mut socket).await["stats"].clone();
        (stats["workers_online"] == 0).then_some(())
    })
    .await;
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_keeps_to_its_watts_and_ends_when_it_is_told_to() {
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.dashboard.token = "secret".to_owned();
        config.heartbeat_interval = "200ms".parse().unwrap();
    })
    .await;
    let serving = open_pool(pool, Arc::new(AtomicU64::new(0)));
    let rig = worker(&coordinator, "rig-1", |config| {
        config.mining.threads = 2;
        config.mining.watts_per_thread = 12.0;
    });
    let running = tokio::spawn(rig.run(CancellationToken::new()));
    until("both threads hash", async || {
        let rig = coordinator.get("/api/workers/rig-1").await;
        (rig["threads_active"] == 2 && rig["hashrate_hs"].as_f64() > Some(0.0)).then_some(())
    })
    .await;
    let throttle = |watts: u32| json!({"command": "throttle", "watts": watts});
    let rig = obeyed(&coordinator, throttle(23)).await;
    assert_eq!(rig["threads_active"], 1, "{rig}");
    let rig = obeyed(&coordinator, throttle(24)).await;
    assert_eq!(rig["threads_active"], 2, "{rig}");
    let rig = obeyed(&coordinator, throttle(11)).await;
    assert_eq!(rig["threads_active"], 0, "{rig}");
    // It acknowledges, ends, and says goodbye, which is the proof.
    let rig = obeyed(&coordinator, json!({"command": "shutdown"})).await;
    assert_eq!(rig["online"], false, "{rig}");
    soon("the worker's end", running).await.unwrap().unwrap();
    serving.abort();
    coordinator.stop().await;
}

/// A WebSocket of the coordinator's.
async fn open_socket(coordinator: &Running) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(coordinator.pages).await.unwrap();
    let request = tokio_tungstenite::tungstenite::ClientRequestBuilder::new(
        format!("ws://{}/ws", coordinator.pages).parse().unwrap(),
    )
    .with_header("Authorization", "Bearer secret");
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    socket
}

/// The next message of a WebSocket.
async fn message(socket: &mut WebSocketStream<TcpStream>) -> Value {
    let message = soon("a message", socket.next()).await.unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

async fn give(coordinator: &Running, token: &str, body: Value) -> u16 {
    let url = format!("http://{}/api/workers/rig-1/commands", coordinator.pages);
    let sent = reqwest::Client::new()
        .post(url)
        .bearer_auth(token)
        .json(&body);
    sent.timeout(PATIENCE)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// Gives a command and waits until what the worker reports agrees.
async fn obeyed(coordinator: &Running, body: Value) -> Value {
    assert_eq!(
        give(coordinator, "secret", body.clone()).await,
        202,
        "{body}"
    );
    until(&format!("{body} is verified"), async || {
        let worker = coordinator.get("/api/workers/rig-1").await;
        (worker["command"]["state"] == "verified").then_some(worker)
    })
    .await
}

async fn commands(coordinator: &Running) {
    assert_eq!(
        give(coordinator, "guess", json!({"command": "pause"})).await,
        401
    );
    assert_eq!(
        give(coordinator, "secret", json!({"command": "dance"})).await,
        400
    );
    obeyed(coordinator, json!({"command": "pause"})).await;
    // On a busy machine a thread may end its last nonce after a report of none.
    until("nothing is hashed", async || {
        let worker = coordinator.get("/api/workers/rig-1").await;
        (worker["threads_active"] == 0 && worker["hashrate_hs"] == 0.0).then_some(())
    })
    .await;
    let resumed = obeyed(coordinator, json!({"command": "resume"})).await;
    assert_eq!(resumed["threads_active"], 1);
    // It does not know what a thread draws, and says so.
    assert_eq!(
        give(
            coordinator,
            "secret",
            json!({"command": "throttle", "watts": 9})
        )
        .await,
        202
    );
    until("the refusal", async || {
        let command = coordinator.get("/api/workers/rig-1").await["command"].clone();
        let refusal = command["refusal"].as_str().unwrap_or_default().to_owned();
        (command["state"] == "refused" && refusal.contains("watts_per_thread")).then_some(())
    })
    .await;
}

async fn pages(coordinator: &Running) {
    let health = coordinator.get("/health").await;
    assert_eq!(
        health,
        json!({"status": "healthy", "workers": 1, "pool_connected": true})
    );
    let open = |path: &str| reqwest::get(format!("http://{}{path}", coordinator.pages));
    for path in [
        "/api/stats",
        "/api/workers",
        "/api/jobs",
        "/api/shares",
        "/metrics",
        "/ws",
    ] {
        assert_eq!(open(path).await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(open("/health").await.unwrap().status(), 200);
    let shares = coordinator.get("/api/shares").await;
    let listed = shares["shares"].as_array().unwrap();
    assert!(listed.len() >= 7, "{shares}");
    let first = coordinator.get("/api/shares?limit=1").await;
    assert_eq!(first["shares"].as_array().unwrap().len(), 1, "{first}");
    for (verdict, upstream, reason) in [
        ("accepted", "accepted", Value::Null),
        ("refused_upstream", "refused", json!("Block expired")),
    ] {
        let share = listed.iter().find(|share| share["verdict"] == verdict);
        let share = share.unwrap_or_else(|| panic!("{verdict}: {shares}"));
        assert_eq!(share["local_verdict"], "right", "{share}");
        assert_eq!(
            (&share["upstream_verdict"], &share["reason"]),
            (&json!(upstream), &reason)
        );
    }
    let stats = coordinator.get("/api/stats").await;
    assert_eq!(stats["upstream"]["connected"], true, "{stats}");
    assert_eq!(stats["upstream"]["address"], stats["pool"], "{stats}");
    assert!(
        stats["hashrate_credited_hs"].as_f64() > Some(0.0),
        "{stats}"
    );
    let worker = coordinator.get("/api/workers/rig-1").await;
    assert!(worker["last_share_s"].is_u64(), "{worker}");
    assert_eq!(
        (&worker["trust_pct"], &worker["quarantine_s"]),
        (&json!(100), &Value::Null)
    );
    let url = format!("http://{}/metrics", coordinator.pages);
    let metrics = reqwest::Client::new()
        .get(url)
        .bearer_auth("secret")
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "coopmine_workers_total 1\n",
        "coopmine_workers_online 1\n",
        "coopmine_hashrate_total ",
        "coopmine_shares_total{status=\"valid\"} ",
        "coopmine_shares_total{status=\"invalid\"} 0\n",
        "coopmine_blocks_found 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
