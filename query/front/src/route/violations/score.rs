//! `GET /api/v1/pools/{id}/score` and `/api/v1/operators/{id}/score`: how somebody complies, with
//! the terms that the number is made of.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::get;
use serde_json::Value;

use super::{ID, compliance};
use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(in crate::route) static OF_POOL: Route = Route {
    method: Method::GET,
    path: "/api/v1/pools/{id}/score",
    permission: Permission::Read,
    doc: "How a pool complies, from 0 to 100, with every term that the number is made of.",
    schema: Schema {
        path: ID,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(async |app, id| answer(app, id, "pool").await)),
};

pub(in crate::route) static OF_OPERATOR: Route = Route {
    method: Method::GET,
    path: "/api/v1/operators/{id}/score",
    permission: Permission::Read,
    doc: "How an operator complies with its pools, sites and machines, from 0 to 100, with every \
          term.",
    schema: Schema {
        path: ID,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(async |app, id| answer(app, id, "operator").await)),
};

async fn answer(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
    kind: &'static str,
) -> Result<Json<Value>, QueryError> {
    let completeness = app.reports()?.data_completeness(kind, &id).await?;
    let compliance = compliance(&app)?;
    let stored = match compliance.has_left() {
        true => {
            let members = compliance.members(kind, &id);
            app.reports()?.violations_over(&members).await?
        }
        false => Vec::new(),
    };
    let score = compliance.score(kind, &id, completeness, &stored);
    score.map(Json).ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            format!("there is no {kind} {id:?}"),
            format!("GET /api/v1/{kind}s lists those that there are"),
        )
    })
}
