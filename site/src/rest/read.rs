//! What anybody who may read is shown.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Routes, query};
use crate::entry::StepEntry;
use crate::journal::JournalError;

/// Entries of the journal that one answer has at most.
const MOST_ENTRIES: usize = 1_000;

pub(super) fn routes() -> Router<Routes> {
    Router::new()
        .route("/api/v1/site", get(summary))
        .route("/api/v1/site/machines", get(machines))
        .route("/api/v1/site/history", get(history))
        .route("/api/v1/site/override/preview", get(preview_override))
        .route("/api/v1/site/decisions", get(decisions))
        .route("/api/v1/site/commands", get(commands))
        .route("/api/v1/site/plan", get(plan))
        .route("/api/v1/site/policy", get(policy))
        .route("/api/v1/site/journal", get(journal))
        .route("/api/v1/site/journal/segments", get(segments))
        .route("/api/v1/site/journal/segments/{name}", get(segment))
}

/// Probes need nothing.
pub(super) fn probe_routes() -> Router<Routes> {
    Router::new()
        .route("/live", get(|| async { "alive" }))
        .route("/ready", get(health))
        .route("/health", get(health))
}

async fn summary(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    let mut summary = routes.current()?.summary(routes.clock.now());
    for signal in summary["signals"].as_array_mut().into_iter().flatten() {
        let name = signal["name"].as_str().unwrap_or_default();
        signal["layout"] = json!(routes.signals.layout(name));
    }
    Ok(Json(summary))
}

async fn machines(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.machines(routes.clock.now())))
}

async fn history(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    Ok(Json(routes.current()?.history()))
}

/// The override that is thought of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewQuery {
    cap_kw: f64,
}

/// What an override of the whole site would bring; nothing is ordered.
async fn preview_override(
    State(routes): State<Routes>,
    read: Result<Query<PreviewQuery>, QueryRejection>,
) -> Result<Json<Value>, QueryError> {
    let PreviewQuery { cap_kw } = query(read, "ask for ?cap_kw=KILOWATTS")?;
    if !(cap_kw.is_finite() && cap_kw >= 0.0) {
        return Err(QueryError::bad_request(
            format!("{cap_kw} kW is no power"),
            "ask for 0 or more",
        ));
    }
    let now = routes.clock.now();
    Ok(Json(routes.current()?.preview_override(cap_kw, now)))
}

/// Decisions that changed something since the start, the newest first.
async fn decisions(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    let status = routes.current()?;
    let recent: Vec<Value> = status.recent.iter().map(|one| json!(**one)).collect();
    Ok(Json(json!({"decisions": recent})))
}

/// Commands that are not done.
async fn commands(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    let status = routes.current()?;
    let open: Vec<Value> = status
        .memory
        .commands
        .open()
        .map(|one| json!(one))
        .collect();
    Ok(Json(json!({"open": open})))
}

async fn plan(State(routes): State<Routes>) -> Json<Value> {
    Json(json!({"version": routes.site.plan_version, "plan": routes.site.plan}))
}

async fn policy(State(routes): State<Routes>) -> Json<Value> {
    Json(json!({"version": routes.site.policy_version, "policy": routes.site.policy}))
}

/// Which part of the journal is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    #[serde(default)]
    after: u64,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

/// Entries after a sequence, the oldest first: everything that was seen and decided.
async fn journal(
    State(routes): State<Routes>,
    read: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<Value>, QueryError> {
    let JournalQuery { after, limit } = query(read, "ask for ?after=SEQ&limit=N")?;
    let (reader, limit) = (routes.journal.clone(), limit.clamp(1, MOST_ENTRIES));
    let read = blocking(move || reader.read_after::<StepEntry>(after, limit)).await?;
    let entries = read.entries.iter();
    let entries: Vec<Value> = entries
        .map(|read| json!({"seq": read.seq, "journal": read.journal, "entry": read.entry}))
        .collect();
    let unreadable = read.unreadable.iter();
    let unreadable: Vec<Value> = unreadable
        .map(|(seq, reason)| json!({"seq": seq, "reason": reason}))
        .collect();
    Ok(Json(json!({"entries": entries, "unreadable": unreadable})))
}

/// The files of the journal, the oldest first, and when each begins.
async fn segments(State(routes): State<Routes>) -> Result<Json<Value>, QueryError> {
    let places = blocking(move || Ok(routes.journal.archive()?.places())).await?;
    Ok(Json(json!({"segments": places})))
}

/// One file of the journal as it is on the disk: a state and the steps after it, each a line of
/// JSON after a checksum.
async fn segment(
    State(routes): State<Routes>,
    Path(name): Path<String>,
) -> Result<Response, QueryError> {
    let missing = QueryError::new(
        ErrorCode::NotFound,
        format!("the journal has no segment {name}"),
        "the oldest are removed in time; /api/v1/site/journal/segments lists them",
    );
    let bytes = blocking(move || {
        let archive = routes.journal.archive()?;
        archive
            .contains(&name)
            .then(|| archive.bytes(&name))
            .transpose()
    });
    let bytes = bytes.await?.ok_or(missing)?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, bytes).into_response())
}

/// Does something that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, QueryError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| QueryError::internal(error.to_string()))?
        .map_err(|error| QueryError::storage(&error.to_string()))
}

/// Well while steps come in time and the journal is written.
async fn health(State(routes): State<Routes>) -> Response {
    let Ok(status) = routes.current() else {
        let body = json!({"status": "starting"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    };
    let now = routes.clock.now();
    let age_s = now.ms_since(status.at) as f64 / 1_000.0;
    let is_late = age_s > 3.0 * status.loop_s + 1.0;
    let (code, said) = match is_late {
        true => (StatusCode::SERVICE_UNAVAILABLE, "late"),
        false => (StatusCode::OK, "healthy"),
    };
    let body = json!({"status": said, "state": status.decision.after.power, "age_s": age_s,
        "disk_trouble": status.disk_trouble,
        "facts_trouble": status.forward.as_ref().and_then(|state| state.trouble.clone())});
    (code, Json(body)).into_response()
}
