//! `GET /api/v1/miners/{address}`: everything about one miner.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::QueryError;
use crate::http::{AppState, Route, query_params};

pub(crate) fn route() -> Route {
    Route {
        path: "/api/v1/miners/{address}",
        methods: get(about),
    }
}

async fn about(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
) -> Result<Response, QueryError> {
    Ok(Json(
        app.reports()?
            .miner(query_params::miner_name(&address)?)
            .await?,
    )
    .into_response())
}
