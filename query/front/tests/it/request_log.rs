//! Requests as rows: who, which route, how it was answered, and never what was asked for.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use headframe_query_front::request_log::RequestLog;
use headframe_query_front::{QueryConfig, Server, Services};
use headframe_schemas::stream::requests::RequestEvent;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::account_store::{MemoryStore, accounts, token};
use crate::server::{READER, config, services, token_file};

/// What each request becomes: `principal role route status bytes`.
fn summaries(rows: &[RequestEvent]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            let role = row.role.as_deref().unwrap_or("-");
            assert!(row.event_time > 0 && row.duration_ms >= 0.0 && row.requests == 1);
            assert_eq!(row.peer.as_deref(), Some("127.0.0.1"));
            let (who, route) = (&row.principal, &row.route);
            format!("{who} {role} {route} {} {}", row.status, row.bytes)
        })
        .collect()
}

#[tokio::test]
async fn each_request_is_one_row_without_what_was_asked_for() {
    let file = token_file(READER);
    let accounts = accounts(&MemoryStore::new()).await;
    let miner = token(&accounts, "miner").await;
    let log = RequestLog::default();
    let config = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let services = Services {
        accounts: Some(accounts),
        request_log: Some(log.clone()),
        ..services()
    };
    let bound = Server::bind(config, services).await.unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(CancellationToken::new()));
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let secret = "a-secret-of-somebody";
    for (path, token) in [
        ("/live", None),
        ("/metrics", Some(READER)),
        ("/api/v1/pool?x=a-secret-of-somebody", Some(READER)),
        ("/api/v1/pool", Some(&miner[..])),
        ("/api/v1/pool", Some(secret)),
        ("/api/v1/sql?q=SELECT+'a-secret-of-somebody'", Some(READER)),
        ("/api/v1/miners/a-secret-of-somebody", Some(READER)),
    ] {
        let mut request = Request::get(path).header("host", "127.0.0.1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        to_bytes(Body::new(answer.into_body()), 1 << 20)
            .await
            .unwrap();
    }
    drop(sender);
    // A row is there when its answer was sent whole, which the client may see a moment before.
    let mut rows = Vec::new();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(240);
    while rows.len() < 5 && tokio::time::Instant::now() < deadline {
        rows.extend(log.take());
        tokio::task::yield_now().await;
    }
    let summaries = summaries(&rows);
    assert_eq!(summaries.len(), 5, "{summaries:?}");
    assert!(
        summaries[0].starts_with("reader viewer GET /api/v1/pool 400 "),
        "{summaries:?}"
    );
    assert!(rows[0].bytes > 0, "{rows:?}");
    assert!(
        summaries[1].starts_with("a-miner miner GET /api/v1/pool 403 "),
        "{summaries:?}"
    );
    assert!(
        summaries[2].starts_with("anonymous - GET /api/v1/pool 401 "),
        "{summaries:?}"
    );
    assert!(
        summaries[3].starts_with("reader viewer GET /api/v1/sql 404 "),
        "{summaries:?}"
    );
    assert!(
        summaries[4].starts_with("reader viewer GET /api/v1/miners/{address} 404 "),
        "{summaries:?}"
    );
    assert!(!format!("{rows:?}").contains(secret), "{rows:?}");
}
