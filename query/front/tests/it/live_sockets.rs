//! WebSockets of subscribers: tokens that come as the first message, and clients that are dead.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::{QueryConfig, Server};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::account_store::{MemoryStore, accounts, actor, token};
use crate::server::{READER, config, token_file};
use crate::subscriptions::silent_services;

/// How long an event may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    address: SocketAddr,
    accounts: Accounts,
    _file: NamedTempFile,
    _stop: DropGuard,
}

/// A server that nobody asks without a token.
async fn closed(config: QueryConfig) -> Running {
    let file = token_file(READER);
    let config = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let services = silent_services(&accounts);
    let bound = Server::bind(config, services).await.unwrap();
    let (address, stop) = (bound.address(), CancellationToken::new());
    tokio::spawn(bound.run(stop.clone()));
    Running {
        address,
        accounts,
        _file: file,
        _stop: stop.drop_guard(),
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(server: &Running, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    let url = format!("ws://{}/api/v1/streams/shares/rows", server.address);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The next event; `None` when the server closes.
async fn event(socket: &mut Socket) -> Option<Value> {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap()?;
        match message {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn say(socket: &mut Socket, text: &str) {
    let message = Message::Text(text.to_owned().into());
    socket.send(message).await.unwrap();
}

fn first(token: &str) -> String {
    serde_json::json!({"token": token}).to_string()
}

#[tokio::test]
async fn a_token_may_come_as_the_first_message() {
    let server = closed(config()).await;
    let viewer = token(&server.accounts, "viewer").await;
    let miner = token(&server.accounts, "miner").await;
    for given in [READER, &viewer, &miner] {
        let mut socket = open(&server, &[]).await.unwrap();
        say(&mut socket, &first(given)).await;
        assert_eq!(event(&mut socket).await.unwrap()["event"], "ready");
    }
    // Who brings it as a header has nothing to say.
    let bearer = format!("Bearer {viewer}");
    let mut socket = open(&server, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(event(&mut socket).await.unwrap()["event"], "ready");
    // The right to a subscription ends with the token, wherever that came.
    let mut socket = open(&server, &[]).await.unwrap();
    say(&mut socket, &first(&viewer)).await;
    assert_eq!(event(&mut socket).await.unwrap()["event"], "ready");
    // Whether it may go on is asked with the token that came as a message.
    assert_eq!(event(&mut socket).await.unwrap()["event"], "progress");
    server.accounts.revoke(actor(), "a-viewer").await.unwrap();
    let mut last = event(&mut socket).await.unwrap();
    while last["event"] == "progress" {
        last = event(&mut socket).await.unwrap();
    }
    assert_eq!(last["event"], "failed");
    assert_eq!(event(&mut socket).await, None);
}

#[tokio::test]
async fn a_first_message_without_a_right_token_is_refused() {
    let server = closed(config()).await;
    let viewer = token(&server.accounts, "viewer").await;
    let wrong = first(&format!("{viewer}x"));
    let more = format!("{{\"token\": \"{viewer}\", \"more\": 1}}");
    for message in [wrong.as_str(), "hello", "{}", "{\"token\": 7}", &more] {
        let mut socket = open(&server, &[]).await.unwrap();
        say(&mut socket, message).await;
        let refused = event(&mut socket).await.unwrap();
        assert_eq!(refused["event"], "failed", "{message}: {refused}");
        assert_eq!(refused["data"]["code"], "unauthorized", "{message}");
        assert_eq!(event(&mut socket).await, None, "{message}");
    }
    // What is no WebSocket, or carries a wrong token, is refused as ever.
    let refused = open(&server, &[("authorization", "Bearer wrong")]).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 401));
    // A page of another site is not even asked for one.
    let origin = [("origin", "http://elsewhere.example")];
    let refused = open(&server, &origin).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 403));
}

#[tokio::test]
async fn who_says_nothing_at_first_is_left_and_few_may_wait_at_once() {
    let quick = QueryConfig {
        header_timeout_ms: 3_000,
        live_subscribers_per_address: 4,
        ..config()
    };
    let server = closed(quick).await;
    let mut silent = open(&server, &[]).await.unwrap();
    let refusal = event(&mut silent).await.unwrap();
    assert_eq!(refusal["data"]["code"], "unauthorized");
    let message = refusal["data"]["message"].as_str().unwrap();
    assert!(message.contains("3000 ms"), "{message}");
    assert_eq!(event(&mut silent).await, None);
    let calm = QueryConfig {
        live_subscribers_per_address: 4,
        ..config()
    };
    let server = closed(calm).await;
    let waiting = open(&server, &[]).await.unwrap();
    let refused = open(&server, &[]).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 429));
    drop(waiting);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_left() {
    let quick = QueryConfig {
        live_ping_ms: 2_000,
        ..config()
    };
    let server = closed(quick).await;
    // One that answers stays: the library answers pings as long as it is read.
    let bearer = format!("Bearer {READER}");
    let mut living = open(&server, &[("authorization", &bearer)]).await.unwrap();
    let mut dead = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "GET /api/v1/streams/shares/rows HTTP/1.1\r\nhost: {}\r\nauthorization: {bearer}\r\n\
         upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    dead.write_all(head.as_bytes()).await.unwrap();
    // It reads, so that nothing stands still, and says nothing ever again.
    let mut said = Vec::new();
    let left = async {
        let mut bytes = [0; 1024];
        loop {
            match dead.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(read) => said.extend_from_slice(&bytes[..read]),
            }
        }
    };
    let mut pings = 0;
    let living = async {
        loop {
            match timeout(PATIENCE, living.next()).await.unwrap() {
                Some(Ok(Message::Ping(_))) => pings += 1,
                Some(Ok(_)) => {}
                ended => panic!("the living one is left: {ended:?}"),
            }
        }
    };
    let one_is_left = async {
        tokio::select! {
            () = left => {}
            () = living => {}
        }
    };
    let in_time = timeout(PATIENCE, one_is_left).await;
    assert!(in_time.is_ok(), "the dead one is kept");
    assert!(pings >= 2, "{pings}");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("\"event\":\"ready\""), "{said}");
}
