//! `GET /api/v1/miners/{address}/workers?limit=&after=`: the workers of one miner that sent shares
//! within a day.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::miner::WorkersAnswer;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::WorkersPage;
use crate::route::schema::{ADDRESS, LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    after: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/workers",
    permission: Permission::MinerPage,
    doc: "The workers of one miner of a day, by name; `?limit=` (100, at most 1000) and \
          `?after=` a name.",
    schema: Schema {
        path: ADDRESS,
        query: &[
            LIMIT,
            Param::text("after", "The name that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "after" },
        answer: Some(AnswerType::new::<WorkersAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

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
