//! `GET /api/v1/energy/power`: the power of a machine, a pool or a site over time, as numbers, and
//! with `.svg` as a drawing.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use axum::routing::get;
use headframe_schemas::sql_view::energy::Subject;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::chart_axis::AxisUnit;
use crate::error::QueryError;
use crate::query_params::QueryParams;
use crate::reports::TimeSeries;
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route, drawing, energy};
use crate::time_chart::{self, Marks};

const ID: Param = Param::text("id", "Whose, as it is registered.").required();

pub(crate) static NUMBERS: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/power",
    permission: Permission::Read,
    doc: "Mean power of a machine, a pool or a site over time: `{from_s, to_s, step_s, points, \
          limit_w}` with times in seconds since 1970; `?of=`, `?id=`, `?span=` 1h, 24h, 7d, 30d \
          or 1y. A step in which nothing was measured is not there. `limit_w` is the least power \
          that an allocation lets it draw, null without one.",
    schema: Schema {
        query: &[energy::OF, ID, drawing::SPAN],
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(numbers)),
};

pub(crate) static DRAWN: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/power.svg",
    permission: Permission::Read,
    doc: "The same as a drawing in SVG, with a line at the limit; `?width=` and `?height=` in \
          pixels.",
    schema: Schema {
        query: &[
            energy::OF,
            ID,
            drawing::SPAN,
            drawing::WIDTH,
            drawing::HEIGHT,
        ],
        response: ResponseBody::Drawing,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(drawn)),
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerRequest {
    of: Option<String>,
    id: Option<String>,
    span: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawingRequest {
    of: Option<String>,
    id: Option<String>,
    span: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
}

async fn numbers(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<PowerRequest>,
) -> Result<Json<Value>, QueryError> {
    let (of, id) = whose(request.of, request.id)?;
    let series = series(&app, of, &id, request.span.as_deref()).await?;
    let limit_w = limit_w(&app, of, &id).await?;
    let points = series.points.iter();
    let points: Vec<Value> = points
        .map(|(at_s, power_w)| json!({"at_s": at_s, "power_w": power_w}))
        .collect();
    Ok(Json(json!({
        "of": of.name, "id": id, "from_s": series.from_s, "to_s": series.to_s,
        "step_s": series.step_s, "points": points, "limit_w": limit_w,
    })))
}

async fn drawn(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<DrawingRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    let (of, id) = whose(request.of, request.id)?;
    let series = series(&app, of, &id, request.span.as_deref()).await?;
    let marks = Marks {
        limit: limit_w(&app, of, &id).await?,
        normal: None,
    };
    let text = time_chart::draw_marked(&series, AxisUnit::WATTS, &marks, size)?;
    Ok(drawing::answer(Bytes::from(text)))
}

/// Whose power it is. There is none of all together.
pub(super) fn whose(
    of: Option<String>,
    id: Option<String>,
) -> Result<(&'static Subject, String), QueryError> {
    let id = energy::id(id)?.ok_or_else(|| {
        QueryError::bad_request("id is missing", "name one machine, pool or site with ?id=")
    })?;
    Ok((energy::energy_of(of)?, id))
}

/// The series, made at most every ten seconds.
async fn series(
    app: &AppState,
    of: &'static Subject,
    id: &str,
    span: Option<&str>,
) -> Result<Arc<TimeSeries>, QueryError> {
    let span = drawing::span(span)?;
    let reports = app.reports()?;
    let key = format!("power {} {id} {}", of.name, span.name);
    let make = async || reports.power(of, id, span).await.map(Arc::new);
    app.series_cache.get(key, make).await
}

/// The least limit of power of the allocations that are for it, watts.
async fn limit_w(app: &AppState, of: &Subject, id: &str) -> Result<Option<f64>, QueryError> {
    let rows = app.reports()?.allocation_usage().await?;
    let is_its = |row: &&crate::reports::Row| {
        row.get("subject_kind").and_then(Value::as_str) == Some(of.name)
            && row.get("subject").and_then(Value::as_str) == Some(id)
    };
    let limits = rows
        .iter()
        .filter(is_its)
        .filter_map(|row| row.get("power_limit_w")?.as_f64());
    Ok(limits.min_by(f64::total_cmp))
}
