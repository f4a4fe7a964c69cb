//! One shape for every error on the port: `{"error": {"code", "message", "hint"}}`, and that of
//! RFC 9457 for who asks for it.
//!
//! Handlers make it themselves. What the HTTP library refuses before a handler runs, such as a body
//! that is too large or a path that cannot be decoded, comes as plain text and gets the shape here.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::format::PROBLEM;

/// Bytes of a plain error text that are kept.
const MAX_TEXT_BYTES: usize = 4_096;
/// Bytes of an error; no message is so long.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// Gives the answer of an error its one shape, or that of RFC 9457 for who asks for it.
pub(crate) async fn unify(request: Request, next: Next) -> Response {
    let instance = wants_problem(request.headers()).then(|| request.uri().path().to_owned());
    let response = unify_text(next.run(request).await).await;
    match instance {
        Some(instance) => to_problem(response, &instance).await,
        None => response,
    }
}

/// Whether `Accept` names problem details.
fn wants_problem(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|media| media.split(';').next().unwrap_or_default().trim() == PROBLEM)
}

/// An error as RFC 9457 has it.
async fn to_problem(response: Response, instance: &str) -> Response {
    let status = response.status();
    if !is_error(status) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ERROR_BYTES).await.unwrap_or_default();
    let given: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let Some(code) = given["error"]["code"].as_str() else {
        // What is no error of this shape, such as the checks of /ready, stays what it is.
        return Response::from_parts(parts, Body::from(bytes));
    };
    let problem = json!({
        "type": format!("urn:headframe:error:{code}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": given["error"]["message"],
        "instance": instance,
        "code": code,
        "hint": given["error"]["hint"],
    });
    let media_type = HeaderValue::from_static(PROBLEM);
    parts.headers.insert(header::CONTENT_TYPE, media_type);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(problem.to_string()))
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Gives an error that came as plain text its shape.
async fn unify_text(response: Response) -> Response {
    let status = response.status();
    if !is_error(status) || is_json(response.headers()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_TEXT_BYTES).await.unwrap_or_default();
    let mut message = String::from_utf8_lossy(&text).trim().to_owned();
    if message.is_empty() {
        message = status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase();
    }
    let error = json!({"code": code(status), "message": message, "hint": hint(status)});
    let mut unified = (status, Json(json!({"error": error}))).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        keep(&parts.headers, unified.headers_mut(), name);
    }
    *unified.extensions_mut() = parts.extensions;
    unified
}

fn keep(from: &HeaderMap, to: &mut HeaderMap, name: HeaderName) {
    if let Some(value) = from.get(&name) {
        to.insert(name, value.clone());
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::REQUEST_TIMEOUT => "request_timeout",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::TOO_MANY_REQUESTS => "concurrency_limit",
        StatusCode::SERVICE_UNAVAILABLE => "storage",
        status if status.is_client_error() => "bad_request",
        _ => "internal",
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "send less at once",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "it may be tried again in a second"
        }
        status if status.is_client_error() => "docs/http.md says what each route takes",
        _ => "this is a defect of Headframe; please report the request",
    }
}
