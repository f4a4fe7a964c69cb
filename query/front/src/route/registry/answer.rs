//! What the routes of the registry answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headframe_schemas::Resource;
use headframe_schemas::resource::{FieldFault, Refusal, ResourceVersion};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, QueryError};

/// Faults that one answer tells.
const MAX_FAULTS: usize = 50;

/// One resource, with its version as ETag.
pub(in crate::route) fn item(
    kind: &Resource,
    status: StatusCode,
    found: &ResourceVersion,
) -> Response {
    let mut response = (status, Json(found.to_json())).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", found.version)) {
        headers.insert(header::ETAG, tag);
    }
    if status == StatusCode::CREATED
        && let Ok(place) = HeaderValue::try_from(format!("{}/{}", kind.path, found.id))
    {
        headers.insert(header::LOCATION, place);
    }
    response
}

/// A page, under the name of the kind.
pub(super) fn list_json(
    kind: &Resource,
    rows: &[ResourceVersion],
    next: Option<String>,
) -> Response {
    let mut list = Map::new();
    let rows: Vec<Value> = rows.iter().map(ResourceVersion::to_json).collect();
    list.insert(kind.name.to_owned(), Value::Array(rows));
    list.insert("next".to_owned(), next.map_or(Value::Null, Value::String));
    Json(Value::Object(list)).into_response()
}

/// The error of fields that cannot be taken; it names each.
pub(crate) fn wrong_fields(
    kind: &Resource,
    faults: impl IntoIterator<Item = FieldFault>,
) -> QueryError {
    let fields: Vec<FieldFault> = faults.into_iter().take(MAX_FAULTS).collect();
    let texts: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let message = format!("that is no {}: {}", kind.singular, texts.join("; "));
    QueryError {
        fields,
        ..QueryError::bad_request(message, super::HINT)
    }
}

/// The error of a change that the registry does not allow.
pub(super) fn refused(refusal: &Refusal) -> QueryError {
    let (code, hint) = match refusal {
        Refusal::Exists { .. } => (ErrorCode::Exists, "change it instead, or choose another id"),
        Refusal::Missing { .. } => (ErrorCode::NotFound, "register it first"),
        Refusal::Changed { .. } => (
            ErrorCode::VersionChanged,
            "somebody else changed it: look at it again before trying again",
        ),
        Refusal::UnknownReference { .. } => (
            ErrorCode::BadRequest,
            "register what the field names first, or correct the field",
        ),
        Refusal::NotUnique { .. } => (
            ErrorCode::Conflict,
            "two resources of the kind cannot have the same value there",
        ),
        Refusal::Referenced { .. } => (
            ErrorCode::Conflict,
            "change or delete those that name it first",
        ),
        Refusal::Full { .. } => (
            ErrorCode::Conflict,
            "an id can be used again after a deletion",
        ),
    };
    let message = refusal.to_string();
    QueryError {
        fields: refusal
            .field()
            .map(|field| FieldFault {
                field: field.to_owned(),
                reason: message.clone(),
            })
            .into_iter()
            .collect(),
        ..QueryError::new(code, message, hint)
    }
}
