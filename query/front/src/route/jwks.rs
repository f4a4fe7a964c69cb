//! `GET /.well-known/jwks.json`: the public key of the tokens that this system signs, for programs
//! elsewhere that take them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use serde_json::Value;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/.well-known/jwks.json",
    permission: Permission::Anybody,
    doc: "The public key of the tokens that are signed here for wallets and the identity \
          provider, as a JWK set; empty before the first of them.",
    schema: Schema::JSON,
    handler: Handler::Front(|| get(jwks)),
};

async fn jwks(State(app): State<Arc<AppState>>) -> Result<Json<Value>, QueryError> {
    Ok(Json(app.wallet_login()?.tokens.jwks()))
}
