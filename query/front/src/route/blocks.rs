//! `GET /api/v1/blocks?limit=&before=&pool=`: found blocks, newest first, each with the last step
//! of its life.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::BlocksPage;
use crate::route::schema::{BEFORE, LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    before: Option<i64>,
    pool: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/blocks",
    permission: Permission::PublicPage,
    doc: "Blocks newest first, each hash once with its latest status; `?pool=`, `?limit=` (50, \
          at most 1000) and `?before=` a cursor.",
    schema: Schema {
        query: &[Param::text("pool", "Only of this pool."), LIMIT, BEFORE],
        response: ResponseBody::Page { cursor: "before" },
        streams: Some(&["blocks"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

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
