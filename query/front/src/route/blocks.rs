//! `GET /api/v1/blocks?limit=&before=&pool=`: found blocks, newest first, each with the last step
//! of its life.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answer_version::AnswerVersion;
use crate::answers::blocks::BlocksAnswer;
use crate::answers::described::AnswerType;
use crate::app_state::AppState;
use crate::encoded_json::EncodedJson;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::BlocksPage;
use crate::route::schema::{BEFORE, LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

/// Blocks of a page, unless asked otherwise.
const DEFAULT_LIMIT: usize = 50;

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
        answer: Some(AnswerType::new::<BlocksAnswer>()),
        streams: Some(&["blocks"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

async fn list(
    State(app): State<Arc<AppState>>,
    version: Option<Extension<AnswerVersion>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let page = BlocksPage {
        pool: request.pool,
        limit: query_params::page_limit(request.limit, DEFAULT_LIMIT)?,
        before: request.before,
    };
    let reports = app.reports()?;
    let make = async || EncodedJson::new(&reports.blocks(&page).await?);
    let answer = match version {
        Some(Extension(AnswerVersion(version))) => {
            let is_first = page.before.is_none() && page.limit <= DEFAULT_LIMIT;
            let cache = match is_first {
                true => &app.page_cache,
                false => &app.visitor_cache,
            };
            cache.get(format!("blocks {version}"), make).await?
        }
        None => make().await?,
    };
    Ok(answer.into_response())
}
