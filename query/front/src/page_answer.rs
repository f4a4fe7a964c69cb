//! What the answers of GETs of pages have in common: an ETag, 304 for who has the answer already,
//! and a `Link` to the next page of a list.
//!
//! A tag is `VERSION.CONTENT`. The version says how far the streams have come that the answer
//! follows from, so that who has the newest one is told so before anything is read. Where that is
//! not known, or the answer follows from the time as well, a tag is `CONTENT` alone.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::access::{Permission, Principal};
use crate::answer_version::AnswerVersion;
use crate::app_state::AppState;
use crate::etag::opaque_tags;
use crate::route::Route;
use crate::route::schema::ResponseBody;

/// Bytes of an answer that are looked at; longer ones are sent as they come.
const MAX_BYTES: u64 = 8 << 20;
/// Bytes of a digest that an ETag has.
const TAG_BYTES: usize = 16;
/// Whoever keeps an answer asks whether it still holds.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// A page whose answers are finished.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) route: &'static Route,
    pub(crate) app: Arc<AppState>,
}

/// Adds the ETag and the link, or answers 304.
pub(crate) async fn finish(State(page): State<Page>, mut request: Request, next: Next) -> Response {
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
    let known: Vec<String> = known.flat_map(opaque_tags).collect();
    let uri = request.uri().clone();
    let version = match may_know_versions(&page, &request) {
        true => version(&page, &uri).await,
        false => None,
    };
    let is_newest = |tag: &&String| tag.split_once('.').map(|(of, _)| of) == version.as_deref();
    if version.is_some()
        && let Some(newest) = known.iter().find(is_newest)
    {
        let mut headers = HeaderMap::new();
        if let Ok(tag) = HeaderValue::try_from(format!("W/\"{newest}\"")) {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(header::CACHE_CONTROL, KEPT);
        return not_modified(&headers);
    }
    if let Some(version) = version.clone() {
        request.extensions_mut().insert(AnswerVersion(version));
    }
    let response = next.run(request).await;
    let is_short = matches!(response.body().size_hint().exact(), Some(bytes) if bytes <= MAX_BYTES);
    if response.status() != StatusCode::OK || !is_short {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // A body of a known length is in memory already, so that nothing can fail.
    let bytes = to_bytes(body, MAX_BYTES as usize).await.unwrap_or_default();
    let own = parts.headers.get(header::ETAG).map(opaque_tags);
    let content = content_tag(&bytes);
    let names = |tag: &String| tag == "*" || tag.rsplit('.').next() == Some(content.as_str());
    let is_known = match &own {
        Some(own) => known.iter().any(|tag| tag == "*" || own.contains(tag)),
        None => known.iter().any(names),
    };
    let tag = match version {
        Some(version) => format!("W/\"{version}.{content}\""),
        None => format!("W/\"{content}\""),
    };
    // What has versions of its own says which one it is.
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.entry(header::ETAG).or_insert(tag);
    }
    parts.headers.entry(header::CACHE_CONTROL).or_insert(KEPT);
    if is_known {
        return not_modified(&parts.headers);
    }
    if let Some(link) = next_page(page.route, &uri, &bytes) {
        parts.headers.insert(header::LINK, link);
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Whether whoever asks may learn when rows of anybody come: a miner sees its own alone.
fn may_know_versions(page: &Page, request: &Request) -> bool {
    let principal = request.extensions().get::<Principal>();
    page.route.permission != Permission::MinerPage || principal.is_some_and(Principal::is_reader)
}

/// How far the streams have come that the answer follows from, for this request and as long as the
/// process runs, whose configuration an answer follows from too.
async fn version(page: &Page, uri: &Uri) -> Option<String> {
    let streams = page.route.schema.streams?;
    let subscriptions = page.app.subscriptions.as_ref()?;
    let versions = subscriptions.versions(streams).await?;
    let text = format!("{}\n{uri}\n{versions}", page.app.instance);
    Some(content_tag(text.as_bytes()))
}

/// Tags are weak, because an answer may be sent compressed.
fn content_tag(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let tag = digest.as_ref().get(..TAG_BYTES).unwrap_or_default();
    hex::encode(tag)
}

fn not_modified(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    for name in [header::ETAG, header::CACHE_CONTROL] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The cursor of a list.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    next: Value,
}

/// The same request for the page after this one.
fn next_page(route: &Route, uri: &Uri, bytes: &[u8]) -> Option<HeaderValue> {
    let ResponseBody::Page { cursor } = route.schema.response else {
        return None;
    };
    let next = match serde_json::from_slice::<List>(bytes).ok()?.next {
        Value::Number(number) => number.to_string(),
        Value::String(text) => percent_encode(&text),
        _ => return None,
    };
    let others = uri.query().into_iter().flat_map(|query| query.split('&'));
    let mut query: Vec<&str> = others
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(cursor))
        .collect();
    let cursor = format!("{cursor}={next}");
    query.push(&cursor);
    let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
    HeaderValue::try_from(link).ok()
}

/// Text as a value of a query string.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::route;

    fn link(path: &str, uri: &str, body: &str) -> Option<String> {
        let route = route::ALL.iter().find(|route| route.path == path).unwrap();
        let link = next_page(route, &uri.parse().unwrap(), body.as_bytes())?;
        Some(link.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_link_is_the_same_request_with_another_cursor() {
        let blocks = "/api/v1/blocks";
        let uri = "/api/v1/blocks?before=9&pool=a%20b&limit=2";
        assert_eq!(
            link(blocks, uri, r#"{"blocks": [], "next": 7}"#).unwrap(),
            r#"</api/v1/blocks?pool=a%20b&limit=2&before=7>; rel="next""#
        );
        assert_eq!(link(blocks, uri, r#"{"blocks": [], "next": null}"#), None);
        let workers = "/api/v1/miners/{address}/workers";
        assert_eq!(
            link(
                workers,
                "/api/v1/miners/4A/workers",
                r#"{"next": "a&b c>"}"#
            )
            .unwrap(),
            r#"</api/v1/miners/4A/workers?after=a%26b%20c%3E>; rel="next""#
        );
        let pool = "/api/v1/pool";
        assert_eq!(link(pool, pool, r#"{"next": 7}"#), None, "it is no list");
    }

    #[test]
    fn tags_are_named_weak_or_strong_and_among_others() {
        let tags = |text| opaque_tags(&HeaderValue::from_static(text));
        for text in ["W/\"a.b\"", "\"a.b\"", " W/\"a.b\" "] {
            assert_eq!(tags(text), ["a.b"], "{text}");
        }
        assert_eq!(tags("\"x\", W/\"y\",*"), ["x", "y", "*"]);
    }
}
