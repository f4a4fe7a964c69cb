//! Headers that every answer has, whatever it is.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

/// Marks an answer that pages of every site may read.
#[derive(Clone, Copy)]
struct PublicAnswer;

/// Marks an answer that pages of every site may read.
pub async fn mark_public(mut response: Response) -> Response {
    response.extensions_mut().insert(PublicAnswer);
    response
}

/// Headers of an answer that a page of another site may read, beside those that it always may.
const EXPOSED: &str = "ETag, Link, Retry-After";

/// Browsers must not guess a type that makes an answer a script, nor hand an answer to a page of
/// another site, unless it is public. No answer is for a page that sends a visitor's cookies along.
pub async fn add(mut response: Response) -> Response {
    let is_public = response.extensions().get::<PublicAnswer>().is_some();
    let headers = response.headers_mut();
    let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
    insert(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let resource_policy = HeaderName::from_static("cross-origin-resource-policy");
    if is_public {
        insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        insert(resource_policy, "cross-origin");
    } else {
        insert(resource_policy, "same-origin");
    }
    response
}
