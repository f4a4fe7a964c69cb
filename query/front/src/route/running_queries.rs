//! `DELETE /api/v1/sql/{id}`: ends a running query.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::delete;
use axum::{Extension, Json};
use serde_json::json;

use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::route::schema::{Param, Schema};
use crate::route::{Handler, Route};

pub(crate) static CANCEL: Route = Route {
    method: Method::DELETE,
    path: "/api/v1/sql/{id}",
    permission: Permission::ReadRows,
    doc: "Ends a running query.",
    schema: Schema {
        path: &[Param::text("id", "The id that the list of running queries has.").required()],
        ..Schema::JSON
    },
    handler: Handler::Front(|| delete(cancel)),
};

async fn cancel(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Response {
    let queries = match app.queries() {
        Ok(queries) => queries,
        Err(error) => return error.into_response(),
    };
    if queries.running().cancel_as(&principal.read_scope(), &id) {
        return Json(json!({"query_id": id, "cancelled": true})).into_response();
    }
    let hint = "GET /api/v1/sql lists the queries that run; it may have ended already";
    QueryError::new(
        ErrorCode::NotFound,
        format!("no query {id} is running"),
        hint,
    )
    .into_response()
}
