//! A coordinator at a pool that speaks what the big Monero pools do and no more: TLS with a pinned
//! certificate, a last byte of the nonce that is the pool's, and `client.reconnect` to another host
//! of it. Each share that the pool has is counted, and none is lost.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::coordinator::worker;
use crate::judge::{Judge, take_rest, take_shares};
use crate::stand_in::{Peer, PoolTls, Running, StandIn, job_with_byte, long_drain, soon, until};

type TlsPeer = Peer<TlsStream<TcpStream>>;

/// The next miner that comes to a host of the pool.
async fn peer(host: &StandIn, tls: &PoolTls, job: &Value) -> TlsPeer {
    let stream = tls.accept(host.connection().await).await.unwrap();
    Peer::logged_in_with(stream, job, &["algo", "nicehash", "keepalive"]).await
}

/// Waits until as many shares are accepted as the pool has taken.
async fn all_are_counted(coordinator: &Running, judge: &Judge) {
    let taken = judge.count_taken();
    until("every share that the pool has is counted", async || {
        let stats = coordinator.get("/api/stats").await;
        for key in ["refused_upstream", "unanswered", "invalid"] {
            assert_eq!(stats["shares"][key], 0, "{stats}");
        }
        assert!(stats["shares"]["accepted"].as_u64()? <= taken, "{stats}");
        (stats["shares"]["accepted"] == taken).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_share_is_lost_at_a_pool_that_keeps_a_byte_and_moves_its_miners() {
    let (tls, mut judge) = (PoolTls::new(), Judge::new(&[1]));
    let (first, second) = (StandIn::open().await, StandIn::open().await);
    let address = format!("stratum+ssl://{}#{}", first.address(), tls.fingerprint);
    let facts = tempfile::tempdir().unwrap();
    let coordinator = Running::start_with(&address, long_drain(), |config| {
        config.heartbeat_interval = "200ms".parse().unwrap();
        config.facts.folder = facts.path().to_owned();
    })
    .await;
    let stop = CancellationToken::new();
    let workers = ["rig-1", "rig-2"]
        .map(|id| tokio::spawn(worker(&coordinator, id, |_| {}).run(stop.clone())));

    let mut at_first = peer(&first, &tls, &judge.given(job_with_byte("a", 1, 0xab, 4))).await;
    assert_eq!(at_first.login["params"]["login"], "4wallet");
    take_shares(&mut at_first, &mut judge, "a", 3).await;
    // Of two shares the miner hears nothing any more, and only one of them was stored.
    let (_, stored) = at_first.share().await;
    judge.check(&stored);
    let (_, unstored) = at_first.share().await;
    at_first.send_to(&second).await;
    // The other host has the same work under another name.
    let mut at_second = peer(&second, &tls, &judge.given(job_with_byte("b", 1, 0xab, 4))).await;
    drop(at_first);
    let mut missing = vec![stored["nonce"].clone(), unstored["nonce"].clone()];
    while !missing.is_empty() {
        let (id, share) = at_second.share().await;
        missing.retain(|nonce| *nonce != share["nonce"]);
        match judge.take(&share) {
            true => at_second.accept(id).await,
            false => at_second.refuse(id, "Duplicate share").await,
        }
    }
    // Other work, in which another byte is the pool's.
    at_second
        .push(&judge.given(job_with_byte("c", 2, 0x17, 4)))
        .await;
    take_shares(&mut at_second, &mut judge, "c", 3).await;

    all_are_counted(&coordinator, &judge).await;
    let stats = coordinator.get("/api/stats").await;
    assert_eq!(stats["shares"]["dead"], 0, "{stats}");
    let known = coordinator.get("/api/workers").await;
    let accepted = |one: &Value| one["accepted"].as_u64().unwrap();
    let by_worker: Vec<u64> = known["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(accepted)
        .collect();
    assert_eq!(
        by_worker.iter().sum::<u64>(),
        judge.count_taken(),
        "{known}"
    );
    assert_eq!(by_worker.len(), 2, "{known}");

    // It answers what it was sent also when the miner is gone, to a host that has other work.
    let (late, share) = at_second.share().await;
    judge.check(&share);
    at_second.send_to(&first).await;
    let mut at_first = peer(&first, &tls, &judge.given(job_with_byte("d", 3, 0x2a, 4))).await;
    at_second.accept(late).await;
    take_rest(&mut at_second, &mut judge).await;
    take_shares(&mut at_first, &mut judge, "d", 1).await;
    all_are_counted(&coordinator, &judge).await;

    // A coordinator that ends waits for the answers, too, and keeps their rows.
    let (late, share) = at_first.share().await;
    judge.check(&share);
    stop.cancel();
    for worker in workers {
        soon("a worker's end", worker).await.unwrap().unwrap();
    }
    let stopping = coordinator.stop();
    tokio::pin!(stopping);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut stopping).await;
    assert!(early.is_err(), "a share has no answer yet");
    at_first.accept(late).await;
    tokio::join!(stopping, take_rest(&mut at_first, &mut judge));
    let rows = std::fs::read_to_string(facts.path().join("worker_shares.ndjson")).unwrap();
    let count = |verdict: &str| {
        let key = format!("\"upstream_verdict\":\"{verdict}\"");
        rows.lines().filter(|row| row.contains(&key)).count() as u64
    };
    assert_eq!(
        (count("accepted"), count("unanswered")),
        (judge.count_taken(), 0)
    );
}
