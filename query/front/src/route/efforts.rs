//! `GET /api/v1/pool/effort`: the work that each block took, beside what it costs on average.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::efforts::EffortsAnswer;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::QueryParams;
use crate::route::schema::{Param, Schema};
use crate::route::{Handler, Route};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    pool: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/effort",
    permission: Permission::PublicPage,
    doc: "Effort of the present round and of the last hundred blocks of each pool, 1 being what a \
          block costs on average, with means over 10 and 100, without what was mined solo; of that \
          `solo` has the same, null where there is none. `?pool=` for one. Made at most every ten \
          seconds.",
    schema: Schema {
        query: &[Param::text("pool", "Only of this pool.")],
        answer: Some(AnswerType::new::<EffortsAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(efforts)),
};

async fn efforts(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let reports = app.reports()?;
    let key = format!("effort {:?}", request.pool);
    let make = async || reports.efforts(request.pool.as_deref()).await;
    Ok(app.page_answer(key, make).await?.into_response())
}
