//! `GET /api/v1/streams`: how far each stream is.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::{Permission, Principal, ReadScope};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/streams",
    permission: Permission::Read,
    doc: "How far each stream is whose rows the reader may see: the last sequence that JetStream \
          acknowledged and the one that answers are complete through, the version of its table, \
          its newest row and its rows of a minute, about. No statement runs for it; what is not \
          known of one stream within five seconds is null, with the reason. Made at most every \
          ten seconds.",
    schema: Schema::JSON,
    handler: Handler::Page(|| get(list)),
};

async fn list(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, QueryError> {
    let (reports, reads) = (app.reports()?, principal.read_scope());
    // Whoever reads the same sees the same list.
    let name = match reads {
        ReadScope::Everything => "streams",
        _ => "streams of readers",
    };
    let make = async || reports.streams(&reads).await;
    let answer = app.page_answer(name.to_owned(), make).await?;
    Ok(answer.into_response())
}
