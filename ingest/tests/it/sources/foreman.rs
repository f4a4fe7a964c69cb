//! The source `foreman` against a service that wants its key, pages its list, and asks for pauses.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::collected::{Polled, entry, secret};

/// How often it says 429, and how long it was left alone afterwards.
#[derive(Default)]
struct Service {
    busy: u32,
    refused_at: Option<Instant>,
    pauses: Vec<Duration>,
    updated: u64,
}

type Shared = Arc<Mutex<Service>>;

const PAUSE: Duration = Duration::from_secs(1);

async fn list(
    State(service): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut service = service.lock().unwrap();
    if headers["authorization"] != "Token key-1" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let refused_at = service.refused_at.take();
    service.pauses.extend(refused_at.map(|at| at.elapsed()));
    if service.busy > 0 {
        service.busy -= 1;
        service.refused_at = Some(Instant::now());
        let pause = PAUSE.as_secs().to_string();
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", pause)]).into_response();
    }
    let first = match query.as_deref() {
        Some("limit=2") => 0,
        Some("limit=2&offset=2") => 2,
        Some("limit=2&offset=3") => 3,
        other => panic!("{other:?} was not expected"),
    };
    service.updated += 1;
    let updated = 1_772_366_400 + service.updated;
    let miners = (first..3_u64.min(first + 2)).map(|n| {
        json!({"id": n, "name": format!("m-{n}"), "hashrate": 1e14, "power": 3_000 + n,
            "temperature": 61.5, "lastUpdated": updated})
    });
    axum::Json(json!({"data": miners.collect::<Vec<_>>()})).into_response()
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_a_pause_that_is_asked_for_is_kept() {
    let service = Shared::default();
    let app = Router::new()
        .route("/api/v2/miners", get(list))
        .with_state(service.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({"path": "/api/v2/miners?limit=2", "offset": "offset",
        "secret_file": secret(folder.path(), "key-1")});
    let mut polled = Polled::start(entry("foreman", &address, keys));
    let (values, _) = polled.readings().await;
    assert_eq!(values.len(), 9, "three of each of three miners: {values:?}");
    polled.state("fresh").await;

    service.lock().unwrap().busy = 3;
    let row = polled.state("failed").await;
    let reason = row.reason.unwrap();
    assert!(reason.contains("429") && reason.contains("1s"), "{reason}");
    polled.state("fresh").await;
    let pauses = service.lock().unwrap().pauses.clone();
    assert_eq!(pauses.len(), 3);
    assert!(pauses.iter().all(|pause| *pause >= PAUSE), "{pauses:?}");

    let keys = json!({"path": "/api/v2/miners?limit=2",
        "secret_file": secret(folder.path(), "key-2")});
    let mut wrong = Polled::start(entry("foreman", &address, keys));
    let row = wrong.state("failed").await;
    assert_eq!(row.reason.as_deref(), Some("the device answers HTTP 401"));
    serving.abort();
}
