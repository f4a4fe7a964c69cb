//! `GET /api/v1/pool/hashrate` and `/api/v1/miners/{address}/hashrate`: hashrate over time, as
//! numbers, and with `.svg` as a drawing.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::hashrate_chart;
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::{ChartSpan, HashrateOf, HashrateSeries};
use crate::route::schema::{ADDRESS, Param, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};

/// Pixels of a drawing: the least and the most, and what it has unless asked otherwise.
const WIDTH: (i64, i64, u32) = (240, 2_000, 720);
const HEIGHT: (i64, i64, u32) = (80, 1_000, 220);

const POOL: Param = Param::text("pool", "Only of this pool; of all together without.");
const SPAN: Param = Param::new(
    "span",
    ValueType::OneOf(ChartSpan::NAMES),
    "How far back it reaches; 24h unless asked otherwise.",
);
const WIDTH_PARAM: Param = Param::integer("width", WIDTH.0, WIDTH.1, "Pixels from left to right.");
const HEIGHT_PARAM: Param = Param::integer("height", HEIGHT.0, HEIGHT.1, "Pixels from top down.");

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
        query: &[POOL, SPAN],
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
        query: &[POOL, SPAN, WIDTH_PARAM, HEIGHT_PARAM],
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
        query: &[SPAN],
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
        query: &[SPAN, WIDTH_PARAM, HEIGHT_PARAM],
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
    let size = size(request.width, request.height)?;
    drawing(&app, HashrateOf::Pool(request.pool), request.span, size).await
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
    let size = size(request.width, request.height)?;
    let miner = query_params::miner_name(&address)?.to_owned();
    drawing(&app, HashrateOf::Miner(miner), request.span, size).await
}

/// The series, made at most every ten seconds.
async fn series(
    app: &AppState,
    of: HashrateOf,
    span: Option<String>,
) -> Result<Arc<HashrateSeries>, QueryError> {
    let name = span.as_deref().unwrap_or("24h");
    let span = ChartSpan::find(name).ok_or_else(|| {
        QueryError::bad_request(
            format!("span is {name:?}"),
            format!("a span is one of {}", ChartSpan::NAMES.join(", ")),
        )
    })?;
    let reports = app.reports()?;
    let key = format!("{of:?} {}", span.name);
    let make = async || reports.hashrate(&of, span).await.map(Arc::new);
    app.hashrate_cache.get(key, make).await
}

fn numbers(series: &HashrateSeries) -> Response {
    let points: Vec<_> = series
        .points
        .iter()
        .map(|(at, rate)| json!({"at_s": at, "hashrate_hs": rate}))
        .collect();
    Json(json!({
        "from_s": series.from_s, "to_s": series.to_s, "step_s": series.step_s, "points": points,
    }))
    .into_response()
}

fn size(width: Option<i64>, height: Option<i64>) -> Result<(u32, u32), QueryError> {
    let within = |name: &str, value: Option<i64>, (least, most, default): (i64, i64, u32)| {
        let value = value.unwrap_or(i64::from(default));
        match u32::try_from(value) {
            Ok(pixels) if (least..=most).contains(&value) => Ok(pixels),
            _ => Err(QueryError::bad_request(
                format!("{name} is {value}"),
                format!("it is from {least} to {most} pixels"),
            )),
        }
    };
    Ok((
        within("width", width, WIDTH)?,
        within("height", height, HEIGHT)?,
    ))
}

async fn drawing(
    app: &AppState,
    of: HashrateOf,
    span: Option<String>,
    size: (u32, u32),
) -> Result<Response, QueryError> {
    let key = format!("{of:?} {span:?} {size:?}");
    let make = async || {
        let series = series(app, of, span).await?;
        hashrate_chart::draw(&series, size).map(Bytes::from)
    };
    let mut response = app.drawing_cache.get(key, make).await?.into_response();
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    insert(header::CONTENT_TYPE, "image/svg+xml");
    // Opened by itself a drawing is a document, and nothing runs in it.
    insert(header::CONTENT_SECURITY_POLICY, "default-src 'none'");
    Ok(response)
}
