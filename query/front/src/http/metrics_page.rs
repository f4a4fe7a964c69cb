//! `GET /metrics`: counters and histograms as Prometheus reads them, and the figures of pools and
//! miners as of their last round.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::{Code, QueryError};
use crate::http::{App, Route};

pub(crate) fn route() -> Route {
    Route {
        path: "/metrics",
        methods: get(metrics),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let Some(handle) = &app.metrics else {
        return QueryError::new(
            Code::NotFound,
            "this process keeps no metrics",
            "start it with metrics enabled",
        )
        .into_response();
    };
    handle.run_upkeep();
    let page = handle.render() + &app.figures.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}
