//! What a connection may cost: raw sockets that say little, slowly, or come in numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocketUpgrade};
use headframe_query_front::{QueryConfig, RouteHandler, Server, Services};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::server::{config, services};

/// No test waits so long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// Longer than any test: what has this limit is not what ends the connection.
const NEVER_MS: u64 = 3_600_000;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(config: QueryConfig, services: Services) -> Self {
        let bound = Server::bind(config, services).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let task = tokio::spawn(bound.run(stop.clone()));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// Limits that nothing reaches, to be replaced one at a time.
fn unhurried() -> QueryConfig {
    QueryConfig {
        header_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        body_timeout_ms: NEVER_MS,
        write_timeout_ms: NEVER_MS,
        ..config()
    }
}

/// All that comes until the server closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer on a connection that stays open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut piece = [0; 1024];
    while !text.ends_with("ok\n") {
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap();
        let read = read.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

const LIVE: &[u8] = b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn a_connection_that_never_asks_is_closed() {
    let config = QueryConfig {
        header_timeout_ms: 50,
        ..unhurried()
    };
    let server = Running::start(config, services()).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    // Bytes that trickle do not give a head more time.
    let slow = server.connect().await;
    let (mut read, mut write) = slow.into_split();
    let trickle = tokio::spawn(async move {
        let _ = write
            .write_all(b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            .await;
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while write.write_all(b"x-a: b\r\n").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, read.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
    timeout(PATIENCE, trickle).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_stays_open_after_an_answer_is_closed() {
    let config = QueryConfig {
        idle_timeout_ms: 50,
        ..unhurried()
    };
    let server = Running::start(config, services()).await;
    let mut idle = server.connect().await;
    idle.write_all(LIVE).await.unwrap();
    let answer = read_to_end(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn the_head_of_a_second_request_has_its_own_time() {
    let config = QueryConfig {
        header_timeout_ms: 3_000,
        ..unhurried()
    };
    let server = Running::start(config, services()).await;
    let mut stream = server.connect().await;
    stream.write_all(LIVE).await.unwrap();
    read_answer(&mut stream).await;
    stream.write_all(&LIVE[..20]).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let config = QueryConfig {
        body_timeout_ms: 50,
        ..unhurried()
    };
    let server = Running::start(config, services()).await;
    let slow = server.connect().await;
    let (mut read, mut write) = slow.into_split();
    let trickle = tokio::spawn(async move {
        let head = "POST /api/v1/sql HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n\r\n";
        let _ = write.write_all(head.as_bytes()).await;
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while write.write_all(b"S").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, read.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    let answer = String::from_utf8_lossy(&bytes);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("request_timeout") && answer.contains("query.body_timeout_ms"),
        "{answer}"
    );
    timeout(PATIENCE, trickle).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let endless = axum::routing::get(async || vec![b'x'; 64 << 20]);
    let services = Services {
        handlers: vec![RouteHandler {
            method: axum::http::Method::GET,
            path: "/api/v1/bans",
            answers: endless,
        }],
        ..Services::default()
    };
    let config = QueryConfig {
        write_timeout_ms: 50,
        max_connections: 1,
        ..unhurried()
    };
    let server = Running::start(config, services).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /api/v1/bans HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    // The one place is free again although nobody read and nobody closed.
    until_answered(&server).await;
    drop(deaf);
    server.stop().await;
}

/// Asks until the server has a place for the question.
async fn until_answered(server: &Running) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let answered = async {
        loop {
            let mut stream = server.connect().await;
            stream.write_all(LIVE).await.unwrap();
            let mut answer = [0; 12];
            let read = stream.read_exact(&mut answer).await;
            if read.is_ok() && answer.ends_with(b"200") {
                return;
            }
            pace.tick().await;
        }
    };
    timeout(PATIENCE, answered)
        .await
        .expect("a place becomes free");
}

#[tokio::test]
async fn connections_are_limited_by_address_and_in_all() {
    for (max, per_address, status, code) in [
        (10, 2, "429", "query.max_connections_per_address"),
        (2, 10, "503", "query.max_connections"),
    ] {
        let config = QueryConfig {
            max_connections: max,
            max_connections_per_address: per_address,
            ..unhurried()
        };
        let server = Running::start(config, services()).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = server.connect().await;
            stream.write_all(LIVE).await.unwrap();
            read_answer(&mut stream).await;
            open.push(stream);
        }
        let mut refused = server.connect().await;
        // Its request is sent, so that closing would lose the answer of a careless server.
        refused.write_all(LIVE).await.unwrap();
        let answer = read_to_end(&mut refused).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains(code) && answer.contains("retry-after: 1"),
            "{answer}"
        );
        // Those that are open go on, and one that closes makes way.
        open[0].write_all(LIVE).await.unwrap();
        read_answer(&mut open[0]).await;
        drop(open.pop());
        until_answered(&server).await;
        drop(open);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_request_that_is_answered_has_no_idle_limit() {
    let (started, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (started, go_on) = (started.clone(), go_on.clone());
        axum::routing::get(async move || {
            started.add_permits(1);
            go_on.acquire().await.unwrap().forget();
            "ok\n"
        })
    };
    let services = Services {
        handlers: vec![RouteHandler {
            method: axum::http::Method::GET,
            path: "/api/v1/bans",
            answers: handler,
        }],
        ..Services::default()
    };
    let config = QueryConfig {
        header_timeout_ms: 2_000,
        idle_timeout_ms: 20,
        ..unhurried()
    };
    let server = Running::start(config, services).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /api/v1/bans HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    timeout(PATIENCE, started.acquire())
        .await
        .unwrap()
        .unwrap()
        .forget();
    // A second connection that says nothing is closed meanwhile, so both limits have passed.
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    go_on.add_permits(1);
    read_answer(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_became_a_websocket_goes_on_being_counted() {
    let handler = axum::routing::get(async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            // What comes first is known to have been upgraded.
            let _ = socket.send(Message::Text("here".into())).await;
            while socket.recv().await.is_some() {}
        })
    });
    let services = Services {
        handlers: vec![RouteHandler {
            method: axum::http::Method::GET,
            path: "/api/v1/bans",
            answers: handler,
        }],
        ..Services::default()
    };
    let config = QueryConfig {
        max_connections: 1,
        ..unhurried()
    };
    let server = Running::start(config, services).await;
    let mut socket = server.connect().await;
    let upgrade = "GET /api/v1/bans HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\n\
                   connection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.ends_with("here") {
        let mut piece = [0; 1024];
        let read = timeout(PATIENCE, socket.read(&mut piece)).await.unwrap();
        let read = read.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    let mut refused = server.connect().await;
    refused.write_all(LIVE).await.unwrap();
    let answer = read_to_end(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(socket);
    until_answered(&server).await;
    server.stop().await;
}
