//! Scored curtailments, and their reports.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Routes, query};
use crate::event_list::{self, PlacedEvent};
use crate::report::{self, CONTENT_SECURITY_POLICY, ReportError, ReportFormat};

/// Events that one answer has at most.
const MOST_EVENTS: usize = 200;
/// Reports are made one at a time, so that they take nothing from the loop; a request waits so long
/// for its turn.
const TURN: Duration = Duration::from_secs(30);
static AT_WORK: Semaphore = Semaphore::const_new(1);

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/v1/site/events", get(events))
        .route("/api/v1/site/events/{id}/{report}", get(report))
}

/// Which events are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Those before the event of this id.
    before: Option<String>,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    50
}

fn unknown(id: &str) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is no scored event {id}"),
        "/api/v1/site/events lists them; an event is scored when the site runs again",
    )
}

/// Scored curtailments, the newest first.
async fn events(
    State(routes): State<Routes>,
    read: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Value>, QueryError> {
    let EventsQuery { before, limit } = query(read, "ask for ?before=ID&limit=N")?;
    let status = routes.current()?;
    let listed = status.events(before.as_deref(), limit.clamp(1, MOST_EVENTS));
    let listed = listed.ok_or_else(|| unknown(before.as_deref().unwrap_or_default()))?;
    Ok(Json(listed))
}

/// The report of one: `report.html`, `report.csv` or `report.pdf`.
async fn report(
    State(routes): State<Routes>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, QueryError> {
    let suffix = name.strip_prefix("report.");
    let format = suffix.and_then(ReportFormat::from_suffix).ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            format!("an event has no {name}"),
            "ask for report.html, report.csv or report.pdf",
        )
    })?;
    let known = routes
        .current()?
        .events
        .get(&id)
        .map(|event| PlacedEvent::clone(event));
    let turn = tokio::time::timeout(TURN, AT_WORK.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(QueryError::new(
            ErrorCode::ConcurrencyLimit,
            "another report is being made",
            "ask again in a minute",
        ));
    };
    let wanted = id.clone();
    let made = tokio::task::spawn_blocking(move || make(&routes, &wanted, known, format)).await;
    let made = made.map_err(|error| QueryError::internal(error.to_string()))?;
    let bytes = made.map_err(failed)?.ok_or_else(|| unknown(&id))?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    let mut insert = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    let policy = match format {
        ReportFormat::Html => CONTENT_SECURITY_POLICY.clone(),
        _ => "default-src 'none'".to_owned(),
    };
    insert(header::CONTENT_SECURITY_POLICY, policy);
    let place = if format == ReportFormat::Csv {
        "attachment"
    } else {
        "inline"
    };
    let file = format!("{place}; filename=\"curtailment-{id}.{}\"", format.suffix());
    insert(header::CONTENT_DISPOSITION, file);
    Ok(response)
}

/// Reads the journal and writes the report; nothing when there is no such event.
fn make(
    routes: &Routes,
    id: &str,
    known: Option<PlacedEvent>,
    format: ReportFormat,
) -> Result<Option<Vec<u8>>, ReportError> {
    let archive = routes.journal.archive()?;
    // One that is too old for the list may still be in the journal.
    let event = match known {
        Some(event) => Some(event),
        None => event_list::search(&archive, Some(id))?,
    };
    let Some(event) = event else {
        return Ok(None);
    };
    let report = report::collect(&archive, &routes.site, &event, |_| {})?;
    report::write(&report, format).map(Some)
}

fn failed(error: ReportError) -> QueryError {
    match error {
        ReportError::Gone(_) => QueryError::new(
            ErrorCode::Gone,
            error.to_string(),
            "journal_max_bytes says how much is kept",
        ),
        ReportError::Journal(_) => QueryError::storage(&error.to_string()),
        ReportError::Drawing(_) => QueryError::internal(error.to_string()),
    }
}
