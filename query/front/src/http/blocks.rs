//! `GET /api/v1/blocks?limit=&before=&pool=`: found blocks, newest first, each with the last step
//! of its life.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::error::QueryError;
use crate::http::{AppState, QueryParams, Route, query_params};
use crate::reports::BlocksPage;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    before: Option<i64>,
    pool: Option<String>,
}

pub(crate) fn route() -> Route {
    Route {
        path: "/api/v1/blocks",
        methods: get(list),
    }
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let page = BlocksPage {
        pool: request.pool,
        limit: query_params::page_limit(request.limit, 50)?,
        before: request.before,
    };
    Ok(Json(app.reports()?.blocks(&page).await?).into_response())
}
