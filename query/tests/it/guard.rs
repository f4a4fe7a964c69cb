//! Who may ask, and what probes see.

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::post as on_post;
use headframe_query::{BindError, Probe, QueryConfig, Server, Wiring};
use serde_json::json;

use crate::server::{config, get, send, shares};

struct Fixed(&'static str, Result<(), String>);

#[async_trait::async_trait]
impl Probe for Fixed {
    fn name(&self) -> &str {
        self.0
    }
    async fn check(&self) -> Result<(), String> {
        self.1.clone()
    }
}

async fn bind(config: QueryConfig, wiring: Wiring) -> Router {
    Server::bind(config, wiring).await.unwrap().router()
}

fn wiring() -> Wiring {
    Wiring { sources: vec![shares()], routes: Router::new().route("/api/v1/ingest/shares", on_post(async || "taken")), ..Wiring::default() }
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn strangers_need_the_token() {
    let file = token_file("a-token-of-20-letters\nsecond line\n");
    let config = QueryConfig { listen: "0.0.0.0:0".parse().unwrap(), token_file: Some(file.path().to_owned()), ..config() };
    let router = bind(config, wiring()).await;
    let request = |path: &str, token: Option<&str>| {
        let mut request = Request::get(path).header("host", "mine.example.org");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        request.body(Body::empty()).unwrap()
    };
    for token in [
        None,
        Some("Bearer wrong"),
        Some("Bearer a-token-of-20-letterz"),
        Some("Basic a-token-of-20-letters"),
        Some("a-token-of-20-letters"),
        Some("Bearer "),
    ] {
        for path in [
            "/api/v1/sql?q=SELECT+1",
            "/api/v1/pool",
            "/api/v1/miners/4A",
            "/api/v1/blocks",
            "/metrics",
            "/api/v1/ingest/shares",
            "/nowhere",
        ] {
            let answer = send(&router, request(path, token)).await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"), "{path} with {token:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(send(&router, request("/api/v1/sql?q=SELECT+1", Some("Bearer a-token-of-20-letters"))).await.status, StatusCode::OK);
    assert_eq!(send(&router, request("/live", None)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_a_good_token_does_not_start() {
    let open = QueryConfig { listen: "0.0.0.0:0".parse().unwrap(), ..config() };
    let error = Server::bind(open.clone(), wiring()).await.err().unwrap();
    assert!(matches!(error, BindError::Config(_)) && error.to_string().contains("query.token_file"), "{error}");
    for text in ["", "short\n", "has blanks in its sixteen\n"] {
        let file = token_file(text);
        let weak = QueryConfig { token_file: Some(file.path().to_owned()), ..open.clone() };
        assert!(matches!(Server::bind(weak, wiring()).await, Err(BindError::Token(_))), "{text:?}");
    }
    let gone = QueryConfig { token_file: Some("/nowhere/token".into()), ..open };
    assert!(matches!(Server::bind(gone, wiring()).await, Err(BindError::Token(_))));
}

#[tokio::test]
async fn a_port_in_use_is_said_at_the_start() {
    let first = Server::bind(config(), wiring()).await.unwrap();
    let again = QueryConfig { listen: first.address(), ..config() };
    let error = Server::bind(again, wiring()).await.err().unwrap().to_string();
    assert!(error.contains(&first.address().to_string()) && error.contains("query.listen"), "{error}");
}

#[tokio::test]
async fn web_pages_of_others_cannot_ask_through_a_browser() {
    let router = bind(config(), wiring()).await;
    let from = |host: &str, origin: Option<&str>| {
        let mut request = Request::post("/api/v1/ingest/shares").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(Body::empty()).unwrap()
    };
    for (host, origin, status) in [
        ("127.0.0.1:8080", None, 200),
        ("localhost", Some("http://localhost:3000"), 200),
        ("rebound.example.org:8080", None, 403),
        ("127.0.0.1:8080", Some("https://example.org"), 403),
        ("127.0.0.1:8080", Some("null"), 403),
    ] {
        assert_eq!(send(&router, from(host, origin)).await.status.as_u16(), status, "{host} {origin:?}");
    }
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let probe = |name, answer: Result<(), &str>| -> Arc<dyn Probe> { Arc::new(Fixed(name, answer.map_err(str::to_owned))) };
    let late = Wiring {
        health: vec![probe("nats", Ok(()))],
        ready: vec![probe("pipeline shares", Err("it has not read its offset yet"))],
        ..wiring()
    };
    let router = bind(config(), late).await;
    let health = send(&router, get("/health")).await;
    assert_eq!((health.status, health.json()), (StatusCode::OK, json!({"status": "ok", "checks": {"nats": "ok"}})));
    let ready = send(&router, get("/ready")).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["missing"], json!(["pipeline shares: it has not read its offset yet"]));

    let sick = Wiring { health: vec![probe("storage", Err("disk full"))], ..wiring() };
    let router = bind(config(), sick).await;
    let health = send(&router, get("/health")).await;
    assert_eq!((health.status, health.json()["checks"]["storage"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("disk full")));
    assert_eq!(send(&router, get("/live")).await.text(), "ok\n");
}

#[tokio::test]
async fn metrics_are_shown() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || metrics::counter!("headframe_test_total").increment(3));
    let router = bind(config(), Wiring { metrics: Some(handle), ..wiring() }).await;
    let page = send(&router, get("/metrics")).await;
    assert!(page.text().contains("headframe_test_total 3"), "{}", page.text());
    let none = bind(config(), wiring()).await;
    assert_eq!(send(&none, get("/metrics")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_streams_only_health_is_told() {
    let router = bind(config(), Wiring { health: vec![], ..Wiring::default() }).await;
    for path in ["/live", "/health", "/ready"] {
        assert_eq!(send(&router, get(path)).await.status, StatusCode::OK, "{path}");
    }
    let asked = send(&router, get("/api/v1/sql?q=SELECT%201")).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
    assert!(asked.text().contains("role query"), "{}", asked.text());
    let whole = bind(config(), wiring()).await;
    assert_eq!(send(&whole, get("/api/v1/sql?q=SELECT%201")).await.status, StatusCode::OK);
}
