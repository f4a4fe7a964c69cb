//! One shape for every error on the port: `{"error": {"code", "message", "hint"}}`.
//!
//! Handlers make it themselves. What the HTTP library refuses before a handler runs, such as a body
//! that is too large or a path that cannot be decoded, comes as plain text and gets the shape here.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Bytes of a plain error text that are kept.
const MAX_TEXT_BYTES: usize = 4_096;

/// Gives the answer of an error its one shape.
pub(crate) async fn unify(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(response.headers()) {
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
