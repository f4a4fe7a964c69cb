//! `GET /api/v1/pool/payments`: the transactions that paid miners, without whom they paid.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::payments::SentPaymentsAnswer;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::PayoutsPage;
use crate::route::payments::configured_service;
use crate::route::schema::{LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    before: Option<i64>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/payments",
    permission: Permission::PublicPage,
    doc: "Payments of the pool that were sent, newest first, one a transaction: how many miners, \
          how much, the network's fee; with sums of all. `?limit=` (50, at most 1000) and \
          `?before=` a cursor. Made at most every ten seconds.",
    schema: Schema {
        query: &[
            LIMIT,
            Param::integer(
                "before",
                i64::MIN,
                i64::MAX,
                "The cursor that the page before named as `next`.",
            ),
        ],
        response: ResponseBody::Page { cursor: "before" },
        answer: Some(AnswerType::new::<SentPaymentsAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let pool = configured_service(&app)?.rules().pool;
    let page = PayoutsPage {
        limit: query_params::page_limit(request.limit, 50)?,
        before: request.before,
    };
    let reports = app.reports()?;
    let key = format!("payments {page:?}");
    let make = async || reports.sent_payments(&pool, &page).await;
    Ok(app.page_answer(key, make).await?.into_response())
}
