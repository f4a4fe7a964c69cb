//! `GET /api/v1/anomalies/readings`: one anomaly and the readings around it, as numbers, and with
//! `.svg` as a drawing with the band that is normal.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use axum::routing::get;
use chrono::DateTime;
use headframe_schemas::stream::anomalies::{DETECTORS, SOURCES};
use serde::Deserialize;
use serde_json::Value;

use crate::access::Permission;
use crate::answers::anomalies::{Reading, ReadingsAnswer};
use crate::answers::described::AnswerType;
use crate::answers::table_row::TableRow;
use crate::app_state::AppState;
use crate::chart_axis::AxisUnit;
use crate::clock::now_us;
use crate::error::{ErrorCode, QueryError};
use crate::query_params::{QueryParams, time};
use crate::reports::{AnomaliesPage, Row, SignalWindow, TimeSeries};
use crate::route::schema::{Param, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route, anomalies, drawing};
use crate::time_chart::{self, Marks, NormalBand};

const SECOND_US: i64 = 1_000_000;
/// Seconds before the beginning and after the end that are shown at least.
const AROUND_S: i64 = 2 * 3_600;
/// The longest that is shown of an anomaly, and of the time before it.
const MAX_S: i64 = 8 * 86_400;
/// Steps of a drawing at most, and the shortest.
const STEPS: i64 = 300;
const MIN_STEP_S: i64 = 10;
/// Anomalies of one signal and detector that are looked through.
const LOOKED_AT: usize = 1_000;

const SITE: Param = Param::text("site", "The site of the anomaly.").required();
const SOURCE: Param = Param::new("source", ValueType::OneOf(SOURCES), "Its stream.").required();
const SIGNAL: Param = Param::text("signal", "Its signal.").required();
const DETECTOR: Param =
    Param::new("detector", ValueType::OneOf(DETECTORS), "Its detector.").required();
const SINCE: Param =
    Param::text("since", "Since when, as the list of anomalies has it.").required();

pub(crate) static NUMBERS: Route = Route {
    method: Method::GET,
    path: "/api/v1/anomalies/readings",
    permission: Permission::Read,
    doc: "One anomaly, which `?site=`, `?source=`, `?signal=`, `?detector=` and `?since=` name, \
          with the readings around it: `{anomaly, unit, from_s, to_s, step_s, points}`. Of each \
          step it is the reading that differs most from what was expected.",
    schema: Schema {
        query: &[SITE, SOURCE, SIGNAL, DETECTOR, SINCE],
        answer: Some(AnswerType::new::<ReadingsAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(numbers)),
};

pub(crate) static DRAWN: Route = Route {
    method: Method::GET,
    path: "/api/v1/anomalies/readings.svg",
    permission: Permission::Read,
    doc: "The same as a drawing in SVG: the band that is normal, a line where the anomaly began, \
          a dot for each reading outside of the band; `?width=` and `?height=` in pixels.",
    schema: Schema {
        query: &[
            SITE,
            SOURCE,
            SIGNAL,
            DETECTOR,
            SINCE,
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
struct ReadingsRequest {
    site: Option<String>,
    source: Option<String>,
    signal: Option<String>,
    detector: Option<String>,
    since: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
}

async fn numbers(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ReadingsRequest>,
) -> Result<Json<ReadingsAnswer>, QueryError> {
    let unit = unit(&request);
    let (anomaly, series) = readings(&app, request).await?;
    let points = series.points.into_iter();
    Ok(Json(ReadingsAnswer {
        anomaly: TableRow::new(anomaly),
        unit: unit.symbol.to_owned(),
        from_s: series.from_s,
        to_s: series.to_s,
        step_s: series.step_s,
        points: points
            .map(|(at_s, value)| Reading { at_s, value })
            .collect(),
    }))
}

async fn drawn(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ReadingsRequest>,
) -> Result<Response, QueryError> {
    let size = drawing::size(request.width, request.height)?;
    let unit = unit(&request);
    let (anomaly, series) = readings(&app, request).await?;
    let number = |name: &str| anomaly.get(name).and_then(Value::as_f64);
    let normal = NormalBand {
        lower: number("lower"),
        upper: number("upper"),
        expected: number("expected"),
        since_s: moment_s(&anomaly, "since").unwrap_or(series.from_s),
    };
    let marks = Marks {
        limit: None,
        normal: Some(normal),
    };
    let text = time_chart::draw_marked(&series, unit, &marks, size)?;
    Ok(drawing::answer(Bytes::from(text)))
}

fn unit(request: &ReadingsRequest) -> AxisUnit {
    let signal = request.signal.as_deref().unwrap_or_default();
    AxisUnit::by_quantity(signal.rsplit('/').next().unwrap_or_default())
}

/// The anomaly that is meant, and the readings around it.
async fn readings(
    app: &AppState,
    request: ReadingsRequest,
) -> Result<(Row, TimeSeries), QueryError> {
    let needed = |name: &str, value: Option<String>| {
        value.ok_or_else(|| {
            QueryError::bad_request(
                format!("{name} is missing"),
                "GET /api/v1/anomalies lists what names an anomaly",
            )
        })
    };
    let since = needed("since", request.since)?;
    let since_us = time("since", Some(since))?.map_or(0, |since| since.timestamp_micros());
    let (site, source) = (
        needed("site", request.site)?,
        needed("source", request.source)?,
    );
    let signal = needed("signal", request.signal)?;
    let detector = needed("detector", request.detector)?;
    anomalies::check_word("source", Some(&source), SOURCES)?;
    anomalies::check_word("detector", Some(&detector), DETECTORS)?;
    let page = AnomaliesPage {
        site: Some(site.clone()),
        source: Some(source.clone()),
        signal: Some(signal.clone()),
        detector: Some(detector),
        limit: LOOKED_AT,
        ..AnomaliesPage::default()
    };
    let reports = app.reports()?;
    let mut found = reports.anomalies(&page).await?.into_iter();
    let anomaly = found.find(|row| moment_us(row, "since") == Some(since_us));
    let anomaly = anomaly.ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            "there is no such anomaly",
            "GET /api/v1/anomalies lists those that there are",
        )
    })?;
    let (from_s, to_s) = shown(
        &anomaly,
        since_us.div_euclid(SECOND_US),
        now_us() / SECOND_US,
    );
    let window = SignalWindow {
        site,
        source,
        signal,
        from_s,
        to_s,
        step_s: ((to_s - from_s) / STEPS).max(MIN_STEP_S),
        expected: anomaly.get("expected").and_then(Value::as_f64),
    };
    let series = reports.readings(&window).await?;
    Ok((anomaly, series))
}

/// From when to when an anomaly is shown: as long before it as it lasted, within limits, and until
/// some time after its end, or until now.
fn shown(anomaly: &Row, since_s: i64, now_s: i64) -> (i64, i64) {
    let ended_s = moment_s(anomaly, "ended_at").unwrap_or(now_s).max(since_s);
    let lasted_s = (ended_s - since_s).clamp(AROUND_S, MAX_S);
    let to_s = (ended_s + AROUND_S)
        .min(now_s)
        .min(since_s + MAX_S)
        .max(since_s + 60);
    (since_s - lasted_s, to_s)
}

fn moment_us(row: &Row, name: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(row.get(name)?.as_str()?);
    Some(time.ok()?.timestamp_micros())
}

fn moment_s(row: &Row, name: &str) -> Option<i64> {
    moment_us(row, name).map(|us| us.div_euclid(SECOND_US))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_much_is_shown_before_an_anomaly_as_it_lasted() {
        let ended = |text: &str| Row::from_iter([("ended_at".to_owned(), json!(text))]);
        let hour = 3_600;
        // 1970-01-11T00:00:00Z.
        let since = 10 * 24 * hour;
        let now = since + 40 * hour;
        let open = shown(&Row::new(), since, now);
        assert_eq!(open, (since - 40 * hour, now));
        let short = shown(&ended("1970-01-11T00:05:00Z"), since, now);
        assert_eq!(short, (since - 2 * hour, since + 300 + 2 * hour));
        // What has been open for months shows how it began.
        let old = shown(&Row::new(), since, since + 90 * 24 * hour);
        assert_eq!(old, (since - MAX_S, since + MAX_S));
        // What was found just now, and whose time is ahead of ours, has a length.
        assert_eq!(shown(&Row::new(), since, since - 5).1, since + 60);
    }
}
