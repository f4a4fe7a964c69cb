//! `GET /api/v1/miners/{address}/payouts`, `/api/v1/blocks/{hash}/payouts` and
//! `/api/v1/payouts/key`: who gets what, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::payouts::{BlockPayoutsAnswer, MinerPayoutsAnswer, PayoutKeyAnswer};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::PayoutsPage;
use crate::route::schema::{ADDRESS, BEFORE, LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

/// Rows of a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfMiner {
    limit: Option<usize>,
    before: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfBlock {
    limit: Option<usize>,
    from: Option<i64>,
}

pub(crate) static OF_MINER: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/payouts",
    permission: Permission::MinerPage,
    doc: "What blocks bring to one miner: sums immature and matured, and each block newest first \
          with its last step; `?limit=` (100, at most 1000) and `?before=` a cursor.",
    schema: Schema {
        path: ADDRESS,
        query: &[LIMIT, BEFORE],
        response: ResponseBody::Page { cursor: "before" },
        answer: Some(AnswerType::new::<MinerPayoutsAnswer>()),
        streams: Some(&["payouts"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(miner)),
};

pub(crate) static OF_BLOCK: Route = Route {
    method: Method::GET,
    path: "/api/v1/blocks/{hash}/payouts",
    permission: Permission::PublicPage,
    doc: "A block's frozen terms, root and signature, each step that followed, and a page of its \
          window; `?limit=` and `?from=` a position.",
    schema: Schema {
        path: &[Param::text("hash", "The block's hash, 64 hex digits.").required()],
        query: &[
            LIMIT,
            Param::integer(
                "from",
                i64::MIN,
                i64::MAX,
                "The cursor that the page before named as `next`.",
            ),
        ],
        response: ResponseBody::Page { cursor: "from" },
        answer: Some(AnswerType::new::<BlockPayoutsAnswer>()),
        streams: Some(&["payouts", "windows"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(block)),
};

pub(crate) static KEY: Route = Route {
    method: Method::GET,
    path: "/api/v1/payouts/key",
    permission: Permission::PublicPage,
    doc: "The public key that signs windows.",
    schema: Schema {
        answer: Some(AnswerType::new::<PayoutKeyAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(public_key)),
};

async fn miner(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(params): QueryParams<OfMiner>,
) -> Result<Response, QueryError> {
    let page = PayoutsPage {
        limit: query_params::page_limit(params.limit, DEFAULT_LIMIT)?,
        before: params.before,
    };
    Ok(Json(
        app.reports()?
            .payouts_of_miner(query_params::miner_name(&address)?, &page)
            .await?,
    )
    .into_response())
}

async fn block(
    State(app): State<Arc<AppState>>,
    Path(hash): Path<String>,
    QueryParams(params): QueryParams<OfBlock>,
) -> Result<Response, QueryError> {
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(QueryError::bad_request(
            "that is not the hash of a block",
            "a block is its hash, 64 hex digits",
        ));
    }
    let page = PayoutsPage {
        limit: query_params::page_limit(params.limit, DEFAULT_LIMIT)?,
        before: params.from,
    };
    Ok(Json(
        app.reports()?
            .payouts_of_block(&hash.to_ascii_lowercase(), &page)
            .await?,
    )
    .into_response())
}

async fn public_key(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    Ok(Json(app.reports()?.payout_key(app.payout_key.as_deref()).await?).into_response())
}
