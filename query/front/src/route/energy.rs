//! `GET /api/v1/energy/…`: what machines, pools and sites draw and used, and how much of what was
//! allocated that is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use chrono::{DateTime, NaiveDate, SecondsFormat};
use headframe_schemas::period::{Period, Zone};
use headframe_schemas::resource::{MAX_ID_BYTES, values::check_id};
use headframe_schemas::sql_view::energy::{SUBJECT_NAMES, SUBJECTS, Subject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::QueryError;
use crate::query_params::{QueryParams, time};
use crate::reports::{EnergyWindows, Row};
use crate::route::schema::{Param, Schema, ValueType};
use crate::route::{Handler, Route, energy_zone};

pub(super) const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// The most days of one answer.
const MAX_DAYS: i64 = 366;
/// The most days of one answer about everybody.
const MAX_DAYS_OF_ALL: i64 = 31;

pub(super) const OF: Param = Param::new(
    "of",
    ValueType::OneOf(SUBJECT_NAMES),
    "Whose energy; site unless asked otherwise.",
);
const ID: Param = Param::text("id", "Only of this one, as it is registered.");
pub(super) const ZONE: Param = Param::text(
    "zone",
    "The time zone that days are counted in, such as Europe/Oslo; that of the site unless asked \
     otherwise.",
);

pub(crate) static CURRENT: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/current",
    permission: Permission::Read,
    doc: "The power of each machine, pool or site in its newest minute of the last 15, with the \
          age of that; `?of=`, `?id=`. What sent nothing is not there.",
    schema: Schema {
        query: &[OF, ID],
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(current)),
};

pub(crate) static HOURLY: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/hourly",
    permission: Permission::Read,
    doc: "Energy of each machine, pool or site by the hour; `?of=`, `?id=`, `?from=` and `?to=` \
          times, the last 24 hours unless asked otherwise. `covered_s` says how much of an hour \
          was measured.",
    schema: Schema {
        query: &[
            OF,
            ID,
            Param::text("from", "A time such as 2026-01-31T12:00:00Z."),
            Param::text("to", "The same; the end, excluded."),
        ],
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(hourly)),
};

pub(crate) static DAILY: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/daily",
    permission: Permission::Read,
    doc: "The same by the day of the site's time zone, or of `?zone=`, 23 to 25 hours; `?of=`, \
          `?id=`, `?from=` and `?to=` days, both included, the last seven unless asked \
          otherwise. Each row has its `zone`.",
    schema: Schema {
        query: &[
            OF,
            ID,
            ZONE,
            Param::text("from", "A day such as 2026-01-31."),
            Param::text("to", "The same; the last one."),
        ],
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(daily)),
};

pub(crate) static ALLOCATIONS: Route = Route {
    method: Method::GET,
    path: "/api/v1/energy/allocations",
    permission: Permission::Read,
    doc: "How much of each allocation of power and energy is used, as it was last stated: demand \
          of 15 minutes, energy of the period, their levels, and when the energy is exhausted.",
    schema: Schema::JSON,
    handler: Handler::Page(|| get(allocations)),
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrentRequest {
    of: Option<String>,
    id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowsRequest {
    of: Option<String>,
    id: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DaysRequest {
    of: Option<String>,
    id: Option<String>,
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

async fn current(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<CurrentRequest>,
) -> Result<Json<Value>, QueryError> {
    let (of, id) = (energy_of(request.of)?, id(request.id)?);
    let rows = app.reports()?.power_now(of, id.as_deref()).await?;
    Ok(Json(json!({"of": of.name, "rows": rows})))
}

async fn hourly(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<WindowsRequest>,
) -> Result<Json<Value>, QueryError> {
    let (of, id) = (energy_of(request.of)?, id(request.id)?);
    let windows = hours(of, id, request.from, request.to)?;
    let rows = app.reports()?.energy(&windows).await?;
    Ok(Json(json!({"of": windows.of.name, "rows": rows})))
}

async fn daily(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<DaysRequest>,
) -> Result<Json<Value>, QueryError> {
    let (of, id) = (energy_of(request.of)?, id(request.id)?);
    let zones = energy_zone::of_answer(&app, of, id.as_deref(), request.zone.as_deref())?;
    let mut rows = Vec::new();
    for zone in &zones {
        let (from, to) = (request.from.clone(), request.to.clone());
        let windows = days(of, id.clone(), *zone, from, to)?;
        let mut found = app.reports()?.energy(&windows).await?;
        if zones.len() > 1 {
            found.retain(|row| energy_zone::is_of(&app, of, text(row, "id"), *zone));
        }
        found.iter_mut().for_each(|row| local_times(row, *zone));
        rows.extend(found);
    }
    // By the day that the clocks of each show.
    let place = |row: &Row| {
        let day = text(row, "from").get(..10).unwrap_or_default();
        (day.to_owned(), text(row, "id").to_owned())
    };
    rows.sort_by_cached_key(place);
    let zone = zones.first().filter(|_| zones.len() == 1);
    Ok(Json(json!({
        "of": of.name, "zone": zone.map(|zone| zone.name()), "rows": rows,
    })))
}

async fn allocations(State(app): State<Arc<AppState>>) -> Result<Json<Value>, QueryError> {
    let rows = app.reports()?.allocation_usage().await?;
    Ok(Json(json!({"rows": rows})))
}

/// Hours between two times, the last 24 unless said otherwise.
pub(super) fn hours(
    of: &'static Subject,
    id: Option<String>,
    from: Option<String>,
    to: Option<String>,
) -> Result<EnergyWindows, QueryError> {
    let to = time("to", to)?.map_or_else(now_us, |to| to.timestamp_micros());
    let from = time("from", from)?.map_or(to - DAY_US, |from| from.timestamp_micros());
    check_span(from, to, id.as_deref())?;
    Ok(EnergyWindows {
        of,
        id,
        spans: Vec::new(),
        from_us: from - from.rem_euclid(HOUR_US),
        to_us: to,
    })
}

/// Days of a zone between two, both included; the last seven unless said otherwise.
pub(super) fn days(
    of: &'static Subject,
    id: Option<String>,
    zone: Zone,
    from: Option<String>,
    to: Option<String>,
) -> Result<EnergyWindows, QueryError> {
    let last = day("to", to, zone)?.unwrap_or_else(now_us);
    let first = day("from", from, zone)?.unwrap_or(last - 6 * DAY_US);
    check_span(first, last + DAY_US, id.as_deref())?;
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut at = first;
    while let Some(span) = Period::Day
        .around(at, zone)
        .filter(|(start, _)| *start <= last)
    {
        at = span.1;
        spans.push(span);
    }
    Ok(EnergyWindows {
        of,
        id,
        from_us: spans.first().map_or(first, |span| span.0),
        to_us: spans.last().map_or(first, |span| span.1),
        spans,
    })
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The times of a row by the clocks of a zone, and the zone.
fn local_times(row: &mut Row, zone: Zone) {
    row.insert("zone".to_owned(), json!(zone.name()));
    for name in ["from", "to"] {
        let time = row.get(name).and_then(Value::as_str);
        let time = time.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        if let Some(time) = time {
            let text = time
                .with_timezone(&zone)
                .to_rfc3339_opts(SecondsFormat::Secs, true);
            row.insert(name.to_owned(), json!(text));
        }
    }
}

pub(super) fn energy_of(name: Option<String>) -> Result<&'static Subject, QueryError> {
    let name = name.as_deref().unwrap_or("site");
    let found = SUBJECTS.iter().find(|of| of.name == name);
    found.copied().ok_or_else(|| {
        QueryError::bad_request(
            format!("of is {name:?}"),
            format!("it is one of {}", SUBJECT_NAMES.join(", ")),
        )
    })
}

pub(super) fn id(id: Option<String>) -> Result<Option<String>, QueryError> {
    if let Some(id) = &id {
        check_id(id).map_err(|fault| {
            QueryError::bad_request(
                fault.reason,
                format!("ids are those of the registry, at most {MAX_ID_BYTES} letters long"),
            )
        })?;
    }
    Ok(id)
}

/// A moment of a day of a zone, microseconds since 1970.
fn day(name: &str, text: Option<String>, zone: Zone) -> Result<Option<i64>, QueryError> {
    let Some(text) = text else { return Ok(None) };
    let noon = NaiveDate::parse_from_str(&text, "%Y-%m-%d")
        .ok()
        .and_then(|day| {
            day.and_hms_opt(12, 0, 0)?
                .and_local_timezone(zone)
                .earliest()
        });
    let noon = noon.ok_or_else(|| {
        QueryError::bad_request(format!("{name} is no day"), "write it as 2026-01-31")
    })?;
    Ok(Some(noon.timestamp_micros()))
}

fn check_span(from: i64, to: i64, id: Option<&str>) -> Result<(), QueryError> {
    let most = match id {
        Some(_) => MAX_DAYS,
        None => MAX_DAYS_OF_ALL,
    };
    if from >= to {
        return Err(QueryError::bad_request(
            "from is not before to",
            "name a time or a day that is earlier",
        ));
    }
    if to - from > (most + 1) * DAY_US {
        return Err(QueryError::bad_request(
            format!("from lies more than {most} days before to"),
            format!("ask for {MAX_DAYS_OF_ALL} days at once, or for {MAX_DAYS} of one `id`"),
        ));
    }
    Ok(())
}
