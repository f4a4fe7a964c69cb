//! `POST /api/v1/violations`: a violation that a person reports.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::post;
use headframe_schemas::column::EARLIEST_EVENT_US;
use headframe_schemas::violation::{Report, SEVERITIES, SUBJECT_KINDS, Severity, TYPES};
use serde::Deserialize;

use super::{actor, compliance, failed, item, read, refuse};
use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::QueryError;
use crate::query_params::time;
use crate::route::schema::{ItemShape, Param, RequestBody, Schema, ValueType};
use crate::route::{Handler, Route};

/// The longest name of a subject, in bytes.
const MAX_SUBJECT: usize = 256;

pub(in crate::route) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/violations",
    permission: Permission::Operate,
    doc: "Opens a violation that a person found: 201, or 409 where the same type, subject and \
          beginning were reported before.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::new("type", ValueType::OneOf(TYPES), "What kind it is.").required(),
            Param::new(
                "subject_kind",
                ValueType::OneOf(SUBJECT_KINDS),
                "What kind of thing violates a rule.",
            )
            .required(),
            Param::text("subject", "What violates a rule.").required(),
            Param::new("severity", ValueType::OneOf(SEVERITIES), "How bad it is.").required(),
            Param::text("since", "When it began.").required(),
            Param::text("until", "When it ended, if it has."),
            Param::text("reason", "What was found, in at most 1024 bytes.").required(),
        ]),
        item: Some(ItemShape::Row("violations")),
        ..Schema::MADE
    },
    handler: Handler::Front(|| post(report)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportRequest {
    r#type: String,
    subject_kind: String,
    subject: String,
    severity: String,
    since: String,
    until: Option<String>,
    reason: String,
}

async fn report(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let request: ReportRequest = read(body)?;
    let word = |name: &str, value: &str, words: &'static [&'static str]| {
        let found = words.iter().copied().find(|word| *word == value);
        found.ok_or_else(|| {
            refuse(format!(
                "`{name}` is {value:?}; it is one of {}",
                words.join(", ")
            ))
        })
    };
    let severity = word("severity", &request.severity, SEVERITIES)?;
    let subject = request.subject;
    if subject.trim().is_empty() || subject.len() > MAX_SUBJECT {
        return Err(refuse(format!(
            "`subject` has from 1 to {MAX_SUBJECT} bytes"
        )));
    }
    let since = time("since", Some(request.since))?.map(|time| time.timestamp_micros());
    let since_us = since.ok_or_else(|| refuse("`since` is missing"))?;
    let until_us = time("until", request.until)?.map(|time| time.timestamp_micros());
    let now = now_us();
    if since_us < EARLIEST_EVENT_US || since_us > now || until_us.is_some_and(|end| end > now) {
        return Err(refuse(
            "what is reported has begun, and has ended where `until` is there",
        ));
    }
    if until_us.is_some_and(|end| end < since_us) {
        return Err(refuse("`until` is before `since`"));
    }
    let report = Report {
        kind: word("type", &request.r#type, TYPES)?,
        subject_kind: word("subject_kind", &request.subject_kind, SUBJECT_KINDS)?,
        subject,
        severity: Severity::parse(severity).unwrap_or(Severity::Low),
        since_us,
        until_us,
        actor: actor(&principal, request.reason)?,
    };
    let made = compliance(&app)?.report(report).await.map_err(failed)?;
    Ok(item(StatusCode::CREATED, &made, made.version))
}
