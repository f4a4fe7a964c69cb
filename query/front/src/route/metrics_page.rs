//! `GET /metrics`: counters and histograms as Prometheus reads them, and the figures of pools and
//! miners as of their last round.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::route::schema::{ResponseBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/metrics",
    permission: Permission::Read,
    doc: "Counters, histograms and the metrics of pools and miners, for Prometheus.",
    schema: Schema {
        response: ResponseBody::Text,
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(metrics)),
};

async fn metrics(State(app): State<Arc<AppState>>) -> Response {
    let Some(handle) = &app.metrics else {
        return QueryError::new(
            ErrorCode::NotFound,
            "this process keeps no metrics",
            "query.metrics in the configuration says whether it does",
        )
        .into_response();
    };
    handle.run_upkeep();
    let page = handle.render() + &app.pool_metrics.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}
