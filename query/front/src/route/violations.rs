//! `/api/v1/violations`, `/api/v1/orders` and scores: what violates a rule, what people decide
//! about it, what it leads to, and how somebody complies.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes, extract::rejection::BytesRejection};
use headframe_schemas::resource::values::micros_text;
use headframe_schemas::violation::Refusal;
use headframe_schemas::{Kind, Record};
use serde_json::Value;

use crate::access::Principal;
use crate::app_state::AppState;
use crate::compliance::{Compliance, ComplianceFailure};
use crate::error::{ErrorCode, QueryError};
use crate::route::schema::Param;
use headframe_schemas::violation::Actor;

pub(super) mod decide;
pub(super) mod list;
pub(super) mod orders;
pub(super) mod report;
pub(super) mod score;

const HINT: &str = "docs/violations.md says what each field means";
/// The longest reason, in bytes.
const MAX_REASON: usize = headframe_schemas::stream::violations::MAX_REASON_BYTES;

const ID: &[Param] = &[Param::text("id", "The id.").required()];
const IF_MATCH: &[Param] =
    &[Param::text("If-Match", "The ETag of the version that was seen.").required()];

fn compliance(app: &AppState) -> Result<&Arc<dyn Compliance>, QueryError> {
    app.compliance.as_ref().ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            "this process knows nothing about violations",
            "ask one that runs the role query",
        )
    })
}

/// A row with its times as text, and its version as ETag.
fn item<R: Record>(status: StatusCode, row: &R, version: i64) -> Response {
    let mut response = (status, Json(row_json(row))).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A row with its times as text, and every column of it.
fn row_json<R: Record>(row: &R) -> Value {
    let mut shape = serde_json::to_value(row).unwrap_or_default();
    if let Some(fields) = shape.as_object_mut() {
        for column in R::STREAM.columns() {
            let value = fields.entry(column.name).or_insert(Value::Null);
            if let (Kind::Timestamp, Some(micros)) = (column.kind, value.as_i64()) {
                *value = Value::String(micros_text(micros));
            }
        }
    }
    shape
}

/// Who asks, with the reason that was given.
fn actor(principal: &Principal, reason: String) -> Result<Actor, QueryError> {
    if reason.trim().is_empty() {
        return Err(refuse("`reason` is empty: every decision has one"));
    }
    if reason.len() > MAX_REASON {
        return Err(refuse(format!(
            "`reason` is longer than {MAX_REASON} bytes"
        )));
    }
    Ok(Actor {
        name: principal.name.to_string(),
        role: principal.role.as_ref().map(ToString::to_string),
        reason,
    })
}

fn refuse(message: impl Into<String>) -> QueryError {
    QueryError::bad_request(message, HINT)
}

/// A body that is one JSON object of this shape.
fn read<T: serde::de::DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, QueryError> {
    let body =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    serde_json::from_slice(&body)
        .map_err(|error| refuse(format!("the body cannot be read: {error}")))
}

fn failed(failure: ComplianceFailure) -> QueryError {
    let refusal = match failure {
        ComplianceFailure::Refused(refusal) => refusal,
        ComplianceFailure::Unavailable(why) => {
            return QueryError::new(ErrorCode::Storage, why, "look again before trying again");
        }
    };
    let (code, hint) = match &refusal {
        Refusal::Missing { .. } => (ErrorCode::NotFound, "the list has those that there are"),
        Refusal::Exists { .. } => (ErrorCode::Exists, "decide about that one, or reopen it"),
        Refusal::Changed { .. } => (
            ErrorCode::VersionChanged,
            "somebody else was faster: look at it again before trying again",
        ),
        Refusal::NotAllowed { .. } => (ErrorCode::Conflict, "docs/violations.md has the table"),
        Refusal::Holds { .. } => (
            ErrorCode::Conflict,
            "waive it, find it false, or wait until the values are within the limit",
        ),
        Refusal::WaiverEnd => (
            ErrorCode::BadRequest,
            "send `until`, such as a day from now",
        ),
    };
    QueryError::new(code, refusal.to_string(), hint)
}
