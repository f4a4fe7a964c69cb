//! `GET /health`: do NATS and storage answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::http::{AppState, Route};
use crate::probe;

pub(crate) fn route() -> Route {
    Route {
        path: "/health",
        methods: get(health),
    }
}

async fn health(State(app): State<Arc<AppState>>) -> Response {
    let (well, checks) = probe::ask(&app.health).await;
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({"status": if well { "ok" } else { "unwell" }, "checks": checks})),
    )
        .into_response()
}
