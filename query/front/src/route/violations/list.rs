//! `GET /api/v1/violations` and `/api/v1/violations/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{SEVERITIES, STATUSES, SUBJECT_KINDS, TYPES};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ID, compliance, failed, row_json};
use crate::access::Permission;
use crate::app_state::AppState;
use crate::compliance::ViolationsPage;
use crate::error::{ErrorCode, QueryError};
use crate::query_params::{QueryParams, page_limit, time};
use crate::route::schema::{ItemShape, LIMIT, Param, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};

const DEFAULT_LIMIT: usize = 100;

pub(in crate::route) static LIST: Route = Route {
    method: Method::GET,
    path: "/api/v1/violations",
    permission: Permission::Read,
    doc: "Violations of rules as they are now, those that began last first; `?type=`, \
          `?severity=`, `?status=`, `?subject_kind=`, `?subject=`, `?from=` and `?to=` times at \
          which they began, `?limit=` (100, at most 1000) and `?after=` a cursor.",
    schema: Schema {
        query: &[
            Param::new("type", ValueType::OneOf(TYPES), "Only of this type."),
            Param::new(
                "severity",
                ValueType::OneOf(SEVERITIES),
                "Only of this severity.",
            ),
            Param::new(
                "status",
                ValueType::OneOf(STATUSES),
                "Only where it is this.",
            ),
            Param::new(
                "subject_kind",
                ValueType::OneOf(SUBJECT_KINDS),
                "Only of this kind of subject.",
            ),
            Param::text("subject", "Only of this subject."),
            Param::text("from", "Only those that began at this time or later."),
            Param::text("to", "Only those that began before this time."),
            LIMIT,
            Param::text("after", "The cursor that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "after" },
        item: Some(ItemShape::Row("violations")),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

pub(in crate::route) static ONE: Route = Route {
    method: Method::GET,
    path: "/api/v1/violations/{id}",
    permission: Permission::Read,
    doc: "One violation as it is now, with its version as ETag, and `history`: every transition, \
          who made it and why.",
    schema: Schema {
        path: ID,
        item: Some(ItemShape::Row("violations")),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(one)),
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    r#type: Option<String>,
    severity: Option<String>,
    status: Option<String>,
    subject_kind: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Json<Value>, QueryError> {
    for (name, value, words) in [
        ("type", &request.r#type, TYPES),
        ("severity", &request.severity, SEVERITIES),
        ("status", &request.status, STATUSES),
        ("subject_kind", &request.subject_kind, SUBJECT_KINDS),
    ] {
        if let Some(value) = value
            .as_ref()
            .filter(|value| !words.contains(&value.as_str()))
        {
            return Err(QueryError::bad_request(
                format!("{name} is {value:?}"),
                format!("it is one of {}", words.join(", ")),
            ));
        }
    }
    let micros = |name: &str, text| -> Result<Option<i64>, QueryError> {
        Ok(time(name, text)?.map(|time| time.timestamp_micros()))
    };
    let page = ViolationsPage {
        limit: page_limit(request.limit, DEFAULT_LIMIT)?,
        from_us: micros("from", request.from)?,
        to_us: micros("to", request.to)?,
        after: request.after.map(|text| cursor(&text)).transpose()?,
        kind: request.r#type,
        severity: request.severity,
        status: request.status,
        subject_kind: request.subject_kind,
        subject: request.subject,
    };
    let compliance = compliance(&app)?;
    let (rows, has_more) = compliance.violations(&page);
    let last = rows.last().filter(|_| has_more);
    let next = last.map(|row| format!("{}.{}", row.since, row.violation));
    let rows: Vec<Value> = rows.iter().map(row_json).collect();
    let mut answer = json!({"rows": rows, "next": next});
    if compliance.has_left() {
        // The oldest of those that are over are in `violations_now` alone.
        answer["older_in_table"] = json!(true);
    }
    Ok(Json(answer))
}

fn cursor(text: &str) -> Result<(i64, String), QueryError> {
    let place = text.split_once('.');
    let place = place.and_then(|(since, id)| Some((since.parse().ok()?, id.to_owned())));
    place.ok_or_else(|| {
        QueryError::bad_request(
            format!("after={text:?} is no cursor of violations"),
            "send what the page before named as next",
        )
    })
}

async fn one(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Response, QueryError> {
    let found = compliance(&app)?.violation(&id).await.map_err(failed)?;
    let found = found.ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            format!("there is no violation {id:?}"),
            "GET /api/v1/violations lists those that there are",
        )
    })?;
    let mut history = app.reports()?.violation_history(&id).await?;
    // Rows may be in the table that this process has not heard of, and the other way round.
    history.retain(|row| version(row) < found.version);
    let mut history: Vec<Value> = history.into_iter().map(Value::Object).collect();
    let now = row_json(&found);
    history.push(now.clone());
    let mut answer = now;
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("history".to_owned(), Value::Array(history));
    }
    Ok(tagged(answer, &found))
}

fn version(row: &serde_json::Map<String, Value>) -> i64 {
    row.get("version")
        .and_then(Value::as_i64)
        .unwrap_or(i64::MAX)
}

fn tagged(answer: Value, found: &Violation) -> Response {
    let mut response = Json(answer).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", found.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
