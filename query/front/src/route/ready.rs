//! `GET /ready`: may requests be sent here, and if not, what is missing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::probe::{self, Answers};
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/ready",
    permission: Permission::Probe,
    doc: "Whether requests may be sent here, and what is missing or worth knowing; 503 when \
          something is missing.",
    schema: Schema {
        statuses: &[200, 503],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(ready)),
};

async fn ready(State(app): State<Arc<AppState>>) -> Response {
    let Answers {
        well,
        checks,
        notes,
    } = probe::ask(app.health.iter().chain(&app.ready)).await;
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let missing: Vec<String> = checks
        .iter()
        .filter(|(_, answer)| answer.as_str() != Some("ok"))
        .map(|(name, answer)| format!("{name}: {}", answer.as_str().unwrap_or_default()))
        .collect();
    (
        status,
        Json::<Value>(json!({"ready": well, "missing": missing, "notes": notes, "checks": checks})),
    )
        .into_response()
}
