//! The console's pages and files: what they need, what they weigh, and what they let a browser do.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use headframe_query_front::console::coopmine::COOPMINE;
use headframe_query_front::console::site::SITE;
use headframe_query_front::console::{self, Console};
use headframe_query_front::{QueryConfig, Services};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

use crate::account_store::{MemoryStore, accounts, token};
use crate::engine::Scripted;
use crate::server::{READER, ask, config, router, services, token_file};

/// Bytes, compressed, that all pages and files may have together.
const MOST_BYTES: usize = 150_000;

async fn fetch(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::get(path).header("host", "127.0.0.1:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap().to_vec();
    (parts.status, parts.headers, bytes)
}

async fn text_of(router: &Router, path: &str) -> String {
    let (status, _, bytes) = fetch(router, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    String::from_utf8(bytes).unwrap()
}

/// The paths of the pages of a console, with something in the place of variables.
fn page_paths(console: &Console) -> Vec<String> {
    let paths = console.pages.iter().flat_map(|page| page.paths());
    paths
        .map(|path| path.replace("{address}", "4Ann").replace("{kind}", "sites"))
        .map(|path| path.replace("{id}", "north").replace("{violation}", "v1"))
        .collect()
}

/// Every console, as the pool's server and as another process serves it.
async fn consoles() -> Vec<(Router, &'static Console)> {
    vec![
        (router(config(), services()).await, &console::POOL),
        (COOPMINE.routes(), &COOPMINE),
        (SITE.routes(), &SITE),
    ]
}

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    let rest = text.split(open).skip(1);
    rest.filter_map(|rest| Some(rest.split_once(close)?.0))
        .collect()
}

/// Every file that pages name and that scripts import from there.
async fn files(router: &Router, console: &Console) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut wanted = Vec::new();
    for path in page_paths(console) {
        let page = text_of(router, &path).await;
        for name in ["src=\"", "href=\""]
            .iter()
            .flat_map(|mark| between(&page, mark, '"'))
        {
            wanted.extend(name.starts_with("/console/").then(|| name.to_owned()));
        }
    }
    while let Some(path) = wanted.pop() {
        if !files.insert(path.clone()) {
            continue;
        }
        if path.ends_with(".js") {
            let (folder, _) = path.rsplit_once('/').unwrap();
            let text = text_of(router, &path).await;
            let imported = between(&text, "from \"./", '"');
            wanted.extend(imported.iter().map(|name| format!("{folder}/{name}")));
        }
    }
    files
}

#[tokio::test]
async fn every_page_and_file_is_there_and_all_are_small() {
    let consoles = consoles().await;
    assert_eq!(consoles.len(), console::ALL.len());
    for (router, console) in consoles {
        // The pool's server compresses by itself; others may stand behind a proxy that does.
        let router = match console.name == console::POOL.name {
            true => router,
            false => router.layer(CompressionLayer::new()),
        };
        let files = files(&router, console).await;
        assert!(files.len() >= 12, "{files:?}");
        let mut sizes = BTreeMap::new();
        for path in page_paths(console).into_iter().chain(files) {
            let encoding = [("accept-encoding", "gzip")];
            let (status, headers, bytes) = fetch(&router, &path, &encoding).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            if !path.ends_with(".svg") {
                assert_eq!(headers["content-encoding"], "gzip", "{path}");
            }
            sizes.insert(path, bytes.len());
        }
        let sum: usize = sizes.values().sum();
        println!("{}: {sum} bytes in all: {sizes:?}", console.name);
        assert!(sum <= MOST_BYTES, "{sum} bytes: {sizes:?}");
    }
}

#[tokio::test]
async fn answers_of_sql_come_to_their_end_compressed_as_browsers_ask_for_them() {
    let services = Services {
        engines: Some(Scripted::new().engines()),
        ..services()
    };
    let router = router(config(), services).await;
    let path = "/api/v1/sql?format=csv&q=SELECT%201";
    let (_, _, plain) = fetch(&router, path, &[]).await;
    assert!(plain.starts_with(b"n"), "{plain:?}");
    for encoding in ["gzip", "zstd", "gzip, deflate, br, zstd"] {
        let (status, headers, bytes) = fetch(&router, path, &[("accept-encoding", encoding)]).await;
        assert_eq!(status, StatusCode::OK, "{encoding}");
        assert!(headers.contains_key("content-encoding"), "{encoding}");
        assert!(!bytes.is_empty(), "{encoding}");
    }
}

#[tokio::test]
async fn pages_let_a_browser_run_nothing_but_their_own_scripts() {
    for (router, console) in consoles().await {
        check_pages(&router, console).await;
        check_files(&router, console).await;
    }
}

async fn check_pages(router: &Router, console: &Console) {
    for path in page_paths(console) {
        let (_, headers, bytes) = fetch(router, &path, &[]).await;
        assert_eq!(
            headers["content-type"], "text/html; charset=utf-8",
            "{path}"
        );
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"));
        for forbidden in ["unsafe", "*", "http"] {
            assert!(!policy.contains(forbidden), "{path}: {policy}");
        }
        let text = String::from_utf8(bytes).unwrap();
        // A script has a source, and nothing stands in it.
        assert_eq!(
            text.matches("<script").count(),
            text.matches("></script>").count(),
            "{path}"
        );
        for forbidden in ["<style", " style=", " onclick=", " onload=", "://"] {
            assert!(!text.contains(forbidden), "{path}: {forbidden}");
        }
        assert!(!text.contains("{{"), "{path}: something was not filled in");
        assert!(
            text.contains(&format!(" · {}</title>", console.name)),
            "{path}"
        );
    }
}

async fn check_files(router: &Router, console: &Console) {
    for path in files(router, console).await {
        let (_, headers, bytes) = fetch(router, &path, &[]).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert_eq!(policy, "default-src 'none'", "{path}");
        let text = String::from_utf8(bytes).unwrap();
        // The name of a vocabulary is no address.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for forbidden in [
            "eval(",
            "innerHTML",
            "outerHTML",
            "document.write",
            "://",
            "new Function",
        ] {
            assert!(!text.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

#[tokio::test]
async fn a_browser_keeps_files_for_good_and_asks_for_pages_again() {
    let router = router(config(), services()).await;
    let (_, headers, _) = fetch(&router, "/pool", &[]).await;
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let (status, headers, bytes) = fetch(&router, "/pool", &[("if-none-match", &tag)]).await;
    assert_eq!((status, bytes.len()), (StatusCode::NOT_MODIFIED, 0));
    assert!(headers.contains_key("content-security-policy"));
    for path in files(&router, &console::POOL).await {
        let (_, headers, own) = fetch(&router, &path, &[]).await;
        assert_eq!(
            headers["cache-control"], "public, max-age=31536000, immutable",
            "{path}"
        );
        // A page of an older program gets what there is, for once.
        let (_, name) = path.rsplit_once('/').unwrap();
        let older = format!("/console/0123456789abcdef/{name}");
        let (_, headers, other) = fetch(&router, &older, &[]).await;
        assert_eq!(
            (&headers["cache-control"], other),
            (&"no-cache".parse().unwrap(), own)
        );
    }
    for absent in [
        "/console/0123456789abcdef/none.js",
        "/console/0123456789abcdef/..%2Fpool.rs",
    ] {
        let (status, ..) = fetch(&router, absent, &[]).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{absent}");
    }
    for (router, console) in consoles().await {
        let (status, headers, _) = fetch(&router, "/", &[]).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        assert_eq!(headers["location"], console.start);
    }
}

#[tokio::test]
async fn pages_are_for_everybody_and_their_data_for_whom_they_are() {
    let file = token_file(READER);
    let accounts = accounts(&MemoryStore::new()).await;
    let mut who = Vec::new();
    for role in ["viewer", "miner", "admin"] {
        who.push((
            Some(role),
            Some(format!("Bearer {}", token(&accounts, role).await)),
        ));
    }
    who.push((None, None));
    for public_pages in [false, true] {
        let config = QueryConfig {
            token_file: Some(file.path().to_owned()),
            public_pages,
            ..config()
        };
        let services = Services {
            accounts: Some(accounts.clone()),
            ..services()
        };
        let router = router(config, services).await;
        for path in page_paths(&console::POOL) {
            // A link from another site, through a proxy, without any proof.
            let headers = [
                ("sec-fetch-site", "cross-site"),
                ("x-forwarded-for", "203.0.113.7"),
            ];
            let (status, ..) = fetch(&router, &path, &headers).await;
            assert_eq!(status, StatusCode::OK, "{path}");
        }
        for (role, bearer) in &who {
            let headers: Vec<_> = bearer
                .iter()
                .map(|bearer| ("authorization", bearer.as_str()))
                .collect();
            let answer = ask(&router, &Method::GET, "/api/v1/console", &headers).await;
            let answer: Value = serde_json::from_str(&answer.text).unwrap();
            let pages = match (role, public_pages) {
                (None, false) => json!(["/sign-in"]),
                (None, true) => json!(["/pool", "/miner", "/sign-in"]),
                (Some("miner"), false) => json!(["/miner", "/explore", "/sign-in"]),
                (Some("miner"), true) => json!(["/pool", "/miner", "/explore", "/sign-in"]),
                _ => json!([
                    "/pool",
                    "/miner",
                    "/mine",
                    "/energy",
                    "/anomalies",
                    "/compliance",
                    "/registry",
                    "/explore",
                    "/operate",
                    "/sign-in"
                ]),
            };
            assert_eq!(answer["pages"], pages, "{role:?} public={public_pages}");
            assert_eq!(
                answer["principal"]["role"],
                json!(role),
                "public={public_pages}"
            );
            assert_eq!(
                answer["may_operate"],
                json!(*role == Some("admin")),
                "{role:?}"
            );
        }
    }
}
