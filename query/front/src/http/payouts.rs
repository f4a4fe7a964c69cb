//! `GET /api/v1/miners/{address}/payouts`, `/api/v1/blocks/{hash}/payouts` and
//! `/api/v1/payouts/key`: who gets what, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::error::QueryError;
use crate::http::{AppState, QueryParams, Route, query_params};
use crate::reports::PayoutsPage;

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

pub(crate) fn of_miner() -> Route {
    Route {
        path: "/api/v1/miners/{address}/payouts",
        methods: get(miner),
    }
}

pub(crate) fn of_block() -> Route {
    Route {
        path: "/api/v1/blocks/{hash}/payouts",
        methods: get(block),
    }
}

pub(crate) fn key() -> Route {
    Route {
        path: "/api/v1/payouts/key",
        methods: get(public_key),
    }
}

async fn miner(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(asked): QueryParams<OfMiner>,
) -> Result<Response, QueryError> {
    let page = PayoutsPage {
        limit: query_params::page_limit(asked.limit, DEFAULT_LIMIT)?,
        before: asked.before,
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
    QueryParams(asked): QueryParams<OfBlock>,
) -> Result<Response, QueryError> {
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(QueryError::bad_request(
            "that is not the hash of a block",
            "a block is its hash, 64 hex digits",
        ));
    }
    let page = PayoutsPage {
        limit: query_params::page_limit(asked.limit, DEFAULT_LIMIT)?,
        before: asked.from,
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
