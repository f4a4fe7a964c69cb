//! `GET /api/v1/pool/hashrate` and `/api/v1/miners/{address}/hashrate`: hashrate over time, as
//! numbers, and with `.svg` as a drawing.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::hashrate::HashrateAnswer;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::{HashrateOf, TimeSeries};
use crate::route::drawing;
use crate::route::schema::{ADDRESS, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};
use crate::time_chart;

const POOL: Param = Param::text("pool", "Only of this pool; of all together without.");
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolRequest {
    pool: Option<String>,
    span: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerRequest {
    span: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolDrawingRequest {
    pool: Option<String>,
    span: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerDrawingRequest {
    span: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
}

pub(crate) static OF_POOL: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/hashrate",
    permission: Permission::PublicPage,
    doc: "Hashrate of a pool, or of all, over time: `{from_s, to_s, step_s, points}` with times in \
          seconds since 1970; `?pool=`, `?span=` 1h, 24h, 7d, 30d or 1y. Made at most every ten \
          seconds.",
    schema: Schema {
        query: &[POOL, drawing::SPAN],
        answer: Some(AnswerType::new::<HashrateAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(of_pool)),
};

pub(crate) static OF_POOL_DRAWN: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/hashrate.svg",
    permission: Permission::PublicPage,
    doc: "The same as a drawing in SVG; `?width=` and `?height=` in pixels.",
    schema: Schema {
        query: &[POOL, drawing::SPAN, drawing::WIDTH, drawing::HEIGHT],
        response: ResponseBody::Drawing,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(of_pool_drawn)),
};

pub(crate) static OF_MINER: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/hashrate",
    permission: Permission::MinerPage,
    doc: "Hashrate of one miner over all pools over time, in the same form; `?span=`.",
    schema: Schema {
        path: ADDRESS,
        query: &[drawing::SPAN],
        answer: Some(AnswerType::new::<HashrateAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(of_miner)),
};

pub(crate) static OF_MINER_DRAWN: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/hashrate.svg",
    permission: Permission::MinerPage,
    doc: "The same of one miner as a drawing in SVG; `?width=` and `?height=` in pixels.",
    schema: Schema {
        path: ADDRESS,
        query: &[drawing::SPAN, drawing::WIDTH, drawing::HEIGHT],
        response: ResponseBody::Drawing,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(of_miner_drawn)),
};

async fn of_pool(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<PoolRequest>,
) -> Result<Response, QueryError> {
    let series = series(&app, HashrateOf::Pool(request.pool), request.span).await?;
    Ok(numbers(&series))
}

async fn of_pool_drawn(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<PoolDrawingRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    drawn(&app, HashrateOf::Pool(request.pool), request.span, size).await
}

async fn of_miner(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(request): QueryParams<MinerRequest>,
) -> Result<Response, QueryError> {
    let miner = query_params::miner_name(&address)?.to_owned();
    let series = series(&app, HashrateOf::Miner(miner), request.span).await?;
    Ok(numbers(&series))
}

async fn of_miner_drawn(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    QueryParams(request): QueryParams<MinerDrawingRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    let miner = query_params::miner_name(&address)?.to_owned();
    drawn(&app, HashrateOf::Miner(miner), request.span, size).await
}

/// The series, made at most every ten seconds.
async fn series(
    app: &AppState,
    of: HashrateOf,
    span: Option<String>,
) -> Result<Arc<TimeSeries>, QueryError> {
    let span = drawing::span(span.as_deref())?;
    let reports = app.reports()?;
    let key = format!("{of:?} {}", span.name);
    let make = async || reports.hashrate(&of, span).await.map(Arc::new);
    app.series_cache.get(key, make).await
}

fn numbers(series: &TimeSeries) -> Response {
    Json(HashrateAnswer::from(series)).into_response()
}

async fn drawn(
    app: &AppState,
    of: HashrateOf,
    span: Option<String>,
    size: (u32, u32),
) -> Result<Response, QueryError> {
    let key = format!("{of:?} {span:?} {size:?}");
    let make = async || {
        let series = series(app, of, span).await?;
        time_chart::draw(&series, size).map(Bytes::from)
    };
    Ok(drawing::answer(app.drawing_cache.get(key, make).await?))
}
