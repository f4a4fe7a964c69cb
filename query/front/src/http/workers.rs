//! `GET /api/v1/miners/{address}/workers?limit=&after=`: the workers of one miner that sent shares
//! within a day.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::error::QueryError;
use crate::http::{App, Asked, Route, asked};
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
    State(app): State<Arc<App>>,
    Path(address): Path<String>,
    Asked(request): Asked<Request>,
) -> Result<Response, QueryError> {
    let page = WorkersPage {
        limit: asked::limit(request.limit, 100)?,
        after: request.after.unwrap_or_default(),
    };
    Ok(Json(
        app.reports()?
            .workers(asked::miner(&address)?, &page)
            .await?,
    )
    .into_response())
}
