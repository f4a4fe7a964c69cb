//! `GET /ready`: may requests be sent here, and if not, what is missing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::http::{AppState, Route};
use crate::probe;

pub(crate) fn route() -> Route {
    Route {
        path: "/ready",
        methods: get(ready),
    }
}

async fn ready(State(app): State<Arc<AppState>>) -> Response {
    let probes: Vec<_> = app.health.iter().chain(&app.ready).cloned().collect();
    let ((well, checks), notes) = tokio::join!(probe::ask(&probes), probe::notes(&probes));
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let missing: Vec<String> = checks
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, answer)| answer.as_str() != Some("ok"))
        .map(|(name, answer)| format!("{name}: {}", answer.as_str().unwrap_or_default()))
        .collect();
    (
        status,
        Json::<Value>(json!({"ready": well, "missing": missing, "notes": notes, "checks": checks})),
    )
        .into_response()
}
