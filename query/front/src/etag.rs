//! Entity tags as requests name them (RFC 9110, 8.8.3).

use axum::http::HeaderValue;

/// The tags that `If-None-Match` names; strong and weak ones compare alike there.
pub(crate) fn opaque_tags(value: &HeaderValue) -> Vec<String> {
    let tags = value.to_str().unwrap_or_default().split(',');
    let opaque = |tag: &str| {
        let tag = tag.trim().trim_start_matches("W/");
        tag.trim_matches('"').to_owned()
    };
    tags.map(opaque).collect()
}
