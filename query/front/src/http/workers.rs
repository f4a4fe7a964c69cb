//! `GET /api/v1/miners/{address}/workers?limit=&after=`: the workers of one miner that sent shares
//! within a day.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::error::QueryError;
use crate::http::{AppState, QueryParams, Route, query_params};
use crate::reports::WorkersPage;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    after: Option<String>,
}

pub(crate) fn route() -> Route {
    Route {
        path: "/api/v1/miners/{address}/workers",
        methods: get(list),
    }
}

async fn list(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let page = WorkersPage {
        limit: query_params::page_limit(request.limit, 100)?,
        after: request.after.unwrap_or_default(),
    };
    Ok(Json(
        app.reports()?
            .workers(query_params::miner_name(&address)?, &page)
            .await?,
    )
    .into_response())
}
