//! `GET /api/v1/anomalies`: which readings were not what was expected, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use headframe_schemas::stream::anomalies::{DETECTORS, SOURCES};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::{QueryParams, page_limit, time};
use crate::reports::AnomaliesPage;
use crate::route::schema::{LIMIT, Param, Schema, ValueType};
use crate::route::{Handler, Route};

const DEFAULT_LIMIT: usize = 100;

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/anomalies",
    permission: Permission::Read,
    doc: "Anomalies by the time at which they were found, the newest first, each with what was \
          expected and, once it has ended, when and why; `?site=`, `?source=`, `?signal=`, \
          `?detector=`, `?open=true`, `?from=`, `?to=` times, `?limit=` (100, at most 1000).",
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
        ],
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
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Json<Value>, QueryError> {
    check_word("source", request.source.as_deref(), SOURCES)?;
    check_word("detector", request.detector.as_deref(), DETECTORS)?;
    let page = AnomaliesPage {
        limit: page_limit(request.limit, DEFAULT_LIMIT)?,
        from: time("from", request.from)?.map(|from| from.to_rfc3339()),
        to: time("to", request.to)?.map(|to| to.to_rfc3339()),
        site: request.site,
        source: request.source,
        signal: request.signal,
        detector: request.detector,
        open: request.open,
    };
    let rows = app.reports()?.anomalies(&page).await?;
    Ok(Json(json!({"rows": rows})))
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
