//! ETag, 304 and `Link` of the pages.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode};
use headframe_query_front::{Engines, Services};
use serde_json::json;

use crate::engine::{NoReports, Scripted};
use crate::server::{Answer, ask, config, router, services};

async fn served() -> (Router, Arc<NoReports>) {
    let reports = Arc::new(NoReports::default());
    let services = Services {
        engines: Some(Engines {
            sql: Scripted::new(),
            reports: reports.clone(),
        }),
        ..services()
    };
    (router(config(), services).await, reports)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let (router, reports) = served().await;
    let path = "/api/v1/blocks?limit=2";
    let get = async |headers: &[(&str, &str)]| ask(&router, &Method::GET, path, headers).await;
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [1, 2], "next": 7}));
    let first = get(&[]).await;
    assert_eq!(first.status, StatusCode::OK);
    let tag = header(&first, "etag").unwrap();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(header(&first, "cache-control"), Some("private, no-cache"));
    assert_eq!(
        header(&first, "link"),
        Some("</api/v1/blocks?limit=2&before=7>; rel=\"next\"")
    );
    for known in [tag, "*", &format!("\"other\", {tag}")] {
        let same = get(&[("if-none-match", known)]).await;
        assert_eq!(same.status, StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!((same.text.as_str(), header(&same, "etag")), ("", Some(tag)));
    }
    // Another answer is another tag, and the last page has no next one.
    *reports.blocks.lock().unwrap() = Some(json!({"blocks": [3], "next": null}));
    let other = get(&[("if-none-match", tag)]).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_ne!(header(&other, "etag"), Some(tag));
    assert_eq!(header(&other, "link"), None);
    assert!(other.text.contains("[3]"), "{}", other.text);
    // An error has no tag.
    *reports.blocks.lock().unwrap() = None;
    let error = get(&[("if-none-match", "*")]).await;
    assert_eq!(error.status, StatusCode::NOT_FOUND);
    assert_eq!(header(&error, "etag"), None);
}
