//! `GET /api/v1/me`: who the request comes from, as this server sees it.

use axum::http::Method;
use axum::routing::get;
use axum::{Extension, Json};
use serde_json::Value;

use crate::access::{Permission, Principal, Proof};
use crate::error::{ErrorCode, QueryError};
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/me",
    permission: Permission::Anybody,
    doc: "Whose token or session the request carries: name, role, and a miner's address.",
    schema: Schema::JSON,
    handler: Handler::Front(|| get(me)),
};

async fn me(Extension(principal): Extension<Principal>) -> Result<Json<Value>, QueryError> {
    match principal.proof {
        Proof::Nothing => Err(QueryError::new(
            ErrorCode::Unauthorized,
            "the request carries neither a token nor a session",
            "send Authorization: Bearer <token>, or log in with POST /api/v1/login",
        )),
        _ => Ok(Json(principal.to_json())),
    }
}
