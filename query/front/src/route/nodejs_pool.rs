//! The routes of nodejs-pool, whose best known pool is MoneroOcean, under a prefix, for the front
//! ends, apps and pool lists that read them: the same fields in the same units, made of the answers
//! of the pages.
//!
//! Times named `ts` are milliseconds since 1970 in lists about the pool and in charts, seconds in a
//! miner's payments, as the peer has them; amounts are atomic units unless a field says otherwise.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::{self, QueryParams};
use crate::route::pool_snapshot::{self, visitor_answer};
use crate::route::schema::{ADDRESS, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

mod charts;
mod miner;
mod page;
mod pool;

use page::Page;

const PAGE: &[Param] = &[
    Param::integer("page", 0, 1_000, "The page, 0 being the newest."),
    Param::integer(
        "limit",
        1,
        100,
        "Rows of it: 15, 50 or 100; 15 where it is another.",
    ),
];
const POOL_TYPE: &[Param] = &[Param::text(
    "pool_type",
    "How the pool shares out: its scheme, or global.",
)
.required()];
const COIN_PORT: &[Param] =
    &[Param::text("coin_port", "The port by which the coin is named.").required()];
const MINER_WORKER: &[Param] = &[
    Param::text("address", "The wallet address that the miner logs in with.").required(),
    Param::text("identifier", "A worker's name.").required(),
];

/// A route of this shape that reads tables.
const fn page_route(
    path: &'static str,
    doc: &'static str,
    schema: Schema,
    handler: fn() -> axum::routing::MethodRouter<Arc<AppState>>,
) -> Route {
    Route {
        method: Method::GET,
        path,
        permission: Permission::PublicPage,
        doc,
        schema,
        handler: Handler::Page(handler),
    }
}

/// The same about the miner that the path names.
const fn miner_route(
    path: &'static str,
    doc: &'static str,
    schema: Schema,
    handler: fn() -> axum::routing::MethodRouter<Arc<AppState>>,
) -> Route {
    Route {
        method: Method::GET,
        path,
        permission: Permission::MinerPage,
        doc,
        schema,
        handler: Handler::Page(handler),
    }
}

const LIST: Schema = Schema {
    query: PAGE,
    response: ResponseBody::List,
    ..Schema::JSON
};
const TYPED: Schema = Schema {
    path: POOL_TYPE,
    ..Schema::JSON
};
const TYPED_LIST: Schema = Schema {
    path: POOL_TYPE,
    ..LIST
};
const CHART: Schema = Schema {
    response: ResponseBody::List,
    ..Schema::JSON
};
const TYPED_CHART: Schema = Schema {
    path: POOL_TYPE,
    ..CHART
};
const OF_MINER: Schema = Schema {
    path: ADDRESS,
    ..Schema::JSON
};
const MINER_LIST: Schema = Schema {
    path: ADDRESS,
    ..LIST
};
const MINER_CHART: Schema = Schema {
    path: ADDRESS,
    ..CHART
};

pub(crate) static CONFIG: Route = page_route(
    "/api/nodejs-pool/config",
    "Fee, thresholds and maturity in the shape of nodejs-pool.",
    Schema::JSON,
    || get(config),
);
pub(crate) static POOL_STATS: Route = page_route(
    "/api/nodejs-pool/pool/stats",
    "The pool in the shape of nodejs-pool: `pool_list`, `pool_statistics`, `last_payment`. Made at \
     most every ten seconds, as all of this shape.",
    Schema::JSON,
    || get(async |state| pool_stats(state, None).await),
);
pub(crate) static POOL_STATS_OF: Route = page_route(
    "/api/nodejs-pool/pool/stats/{pool_type}",
    "The same of one scheme with its `fee` in percent; an error with status 200 for another one.",
    TYPED,
    || get(async |state, Path(of): Path<String>| pool_stats(state, Some(of)).await),
);
pub(crate) static NETWORK_STATS: Route = page_route(
    "/api/nodejs-pool/network/stats",
    "The chain in the shape of nodejs-pool: difficulty, height, newest block and what one pays.",
    Schema::JSON,
    || get(network_stats),
);
pub(crate) static POOL_BLOCKS: Route = page_route(
    "/api/nodejs-pool/pool/blocks",
    "Blocks in the shape of nodejs-pool, newest first; `?page=`, `?limit=`.",
    LIST,
    || get(async |state, page| pool_blocks(state, None, page).await),
);
pub(crate) static POOL_BLOCKS_OF: Route = page_route(
    "/api/nodejs-pool/pool/blocks/{pool_type}",
    "The same of one scheme.",
    TYPED_LIST,
    || get(async |state, Path(of): Path<String>, page| pool_blocks(state, Some(of), page).await),
);
pub(crate) static COIN_BLOCKS: Route = page_route(
    "/api/nodejs-pool/pool/coin_altblocks/{coin_port}",
    "The blocks of a coin other than Monero by the usual port of its daemon's RPC, in the shape of \
     nodejs-pool; none of a coin that the pool does not mine.",
    Schema {
        path: COIN_PORT,
        ..LIST
    },
    || get(coin_blocks),
);
pub(crate) static POOL_PAYMENTS: Route = page_route(
    "/api/nodejs-pool/pool/payments",
    "Payments in the shape of nodejs-pool, newest first, one a transaction; `?page=`, `?limit=`.",
    LIST,
    || get(async |state, page| pool_payments(state, None, page).await),
);
pub(crate) static POOL_PAYMENTS_OF: Route = page_route(
    "/api/nodejs-pool/pool/payments/{pool_type}",
    "The same of one scheme.",
    TYPED_LIST,
    || get(async |state, Path(of): Path<String>, page| pool_payments(state, Some(of), page).await),
);
pub(crate) static POOL_PORTS: Route = page_route(
    "/api/nodejs-pool/pool/ports",
    "Where to connect in the shape of nodejs-pool, with the visitor's name of the host.",
    Schema::JSON,
    || get(pool_ports),
);
pub(crate) static POOL_MOTD: Route = page_route(
    "/api/nodejs-pool/pool/motd",
    "The message of the day in the shape of nodejs-pool; there is none.",
    Schema::JSON,
    || get(pool_motd),
);
pub(crate) static POOL_HASHRATE: Route = page_route(
    "/api/nodejs-pool/pool/chart/hashrate",
    "Hashrate of a day in the shape of nodejs-pool, newest first.",
    CHART,
    || get(async |state| pool_hashrate(state, None).await),
);
pub(crate) static POOL_HASHRATE_OF: Route = page_route(
    "/api/nodejs-pool/pool/chart/hashrate/{pool_type}",
    "The same of one scheme.",
    TYPED_CHART,
    || get(async |state, Path(of): Path<String>| pool_hashrate(state, Some(of)).await),
);
pub(crate) static POOL_MINERS: Route = page_route(
    "/api/nodejs-pool/pool/chart/miners",
    "Miners of each hour of a day in the shape of nodejs-pool, newest first.",
    CHART,
    || get(async |state| pool_miners(state, None).await),
);
pub(crate) static POOL_MINERS_OF: Route = page_route(
    "/api/nodejs-pool/pool/chart/miners/{pool_type}",
    "The same of one scheme.",
    TYPED_CHART,
    || get(async |state, Path(of): Path<String>| pool_miners(state, Some(of)).await),
);
pub(crate) static MINER_STATS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/stats",
    "A miner in the shape of nodejs-pool, with balance and payments; `false` in the fields of an \
     unknown one.",
    OF_MINER,
    || get(async |state, path| of_miner(state, path, "stats", miner::stats).await),
);
pub(crate) static MINER_WORKERS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/stats/allWorkers",
    "A miner as `global` and each of its workers by name in the shape of nodejs-pool.",
    OF_MINER,
    || get(async |state, path| of_miner(state, path, "workers", miner::all_workers).await),
);
pub(crate) static MINER_WORKER_STATS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/stats/{identifier}",
    "One worker in the shape of nodejs-pool; `false` in the fields of an unknown one.",
    Schema {
        path: MINER_WORKER,
        ..Schema::JSON
    },
    || get(one_worker),
);
pub(crate) static MINER_IDENTIFIERS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/identifiers",
    "The names of a miner's workers of a day.",
    MINER_CHART,
    || get(async |state, path| of_miner(state, path, "identifiers", miner::identifiers).await),
);
pub(crate) static MINER_PAYMENTS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/payments",
    "A miner's payments in the shape of nodejs-pool, newest first; `?page=`, `?limit=`.",
    MINER_LIST,
    || get(miner_payments),
);
pub(crate) static MINER_BLOCK_PAYMENTS: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/block_payments",
    "What a miner got of each block in the shape of nodejs-pool, in coins and percent; `?page=`, \
     `?limit=`.",
    MINER_LIST,
    || get(miner_block_payments),
);
pub(crate) static MINER_HASHRATE: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/chart/hashrate",
    "A miner's hashrate of a day in the shape of nodejs-pool, newest first.",
    MINER_CHART,
    || get(async |state, path| of_miner(state, path, "hashrate", charts::of_miner).await),
);
pub(crate) static MINER_WORKERS_HASHRATE: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/chart/hashrate/allWorkers",
    "The same as `global`, and of each worker by name.",
    OF_MINER,
    || get(async |state, path| of_miner(state, path, "hashrates", charts::of_workers).await),
);
pub(crate) static MINER_WORKER_HASHRATE: Route = miner_route(
    "/api/nodejs-pool/miner/{address}/chart/hashrate/{identifier}",
    "The same of one worker.",
    Schema {
        path: MINER_WORKER,
        ..CHART
    },
    || get(worker_hashrate),
);
pub(crate) static USER: Route = miner_route(
    "/api/nodejs-pool/user/{address}",
    "From which balance a miner is paid, in the shape of nodejs-pool.",
    OF_MINER,
    || get(async |state, path| of_miner(state, path, "user", miner::user).await),
);

/// The answer of this name, made at most every ten seconds.
async fn cached(
    app: &AppState,
    name: String,
    make: impl AsyncFnOnce() -> Result<Value, QueryError>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let key = format!("nodejs-pool {name}");
    Ok(app.page_answer(key, make).await?.into_response())
}

/// The same about what a visitor named.
async fn cached_for_visitor(
    app: &AppState,
    name: String,
    make: impl AsyncFnOnce() -> Result<Value, QueryError>,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let key = format!("nodejs-pool {name}");
    Ok(visitor_answer(app, key, make).await?.into_response())
}

/// The refusal of a scheme that the pool does not have, which is no error in this shape.
fn wrong_type(app: &AppState, wanted: Option<&str>) -> Result<Option<Response>, QueryError> {
    let scheme = pool::scheme(app.pool_terms()?);
    let is_known = wanted.is_none_or(|wanted| wanted == scheme || wanted == "global");
    let refusal = || Json(json!({"error": "Invalid pool type"})).into_response();
    Ok((!is_known).then(refusal))
}

async fn config(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    Ok(Json(pool::config(app.pool_terms()?)).into_response())
}

async fn pool_stats(
    State(app): State<Arc<AppState>>,
    of: Option<String>,
) -> Result<Response, QueryError> {
    if let Some(refusal) = wrong_type(&app, of.as_deref())? {
        return Ok(refusal);
    }
    let make = async || pool::stats(&app, of.is_some()).await;
    cached(&app, format!("pool stats {}", of.is_some()), make).await
}

async fn network_stats(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    cached(&app, "network".to_owned(), async || {
        pool::network(&app).await
    })
    .await
}

async fn pool_blocks(
    State(app): State<Arc<AppState>>,
    of: Option<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, QueryError> {
    if let Some(refusal) = wrong_type(&app, of.as_deref())? {
        return Ok(refusal);
    }
    let name = format!("blocks {} {}", page.skipped(), page.limit());
    cached_for_visitor(&app, name, async || pool::blocks(&app, page).await).await
}

async fn coin_blocks(
    State(app): State<Arc<AppState>>,
    Path(port): Path<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, QueryError> {
    let chain = &app.pool_terms()?.chain;
    if port.parse() != Ok(chain.daemon_port) {
        return Ok(Json(json!([])).into_response());
    }
    let name = format!("coin blocks {} {}", page.skipped(), page.limit());
    cached_for_visitor(&app, name, async || pool::coin_blocks(&app, page).await).await
}

async fn pool_payments(
    State(app): State<Arc<AppState>>,
    of: Option<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, QueryError> {
    if let Some(refusal) = wrong_type(&app, of.as_deref())? {
        return Ok(refusal);
    }
    let name = format!("payments {} {}", page.skipped(), page.limit());
    cached_for_visitor(&app, name, async || pool::payments(&app, page).await).await
}

async fn pool_ports(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, QueryError> {
    app.pool_terms()?;
    let host = pool_snapshot::host(&headers, &uri);
    Ok(Json(pool::ports(&app, &host).await?).into_response())
}

async fn pool_motd(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    app.pool_terms()?;
    Ok(Json(json!({"created": "", "subject": "", "body": ""})).into_response())
}

async fn pool_hashrate(
    State(app): State<Arc<AppState>>,
    of: Option<String>,
) -> Result<Response, QueryError> {
    if let Some(refusal) = wrong_type(&app, of.as_deref())? {
        return Ok(refusal);
    }
    cached(&app, "chart".to_owned(), async || {
        charts::of_pool(&app).await
    })
    .await
}

async fn pool_miners(
    State(app): State<Arc<AppState>>,
    of: Option<String>,
) -> Result<Response, QueryError> {
    if let Some(refusal) = wrong_type(&app, of.as_deref())? {
        return Ok(refusal);
    }
    cached(&app, "miners".to_owned(), async || {
        charts::miners(&app).await
    })
    .await
}

/// What a function answers about the miner of a path.
async fn of_miner(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    name: &str,
    make: impl AsyncFnOnce(&AppState, &str) -> Result<Value, QueryError>,
) -> Result<Response, QueryError> {
    let address = query_params::miner_name(&address)?;
    let name = format!("{name} {address}");
    cached_for_visitor(&app, name, async || make(&app, address).await).await
}

async fn one_worker(
    State(app): State<Arc<AppState>>,
    Path((address, worker)): Path<(String, String)>,
) -> Result<Response, QueryError> {
    let address = query_params::miner_name(&address)?;
    let make = async || miner::all_workers(&app, address).await;
    app.pool_terms()?;
    let key = format!("nodejs-pool workers {address}");
    let all = visitor_answer(&app, key, make).await?.value()?;
    let row = all.get(&worker).cloned();
    Ok(Json(row.unwrap_or_else(|| miner::unknown_worker(&worker))).into_response())
}

async fn worker_hashrate(
    State(app): State<Arc<AppState>>,
    Path((address, worker)): Path<(String, String)>,
) -> Result<Response, QueryError> {
    let address = query_params::miner_name(&address)?;
    app.pool_terms()?;
    let rows = charts::of_worker(&app, address, &worker).await?;
    Ok(Json(rows).into_response())
}

async fn miner_payments(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, QueryError> {
    let address = query_params::miner_name(&address)?;
    let name = format!("payments {} {} {address}", page.skipped(), page.limit());
    cached_for_visitor(&app, name, async || {
        miner::payments(&app, address, page).await
    })
    .await
}

async fn miner_block_payments(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, QueryError> {
    let address = query_params::miner_name(&address)?;
    let name = format!(
        "block payments {} {} {address}",
        page.skipped(),
        page.limit()
    );
    cached_for_visitor(&app, name, async || {
        miner::block_payments(&app, address, page).await
    })
    .await
}
