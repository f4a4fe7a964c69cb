//! `GET /api/v1/energy/hourly.svg` and `…/daily.svg`: energy by the hour and by the day of a place,
//! drawn as bars.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use headframe_schemas::period::Zone;
use serde::Deserialize;

use crate::access::Permission;
use crate::app_state::AppState;
use crate::bar_chart::{self, Bar};
use crate::chart_axis::AxisUnit;
use crate::error::QueryError;
use crate::query_params::QueryParams;
use crate::reports::{EnergyWindows, Row};
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route, drawing, energy, energy_zone, power};

/// The part of a bar's time that may be missing without its being pale.
const MISSING: f64 = 0.02;

const PARAMS: &[Param] = &[
    energy::OF,
    Param::text("id", "Whose, as it is registered.").required(),
    energy::ZONE,
    Param::text("from", "As without .svg."),
    Param::text("to", "As without .svg."),
    drawing::WIDTH,
    drawing::HEIGHT,
];

pub(crate) static HOURLY: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/hourly.svg",
    permission: Permission::Read,
    doc: "Energy of one by the hour, drawn as bars, labelled by the clocks of its site or of \
          `?zone=`; an hour that was not measured as a whole is pale, and one without any sample \
          is not there.",
    schema: Schema {
        query: PARAMS,
        response: ResponseBody::Drawing,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(hourly)),
};

pub(crate) static DAILY: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/daily.svg",
    permission: Permission::Read,
    doc: "The same by the day of the site's time zone, or of `?zone=`.",
    schema: Schema {
        query: PARAMS,
        response: ResponseBody::Drawing,
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(daily)),
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BarsRequest {
    of: Option<String>,
    id: Option<String>,
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
}

async fn hourly(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<BarsRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    let (of, id) = power::whose(request.of, request.id)?;
    let zone = energy_zone::of_one(&app, of, &id, request.zone.as_deref())?;
    let windows = energy::hours(of, Some(id), request.from, request.to)?;
    let hours = (windows.from_us..windows.to_us)
        .step_by(energy::HOUR_US as usize)
        .map(|from| (from, from + energy::HOUR_US))
        .collect();
    drawn(&app, &windows, hours, (zone, "%H:%M"), size).await
}

async fn daily(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<BarsRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    let (of, id) = power::whose(request.of, request.id)?;
    let zone = energy_zone::of_one(&app, of, &id, request.zone.as_deref())?;
    let windows = energy::days(of, Some(id), zone, request.from, request.to)?;
    let days = windows.spans.clone();
    drawn(&app, &windows, days, (zone, "%m-%d"), size).await
}

/// A bar for each span, microseconds since 1970, labelled by a zone's clocks.
async fn drawn(
    app: &AppState,
    windows: &EnergyWindows,
    spans: Vec<(i64, i64)>,
    (zone, format): (Zone, &str),
    size: (u32, u32),
) -> Result<Response, QueryError> {
    let rows = app.reports()?.energy(windows).await?;
    let bar = |(from, to): &(i64, i64)| {
        let row = rows.iter().find(|row| begins(row) == Some(*from));
        let value = |name: &str| row.and_then(|row| row.get(name)?.as_f64());
        let covered_s = value("covered_s").unwrap_or(0.0);
        let begins = DateTime::<Utc>::from_timestamp_micros(*from).unwrap_or_default();
        Bar {
            label: begins.with_timezone(&zone).format(format).to_string(),
            value: value("energy_wh").filter(|_| covered_s > 0.0),
            is_whole: covered_s >= (to - from) as f64 / 1e6 * (1.0 - MISSING),
        }
    };
    let bars: Vec<Bar> = spans.iter().map(bar).collect();
    let text = bar_chart::draw(&bars, AxisUnit::WATT_HOURS, size)?;
    Ok(drawing::answer(Bytes::from(text)))
}

fn begins(row: &Row) -> Option<i64> {
    let from = DateTime::parse_from_rfc3339(row.get("from")?.as_str()?);
    Some(from.ok()?.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_row_is_found_by_the_moment_at_which_it_begins() {
        let row = |from: Value| Row::from_iter([("from".to_owned(), from)]);
        for text in ["2026-03-28T23:00:00Z", "2026-03-29T00:00:00+01:00"] {
            assert_eq!(begins(&row(json!(text))), Some(1_774_738_800_000_000));
        }
        assert_eq!(begins(&row(Value::Null)), None);
    }
}
