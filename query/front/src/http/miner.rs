//! `GET /api/v1/miners/{address}`: everything about one miner.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::QueryError;
use crate::http::{App, Route, asked};

pub(crate) fn route() -> Route {
    Route {
        path: "/api/v1/miners/{address}",
        methods: get(about),
    }
}

async fn about(
    State(app): State<Arc<App>>,
    Path(address): Path<String>,
) -> Result<Response, QueryError> {
    Ok(Json(app.reports()?.miner(asked::miner(&address)?).await?).into_response())
}
