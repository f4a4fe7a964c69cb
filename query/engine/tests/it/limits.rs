//! Each limit has its own code, ends the query and frees what it held.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use headframe_query_front::{At, ErrorCode, QueryConfig, Server, Services};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::server::{
    config, engines, get, post, router, rows, send, service, shares, small, sql_request,
};

/// A query that gives rows for as long as anyone takes them.
const ENDLESS: &str = "SELECT a.value AS n, 'some text to fill the pipe with' AS filler FROM \
                       generate_series(1, 1000000000000) AS a";
/// A query that works for ever and gives nothing.
const SILENT: &str =
    "SELECT count(*) AS n FROM generate_series(1, 1000000000000) AS a WHERE a.value % 7 = 3";

/// Waits for a fact, at most four minutes.
async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    while !fact().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not come true in four minutes"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn running(router: &Router) -> Vec<Value> {
    send(router, get("/api/v1/sql")).await.json()["running"]
        .as_array()
        .unwrap()
        .clone()
}

/// The answer to a query whose time is up while rows are sent: a machine that gives none in that
/// time is given more.
async fn begun(router: &Router, format: &str) -> axum::response::Response {
    for timeout_ms in [800, 2_400, 7_200, 21_600, 64_800] {
        let body = json!({"sql": ENDLESS, "format": format, "timeout_ms": timeout_ms}).to_string();
        let response = router.clone().oneshot(post(body)).await.unwrap();
        if response.status() != StatusCode::GATEWAY_TIMEOUT {
            assert_eq!(response.status(), StatusCode::OK, "{format}");
            return response;
        }
    }
    panic!("no row of {format} came in a minute");
}

#[tokio::test]
async fn time_is_up_before_the_first_row() {
    let router = small().await;
    let answer = send(
        &router,
        post(json!({"sql": SILENT, "timeout_ms": 150}).to_string()),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::GATEWAY_TIMEOUT, "time_limit"),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("150 ms"));
    until("the slot is free", async || {
        running(&router).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn time_is_up_after_rows_were_sent() {
    let router = small().await;
    let response = begun(&router, "ndjson").await;
    let text = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let last: Value = serde_json::from_slice(
        text.trim_ascii_end()
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(last["error"]["code"], "time_limit");
    let answer = send(
        &router,
        post(json!({"sql": ENDLESS, "max_rows": 300_000, "format": "json"}).to_string()),
    )
    .await;
    let body = answer.json();
    assert_eq!(
        (answer.status, body["error"]["code"].as_str()),
        (StatusCode::OK, Some("row_limit"))
    );
    assert_eq!(
        body["rows"].as_array().unwrap().len() as u64,
        body["row_count"].as_u64().unwrap()
    );
}

#[tokio::test]
async fn formats_without_a_last_line_break_the_connection() {
    let router = small().await;
    for format in ["arrow", "parquet", "csv"] {
        let response = begun(&router, format).await;
        let mut pieces = response.into_body().into_data_stream();
        let mut failed = false;
        while let Some(piece) = pieces.next().await {
            failed = piece.is_err();
        }
        assert!(failed, "{format} must end in an error");
    }
}

#[tokio::test]
async fn rows_are_limited_for_people_and_on_demand() {
    let few = router(
        QueryConfig {
            max_rows: 5,
            ..config()
        },
        vec![shares()],
    )
    .await;
    for (body, status) in [
        (json!({"sql": "SELECT * FROM shares"}), 413),
        (
            json!({"sql": "SELECT * FROM shares", "format": "text"}),
            413,
        ),
        (
            json!({"sql": "SELECT * FROM shares", "max_rows": 1000}),
            413,
        ),
        (json!({"sql": "SELECT * FROM shares LIMIT 5"}), 200),
        (json!({"sql": "SELECT * FROM shares", "format": "csv"}), 200),
        (
            json!({"sql": "SELECT * FROM shares", "format": "csv", "max_rows": 9}),
            413,
        ),
    ] {
        let answer = send(&few, post(body.to_string())).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text());
        if status == 413 {
            assert_eq!(answer.code(), "row_limit");
        }
    }
}

#[tokio::test]
async fn memory_is_limited_by_query() {
    let small = QueryConfig {
        query_memory_mib: 1,
        memory_mib: 64,
        spill_mib: 0,
        ..config()
    };
    let router = router(small, vec![shares()]).await;
    let hungry = "SELECT array_agg(a.value) AS all_of_them FROM generate_series(1, 3000000) AS a";
    let answer = send(&router, post(hungry)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (507, "memory_limit"),
        "{}",
        answer.text()
    );
    // A text table is held whole, and that is counted too.
    let wide = "SELECT a.value, repeat('x', 100) AS x FROM generate_series(1, 100000) AS a";
    let answer = send(
        &router,
        post(json!({"sql": wide, "format": "text"}).to_string()),
    )
    .await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (507, "memory_limit"),
        "{}",
        answer.text()
    );
    assert_eq!(
        rows(&router, "SELECT count(*) AS n FROM shares").await,
        vec![json!({"n": 10})]
    );
}

#[tokio::test]
async fn one_query_too_many_is_told_to_come_back() {
    let two = QueryConfig {
        max_concurrent: 2,
        ..config()
    };
    let service = service(&two, vec![shares()]);
    let first = service.ask(sql_request(ENDLESS, At::Latest)).await.unwrap();
    let _second = service.ask(sql_request(ENDLESS, At::Latest)).await.unwrap();
    let third = service
        .ask(sql_request("SELECT 1", At::Latest))
        .await
        .err()
        .unwrap();
    assert_eq!(third.code, ErrorCode::ConcurrencyLimit);
    let response = axum::response::IntoResponse::into_response(third);
    assert_eq!(
        (
            response.status(),
            response.headers()["retry-after"].to_str().unwrap()
        ),
        (StatusCode::TOO_MANY_REQUESTS, "1")
    );
    drop(first);
    service
        .ask(sql_request("SELECT 1", At::Latest))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_query_is_cancelled_by_its_id() {
    let router = small().await;
    let asking = tokio::spawn({
        let router = router.clone();
        async move {
            send(
                &router,
                post(json!({"sql": SILENT, "query_id": "slow-1"}).to_string()),
            )
            .await
        }
    });
    until("the query is listed", async || {
        running(&router)
            .await
            .iter()
            .any(|query| query["query_id"] == "slow-1")
    })
    .await;
    let again = send(
        &router,
        post(json!({"sql": "SELECT 1", "query_id": "slow-1"}).to_string()),
    )
    .await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (StatusCode::CONFLICT, "id_in_use")
    );
    let delete = |id: &str| {
        Request::delete(format!("/api/v1/sql/{id}"))
            .header("host", "localhost")
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let cancelled = send(&router, delete("slow-1")).await;
    assert_eq!(
        cancelled.json(),
        json!({"query_id": "slow-1", "cancelled": true})
    );
    let answer = asking.await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (499, "cancelled")
    );
    assert_eq!(running(&router).await, Vec::<Value>::new());
    let gone = send(&router, delete("slow-1")).await;
    assert_eq!(
        (gone.status, gone.code().as_str()),
        (StatusCode::NOT_FOUND, "not_found")
    );
    let odd = send(
        &router,
        post(json!({"sql": "SELECT 1", "query_id": "a/b"}).to_string()),
    )
    .await;
    assert_eq!(odd.code(), "bad_request");
}

/// A server on a socket, and what ends it.
async fn listening() -> (
    std::net::SocketAddr,
    Router,
    CancellationToken,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let bound = Server::bind(
        config(),
        Services {
            engines: engines(&config(), vec![shares()]),
            ..Services::default()
        },
    )
    .await
    .unwrap();
    let (address, router, stop) = (bound.address(), bound.router(), CancellationToken::new());
    let task = tokio::spawn(bound.run(stop.clone()));
    (address, router, stop, task)
}

async fn request(address: std::net::SocketAddr, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/sql?format=ndjson HTTP/1.1\r\nhost: {address}\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_ends_its_query() {
    let (address, router, stop, task) = listening().await;
    for sql in [SILENT, ENDLESS] {
        let mut socket = request(address, sql).await;
        until("the query runs", async || running(&router).await.len() == 1).await;
        if sql == ENDLESS {
            let mut some = [0; 1000];
            socket.read_exact(&mut some).await.unwrap();
            assert!(some.starts_with(b"HTTP/1.1 200"));
        }
        drop(socket);
        until("the query is gone", async || {
            running(&router).await.is_empty()
        })
        .await;
    }
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_lets_go() {
    let (address, router, stop, task) = listening().await;
    let mut socket = request(address, SILENT).await;
    until("the query runs", async || running(&router).await.len() == 1).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(60), task)
        .await
        .expect("it stops in time")
        .unwrap()
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 499") && answer.contains("cancelled"),
        "{answer}"
    );
    assert!(TcpStream::connect(address).await.is_err());
    // The registry is shared with the router, so that nothing is left behind.
    assert_eq!(running(&router).await, Vec::<Value>::new());
    drop(Arc::new(router));
}
