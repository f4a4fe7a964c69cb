//! Connections over the limits: told why, closed within their second, and of no place.

use headframe_stratum::StratumConfig;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Client, Scene, Stage, config};

/// Far more than the second that a refusal may take, far less than any other bound here.
const BUSY_MACHINE: Duration = Duration::from_secs(120);

/// A pool with few places, where one address may have two connections that have not logged in.
async fn narrow() -> Stage {
    let mut config = StratumConfig {
        max_sessions: 4,
        login_timeout_s: 3_600,
        idle_timeout_s: 3_600,
        ..config()
    };
    config.defence.allow = vec![];
    config.defence.limits.pre_login_per_address = 2;
    Stage::open(Scene::default(), config).await
}

/// What the pool says to a connection that says nothing itself, until it has no more to say.
async fn last_words(stream: &mut TcpStream) -> String {
    let mut said = String::new();
    // A connection that finds no place is closed without a word, or reset.
    let _ = stream.read_to_string(&mut said).await;
    said
}

/// Waits until the pool has closed the connection for good, so that what is sent to it is reset.
/// The pool reads 16 KiB of a refused connection, which this does not fill.
async fn until(stream: &mut TcpStream) {
    let deadline = Instant::now() + BUSY_MACHINE;
    while stream.write_all(b"x").await.is_ok() {
        assert!(Instant::now() < deadline, "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_closed_within_its_second_and_keeps_no_place() {
    let stage = narrow().await;
    // The pool lets two of fourteen in, whichever it sees first. Those hear nothing.
    let (address, twelve_refused) = (stage.address, CancellationToken::new());
    let mut clients = JoinSet::new();
    for _ in 0..14 {
        let twelve_refused = twelve_refused.clone();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            tokio::select! {
                said = last_words(&mut stream) => (stream, Some(said)),
                () = twelve_refused.cancelled() => (stream, None),
            }
        });
    }
    let mut refused = Vec::new();
    while refused.len() < 12 {
        let (stream, said) = clients.join_next().await.unwrap().unwrap();
        let said = said.unwrap();
        assert!(
            said.is_empty() || said.contains("error"),
            "it is told why: {said}"
        );
        refused.push((stream, said));
    }
    twelve_refused.cancel();
    let mut silent = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (stream, said) = client.unwrap();
        assert_eq!(said, None, "two are let in");
        silent.push(Client::over(stream));
    }
    assert!(refused.iter().any(|(_, said)| said.contains("error")));
    // They hold on, and the pool lets go of each.
    for (stream, _) in &mut refused {
        until(stream).await;
    }
    // Their places are free again: of four, two are still taken by the silent ones.
    let [first, second] = silent.try_into().ok().unwrap();
    let places = [first.logged_in().await, second.logged_in().await];
    let more = [
        Client::connect(stage.address).await.logged_in().await,
        Client::connect(stage.address).await.logged_in().await,
    ];
    drop((places, more, refused));
    stage.close().await;
}
