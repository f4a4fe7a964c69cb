//! `GET /health`: do NATS and storage answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::probe::{self, Answers};
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/health",
    permission: Permission::Probe,
    doc: "Whether NATS and the storage answer; 503 when one does not.",
    schema: Schema {
        statuses: &[200, 503],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(health)),
};

async fn health(State(app): State<Arc<AppState>>) -> Response {
    let Answers { well, checks, .. } = probe::ask(&app.health).await;
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
