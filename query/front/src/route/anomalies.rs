//! `GET /api/v1/anomalies`: which readings were not what was expected, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use headframe_schemas::resource::values::parse_time;
use headframe_schemas::stream::anomalies::{DETECTORS, SOURCES};
use serde::Deserialize;
use serde_json::Value;

use crate::access::Permission;
use crate::answers::anomalies::AnomaliesAnswer;
use crate::answers::described::AnswerType;
use crate::answers::table_row::TableRow;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::{QueryParams, page_limit, time};
use crate::reports::{AnomaliesPage, AnomalyPlace, Row};
use crate::route::schema::{LIMIT, Param, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};

const DEFAULT_LIMIT: usize = 100;

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/anomalies",
    permission: Permission::Read,
    doc: "Anomalies by the time at which they were found, the newest first, each with what was \
          expected and, once it has ended, when and why; `?site=`, `?source=`, `?signal=`, \
          `?detector=`, `?open=true`, `?from=`, `?to=` times, `?limit=` (100, at most 1000) and \
          `?after=` a cursor.",
    schema: Schema {
        query: &[
            Param::text("site", "Only of this site."),
            Param::new("source", ValueType::OneOf(SOURCES), "Only of this stream."),
            Param::text("signal", "Only of this signal, such as meter-1/power_w."),
            Param::new(
                "detector",
                ValueType::OneOf(DETECTORS),
                "Only what this detector saw.",
            ),
            Param::new(
                "open",
                ValueType::Boolean,
                "Only those that have ended, or have not.",
            ),
            Param::text("from", "Only those found at this time or later."),
            Param::text("to", "Only those found before this time."),
            LIMIT,
            Param::text("after", "The cursor that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "after" },
        answer: Some(AnswerType::new::<AnomaliesAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    site: Option<String>,
    source: Option<String>,
    signal: Option<String>,
    detector: Option<String>,
    open: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Json<AnomaliesAnswer>, QueryError> {
    check_word("source", request.source.as_deref(), SOURCES)?;
    check_word("detector", request.detector.as_deref(), DETECTORS)?;
    let limit = page_limit(request.limit, DEFAULT_LIMIT)?;
    let page = AnomaliesPage {
        // One more tells whether there is a page after this one.
        limit: limit + 1,
        after: request.after.map(|text| place_of(&text)).transpose()?,
        from: time("from", request.from)?.map(|from| from.to_rfc3339()),
        to: time("to", request.to)?.map(|to| to.to_rfc3339()),
        site: request.site,
        source: request.source,
        signal: request.signal,
        detector: request.detector,
        open: request.open,
    };
    let mut rows = app.reports()?.anomalies(&page).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(cursor).transpose()?;
    let rows = TableRow::all(rows);
    Ok(Json(AnomaliesAnswer { rows, next }))
}

/// A row as a cursor: the place of the row, which nobody but this route reads.
fn cursor(row: &Row) -> Result<String, QueryError> {
    let place = serde_json::from_value::<AnomalyPlace>(Value::Object(row.clone()));
    let text = place.and_then(|place| serde_json::to_vec(&place));
    let text = text.map_err(|error| QueryError::internal(error.to_string()))?;
    Ok(hex::encode(text))
}

fn place_of(text: &str) -> Result<AnomalyPlace, QueryError> {
    let place = hex::decode(text).ok();
    let place = place.and_then(|place| serde_json::from_slice::<AnomalyPlace>(&place).ok());
    let place = place.filter(|place| parse_time(&place.found_at).is_some());
    place.ok_or_else(|| {
        QueryError::bad_request(
            "after is no cursor of anomalies",
            "send what the page before named as next",
        )
    })
}

/// Refuses a word that is not one of these.
pub(super) fn check_word(name: &str, word: Option<&str>, words: &[&str]) -> Result<(), QueryError> {
    match word {
        Some(word) if !words.contains(&word) => Err(QueryError::bad_request(
            format!("{name} is {word:?}"),
            format!("it is one of {}", words.join(", ")),
        )),
        _ => Ok(()),
    }
}
