//! Answers the addresses of pages and of their files.
//!
//! They hold nothing but what anybody can read in the program, so nobody is asked who he is.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::console::{Console, Page, asset, frame};
use crate::error::{ErrorCode, QueryError};

/// Nothing is loaded, sent or embedded but from and to this server, and no script or style stands
/// in a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A page as it is sent.
struct Document {
    text: Bytes,
    tag: HeaderValue,
}

/// The routes of all pages and their files.
pub(super) fn routes(console: &'static Console) -> Router {
    let start = console.start;
    let mut router = Router::new()
        .route("/", get(async move || Redirect::to(start)))
        .route("/console/{digest}/{name}", get(file));
    for page in console.pages {
        let document = Arc::new(Document::new(console, *page));
        for path in page.paths() {
            let document = document.clone();
            let answer = async move |headers: HeaderMap| answer_page(&document, &headers);
            router = router.route(path, get(answer));
        }
    }
    router
}

impl Document {
    fn new(console: &Console, page: &dyn Page) -> Self {
        let text = frame::document(console, page);
        Self {
            tag: entity_tag(&text),
            text: text.into(),
        }
    }
}

/// Weak, because an answer may be sent compressed.
fn entity_tag(text: &str) -> HeaderValue {
    let digest = digest(&SHA256, text.as_bytes());
    let digest = hex::encode(digest.as_ref().get(..16).unwrap_or_default());
    // Hexadecimal digits between quotes are a value of a header.
    HeaderValue::try_from(format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("*"))
}

fn answer_page(document: &Document, headers: &HeaderMap) -> Response {
    let is_known = headers.get(header::IF_NONE_MATCH) == Some(&document.tag);
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => document.text.clone().into_response(),
    };
    response
        .headers_mut()
        .insert(header::ETAG, document.tag.clone());
    let headers = response.headers_mut();
    let mut insert =
        |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    insert(header::CONTENT_TYPE, "text/html; charset=utf-8");
    insert(header::CACHE_CONTROL, "no-cache");
    insert(header::CONTENT_SECURITY_POLICY, POLICY);
    insert(header::REFERRER_POLICY, "same-origin");
    insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    response
}

async fn file(Path((digest, name)): Path<(String, String)>) -> Response {
    let Some(asset) = asset::find(&name) else {
        return QueryError::new(
            ErrorCode::NotFound,
            "the console has no such file",
            "load the page again; a newer program may answer",
        )
        .into_response();
    };
    let mut response = asset.text.into_response();
    let headers = response.headers_mut();
    let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
    insert(header::CONTENT_TYPE, asset.media_type);
    // An image opened by itself is a document of its own.
    insert(header::CONTENT_SECURITY_POLICY, "default-src 'none'");
    // A page of an older program gets what there is, and asks again next time.
    let is_own = digest == asset::digest();
    insert(
        header::CACHE_CONTROL,
        match is_own {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        },
    );
    response
}
