//! Subscriptions over sockets: WebSockets, and what subscribers are told when the server stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use headframe_query_front::QueryConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use crate::live::{World, bind};
use crate::server::config;

const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    address: SocketAddr,
    world: Arc<World>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

async fn run(config: QueryConfig) -> Running {
    let (bound, world) = bind(config).await;
    let (address, stop) = (bound.address(), CancellationToken::new());
    let ended = tokio::spawn({
        let stop = stop.clone();
        async move { bound.run(stop).await.unwrap() }
    });
    Running {
        address,
        world,
        stop,
        ended,
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(running: &Running, query: &str, origin: Option<&str>) -> Result<Socket, Error> {
    let url = format!("ws://{}/api/v1/streams/shares/rows{query}", running.address);
    let mut request = url.into_client_request().unwrap();
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn event(socket: &mut Socket) -> Option<Value> {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap()?;
        match message.unwrap() {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_websocket_is_sent_the_same_events() {
    let running = run(config()).await;
    running.world.push(&[2]);
    let mut socket = open(&running, "?after=1.0&columns=outcome", None)
        .await
        .unwrap();
    let row = json!({"event": "row", "id": "1.1", "data": {"outcome": "stale"}});
    assert_eq!(event(&mut socket).await, Some(row));
    let ready = json!({"event": "ready", "id": "1", "data": {"complete_through": 1}});
    assert_eq!(event(&mut socket).await, Some(ready));
    socket
        .send(Message::Ping(Default::default()))
        .await
        .unwrap();
    running.world.push(&[1]);
    let row = json!({"event": "row", "id": "2.0", "data": {"outcome": "accepted"}});
    assert_eq!(event(&mut socket).await, Some(row));
    // A token that was not needed changes nothing.
    let token = Message::Text("{\"token\": \"any\"}".into());
    socket.send(token).await.unwrap();
    running.world.push(&[1]);
    assert_eq!(event(&mut socket).await.unwrap()["id"], "3.0");
    // A page of the server itself may, one of another site may not.
    let own = format!("http://{}", running.address);
    assert!(open(&running, "", Some(&own)).await.is_ok());
    let refused = open(&running, "", Some("http://elsewhere.example")).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 403));
    // Who talks too much is left.
    let long = Message::Text("x".repeat(10_000).into());
    let _ = socket.send(long).await;
    let left = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(!matches!(left, Some(Ok(Message::Text(_)))), "{left:?}");
    running.stop.cancel();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn subscribers_are_told_that_the_server_stops_and_hold_nothing_up() {
    let running = run(config()).await;
    running.world.push(&[1]);
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    let head = "GET /api/v1/streams/shares/rows?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    plain.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("event: ready") {
        let read = timeout(PATIENCE, plain.read_buf(&mut answer)).await;
        assert_ne!(
            read.unwrap().unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let mut socket = open(&running, "", None).await.unwrap();
    assert_eq!(event(&mut socket).await.unwrap()["event"], "ready");
    running.stop.cancel();
    timeout(PATIENCE, plain.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert!(text.contains("id: 1\nevent: draining\n"), "{text}");
    assert!(
        text.ends_with("0\r\n\r\n"),
        "the answer ends as it should: {text}"
    );
    assert_eq!(event(&mut socket).await.unwrap()["event"], "draining");
    assert_eq!(event(&mut socket).await, None);
    running.ended.await.unwrap();
}
