//! The routes of the controller that came before, with its words.

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use headframe_query_front::QueryError;
use serde_json::Value;

use super::Routes;

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/state", get(state))
        .route("/dashboard_data.json", get(status))
}

async fn status(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.legacy_status(routes.clock.now())))
}

async fn state(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.legacy_state()))
}
