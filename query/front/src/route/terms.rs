//! `GET /api/v1/pool/terms`: where to connect, what the pool takes, and how its chain counts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::pool_terms::PoolTerms;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/terms",
    permission: Permission::PublicPage,
    doc: "Ports with their difficulty, TLS fingerprint and whether they are solo, fees, scheme, \
          threshold and interval of payments, and the chain's symbol, decimals and times.",
    schema: Schema {
        answer: Some(AnswerType::new::<PoolTerms>()),
        ..Schema::JSON
    },
    handler: Handler::MemoryPage(|| get(terms)),
};

async fn terms(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    Ok(Json(app.pool_terms()?).into_response())
}
