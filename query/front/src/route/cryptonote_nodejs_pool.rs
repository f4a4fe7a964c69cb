//! The routes of cryptonote-nodejs-pool, under a prefix, for the front ends, apps and pool lists
//! that read them: the same fields in the same units, made of the answers of the pages.
//!
//! Times are seconds since 1970 unless a field says otherwise, hashrates hashes a second, amounts
//! atomic units. Lists of blocks and payments are flat: a text with colons, then its key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::encoded_json::EncodedJson;
use crate::error::{ErrorCode, QueryError};
use crate::query_params::{self, QueryParams};
use crate::route::pool_snapshot::{self, visitor_answer};
use crate::route::schema::{Param, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};
use crate::slots::DeferredSlot;

mod lists;
mod miner;
mod stats;

const ADDRESS: Param = Param::text("address", "The wallet address of a miner.");
const LONG_POLL: Param = Param::new(
    "longpoll",
    ValueType::OneOf(&["true", "false"]),
    "Whether to wait for the next answer.",
);
/// What jQuery adds so that nothing between keeps an answer.
const CACHE_BUSTER: Param = Param::text("_", "Anything; it is not looked at.");

/// A number, or none where the value is empty: so jQuery sends what a page does not have yet.
fn number_or_nothing<'de, D: Deserializer<'de>>(value: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(value)?;
    let number = (!text.is_empty()).then(|| text.parse());
    number.transpose().map_err(serde::de::Error::custom)
}

/// What a request of this shape may name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    address: Option<String>,
    longpoll: Option<String>,
    #[serde(rename = "_")]
    _unused: Option<String>,
}

pub(crate) static STATS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/stats",
    permission: Permission::PublicPage,
    doc: "The pool in the shape of cryptonote-nodejs-pool: config, lastblock, network, pool with \
          flat blocks and payments, charts. Made at most every ten seconds.",
    schema: Schema {
        query: &[ADDRESS, LONG_POLL, CACHE_BUSTER],
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(stats)),
};

pub(crate) static LIVE_STATS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/live_stats",
    permission: Permission::PublicPage,
    doc: "The same as its `stats`, answered after five seconds, so that who asks again at once \
          does not ask too often.",
    schema: STATS.schema,
    handler: Handler::LongPoll(|| get(live_stats)),
};

pub(crate) static STATS_ADDRESS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/stats_address",
    permission: Permission::PublicPage,
    doc: "A miner in the shape of cryptonote-nodejs-pool, by `?address=`: stats, payments, charts, \
          workers; `{\"error\": \"Not found\"}` with status 200 for an unknown one. With \
          `?longpoll=true` after five seconds.",
    schema: Schema {
        query: &[ADDRESS, LONG_POLL, CACHE_BUSTER],
        ..Schema::JSON
    },
    handler: Handler::LongPoll(|| get(stats_address)),
};

pub(crate) static PAYMENTS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/get_payments",
    permission: Permission::PublicPage,
    doc: "Thirty payments before `?time=` in the shape of cryptonote-nodejs-pool, newest first, \
          of one `?address=` where it is named.",
    schema: Schema {
        query: &[
            ADDRESS,
            Param::integer(
                "time",
                0,
                i64::MAX,
                "Only payments before, seconds since 1970; empty for all.",
            ),
            CACHE_BUSTER,
        ],
        response: ResponseBody::List,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(payments)),
};

pub(crate) static BLOCKS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/get_blocks",
    permission: Permission::PublicPage,
    doc: "Thirty blocks below `?height=` in the shape of cryptonote-nodejs-pool, newest first.",
    schema: Schema {
        query: &[
            Param::integer("height", 0, i64::MAX, "Only blocks below; empty for all."),
            CACHE_BUSTER,
        ],
        response: ResponseBody::List,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(blocks)),
};

pub(crate) static BLOCK_EXPLORERS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/block_explorers",
    permission: Permission::PublicPage,
    doc: "Where the chain is looked at in the shape of cryptonote-nodejs-pool, by the coin's name: \
          `blockchainExplorer` and `transactionExplorer` with `{id}`, empty where nobody shows it.",
    schema: Schema {
        query: &[CACHE_BUSTER],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(block_explorers)),
};

pub(crate) static APIS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/get_apis",
    permission: Permission::PublicPage,
    doc: "The pools of other chains that are mined beside this one, in the shape of \
          cryptonote-nodejs-pool: none, `{}`. Its website asks before it asks for anything else.",
    schema: BLOCK_EXPLORERS.schema,
    handler: Handler::Front(|| get(apis)),
};

pub(crate) static TOP_MINERS: Route = Route {
    method: Method::GET,
    path: "/api/cryptonote-nodejs-pool/get_top10miners",
    permission: Permission::PublicPage,
    doc: "The ten miners with the most work of a day in the shape of cryptonote-nodejs-pool, by \
          shortened addresses.",
    schema: Schema {
        query: &[
            Param::text("time", "Anything; it is not looked at."),
            CACHE_BUSTER,
        ],
        response: ResponseBody::List,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(top_miners)),
};

async fn stats(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let host = pool_snapshot::host(&headers, &uri);
    Ok(Json(stats_for(&app, host, request.address).await?).into_response())
}

async fn live_stats(
    State(app): State<Arc<AppState>>,
    Extension(slot): Extension<DeferredSlot>,
    headers: HeaderMap,
    uri: Uri,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    app.reports()?;
    app.long_polls.wait(slot.address()).await?;
    let host = pool_snapshot::host(&headers, &uri);
    let make = async || {
        let answer = stats_for(&app, host, request.address).await?;
        Ok(Json(answer).into_response())
    };
    slot.answer(make).await
}

/// The answer of `stats`, with the visitor's host and, where he names one, a miner.
async fn stats_for(
    app: &AppState,
    host: String,
    address: Option<String>,
) -> Result<Value, QueryError> {
    let make = async || stats::answer(app).await;
    let key = "cryptonote stats".to_owned();
    let mut answer = app.page_answer(key, make).await?.value()?;
    answer["config"]["poolHost"] = json!(host);
    let Some(address) = address.filter(|address| !address.is_empty()) else {
        return Ok(answer);
    };
    let found = miner_for(app, &address).await?.value()?;
    if let Some(of) = found.get("stats") {
        answer["miner"] = json!({
            "hashrate": of["hashrate"], "roundScore": of["roundScore"],
            "roundHashes": of["roundHashes"],
        });
    }
    Ok(answer)
}

async fn stats_address(
    State(app): State<Arc<AppState>>,
    Extension(slot): Extension<DeferredSlot>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    app.reports()?;
    if request.longpoll.as_deref() == Some("true") {
        app.long_polls.wait(slot.address()).await?;
    }
    let address = request.address.unwrap_or_default();
    let make = async || Ok(miner_for(&app, &address).await?.into_response());
    slot.answer(make).await
}

/// The answer about a miner; an unknown one is no error of the request in this shape.
async fn miner_for(app: &AppState, address: &str) -> Result<EncodedJson, QueryError> {
    let not_found = || json!({"error": "Not found"});
    let Ok(address) = query_params::miner_name(address) else {
        return EncodedJson::new(&not_found());
    };
    let make = async || match miner::answer(app, address).await {
        Err(error) if error.code == ErrorCode::NotFound => Ok(not_found()),
        answer => answer,
    };
    let key = format!("cryptonote miner {address}");
    visitor_answer(app, key, make).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentsRequest {
    address: Option<String>,
    #[serde(default, deserialize_with = "number_or_nothing")]
    time: Option<i64>,
    #[serde(rename = "_")]
    _unused: Option<String>,
}

async fn payments(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<PaymentsRequest>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let before_s = request.time.unwrap_or(i64::MAX);
    let address = match request.address.as_deref().filter(|name| !name.is_empty()) {
        Some(address) => Some(query_params::miner_name(address)?),
        None => None,
    };
    let make = async || lists::payments_before(&app, address, before_s).await;
    let key = format!("cryptonote payments {address:?} {before_s}");
    Ok(visitor_answer(&app, key, make).await?.into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlocksRequest {
    #[serde(default, deserialize_with = "number_or_nothing")]
    height: Option<i64>,
    #[serde(rename = "_")]
    _unused: Option<String>,
}

async fn blocks(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<BlocksRequest>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let below = request.height.unwrap_or(i64::MAX);
    let make = async || lists::blocks_below(&app, below).await;
    let key = format!("cryptonote blocks {below}");
    Ok(visitor_answer(&app, key, make).await?.into_response())
}

/// A request that names nothing that matters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRequest {
    #[serde(rename = "_")]
    _unused: Option<String>,
}

async fn block_explorers(
    State(app): State<Arc<AppState>>,
    QueryParams(_): QueryParams<PlainRequest>,
) -> Result<Response, QueryError> {
    let chain = &app.pool_terms()?.chain;
    let link = |link: &Option<String>| {
        let link = link.as_deref().unwrap_or_default();
        link.replace("{hash}", "{id}")
    };
    let links = json!({
        "blockchainExplorer": link(&chain.explorer_block),
        "transactionExplorer": link(&chain.explorer_transaction),
    });
    Ok(Json(json!({chain.name.as_str(): links})).into_response())
}

async fn apis(
    State(app): State<Arc<AppState>>,
    QueryParams(_): QueryParams<PlainRequest>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    Ok(Json(json!({})).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopRequest {
    #[serde(rename = "time")]
    _time: Option<String>,
    #[serde(rename = "_")]
    _unused: Option<String>,
}

async fn top_miners(
    State(app): State<Arc<AppState>>,
    QueryParams(_): QueryParams<TopRequest>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let make = async || lists::top_miners(&app).await;
    let key = "cryptonote top".to_owned();
    Ok(app.page_answer(key, make).await?.into_response())
}
