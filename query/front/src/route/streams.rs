//! `GET /api/v1/streams`: how far each stream is.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/streams",
    permission: Permission::Read,
    doc: "How far each stream is: the last sequence that JetStream acknowledged and the one that \
          answers are complete through, the version of its table, its newest row and its rows of a \
          minute. Made at most every ten seconds.",
    schema: Schema::JSON,
    handler: Handler::Page(|| get(list)),
};

async fn list(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    let reports = app.reports()?;
    let make = async || reports.streams().await;
    let answer = app.page_answer("streams".to_owned(), make).await?;
    Ok(answer.into_response())
}
