//! Who may use which route, whatever the path looks like, and what browsers and proxies may not
//! pass on.

use axum::http::{Method, StatusCode};
use headframe_query_front::access::Permission;
use headframe_query_front::{BindError, QueryConfig, RouteHandler, Server, Services, route};

use crate::server::{OPERATOR, READER, ask, config, router, services, token_file};

/// A request to a route of the list, with names for what its path leaves open.
fn example(path: &str) -> String {
    path.replace("{stream}", "sensors")
        .replace("{address}", "4Ann")
        .replace("{hash}", &"ab".repeat(32))
        .replace("{id}", "q1")
        .replace("{name}", "nobody")
}

fn guarded() -> (QueryConfig, [tempfile::NamedTempFile; 2]) {
    let (reader, operator) = (token_file(READER), token_file(OPERATOR));
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        operator_token_file: Some(operator.path().to_owned()),
        ..config()
    };
    (config, [reader, operator])
}

/// Whether the guard let a request with this token through.
async fn passes(router: &axum::Router, method: &Method, path: &str, token: Option<&str>) -> bool {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .chain([("host", "mine.example.org")])
        .collect();
    let answer = ask(router, method, path, &headers).await;
    // A handler itself answers 401 to who has passed without proving anything.
    let is_handlers = answer.text.contains("neither a token nor a session");
    is_handlers || !matches!(answer.status.as_u16(), 401 | 403)
}

#[tokio::test]
async fn every_route_asks_for_its_own_permission() {
    let (closed, _files) = guarded();
    let open = QueryConfig {
        public_pages: true,
        ..closed.clone()
    };
    let (closed, open) = (
        router(closed, services()).await,
        router(open, services()).await,
    );
    for route in route::ALL {
        let (method, path) = (&route.method, example(route.path));
        let name = format!("{method} {path}");
        let (anybody, public, reader) = match route.permission {
            Permission::Probe | Permission::Anybody | Permission::Callback => (true, true, true),
            Permission::PublicPage | Permission::MinerPage => (false, true, true),
            Permission::Read | Permission::ReadRows | Permission::WriteStream => {
                (false, false, true)
            }
            Permission::ReadPersonal | Permission::Operate | Permission::ManageAccounts => {
                (false, false, false)
            }
        };
        assert_eq!(
            passes(&closed, method, &path, None).await,
            anybody,
            "{name}"
        );
        assert_eq!(passes(&open, method, &path, None).await, public, "{name}");
        for router in [&closed, &open] {
            let read = passes(router, method, &path, Some(READER)).await;
            assert_eq!(read, reader, "{name} by a reader");
            let operate = passes(router, method, &path, Some(OPERATOR)).await;
            let is_operators = route.permission != Permission::ManageAccounts;
            assert_eq!(operate, is_operators, "{name} by an operator");
        }
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_passes_a_guard() {
    let (config, _files) = guarded();
    let router = router(config, services()).await;
    for (method, path, reader) in [
        (Method::POST, "/ready", false),
        (Method::DELETE, "/api/v1/miners/4A/threshold", false),
        (Method::GET, "/api/v1/miners/4A/else", true),
        (Method::POST, "/api/v1/ingest/sensors", true),
        (Method::POST, "/api/v1/ingest/shares", false),
        (Method::POST, "/api/v1/ingest/blocks", false),
        (Method::POST, "/api/v1/ingest/%73hares", false),
        (Method::POST, "/api/v1/ingest/bl%6fcks", false),
        (Method::POST, "/api/v1/ingest/%2573hares", false),
        (Method::POST, "/api/v1/%69ngest/sensors", false),
        (Method::POST, "/api/v1/ingest/sensors%2F..%2Fshares", false),
        (Method::POST, "/api/v1/ingest/%ff", false),
        (Method::POST, "/api/v1/ingest/Shares", false),
        (Method::POST, "/api/v1/ingest/shares/", false),
        (Method::POST, "/api/v1/ingest/", false),
        (Method::POST, "/api/v1/payments/instructions", false),
        (Method::POST, "/api/v1/payments/%69nstructions", false),
        (Method::POST, "/api/v1/bans", false),
        (Method::GET, "/api/v1/unproven-blocks", true),
        (Method::POST, "/api/v1/unproven-blocks", false),
        (Method::DELETE, "/api/v1/bans", false),
        (Method::DELETE, "/api/v1/b%61ns", false),
        (Method::PUT, "/api/v1/anything", false),
        (Method::PATCH, "/api/v1/sql", false),
        (Method::POST, "/api/v1/pool/", false),
        (Method::GET, "/api/v1/pool/", true),
        // What the path leaves open does not change what its route asks for.
        (Method::DELETE, "/api/v1/sql/q%31", true),
        (Method::POST, "/api/v1/miners/4%41/threshold", true),
    ] {
        let name = format!("{method} {path}");
        assert!(!passes(&router, &method, path, None).await, "{name}");
        let read = passes(&router, &method, path, Some(READER)).await;
        assert_eq!(read, reader, "{name} by a reader");
        assert!(
            passes(&router, &method, path, Some(OPERATOR)).await,
            "{name}"
        );
    }
    let bearer = format!("Bearer {OPERATOR}");
    let headers = [("authorization", bearer.as_str())];
    let decoded = ask(&router, &Method::POST, "/api/v1/ingest/%73hares", &headers).await;
    assert_eq!(decoded.text, "rows of shares");
    let wrong = ask(&router, &Method::PATCH, "/api/v1/sql", &headers).await;
    assert_eq!(
        wrong.status_and_code(),
        (405, "method_not_allowed".to_owned())
    );
}

#[tokio::test]
async fn a_handler_without_a_listed_route_does_not_start() {
    let stray = RouteHandler {
        method: Method::POST,
        path: "/api/v1/stray",
        answers: axum::routing::post(async || "stray"),
    };
    let services = Services {
        handlers: vec![stray],
        ..Services::default()
    };
    let error = Server::bind(config(), services).await.err().unwrap();
    assert!(matches!(error, BindError::UnlistedRoute { .. }), "{error}");
}

#[tokio::test]
async fn a_web_page_of_another_site_gets_no_answer() {
    let local = router(config(), services()).await;
    let (guarded, _files) = guarded();
    let guarded = router(guarded, services()).await;
    // An image of a page sends no Origin, and the browser says where it comes from.
    for site in ["cross-site", "same-site", "anything"] {
        for path in ["/api/v1/pool", "/live", "/metrics", "/nowhere"] {
            let headers = [("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")];
            for router in [&local, &guarded] {
                let answer = ask(router, &Method::GET, path, &headers).await;
                let refused = (403, "foreign_origin".to_owned());
                assert_eq!(answer.status_and_code(), refused, "{site} {path}");
            }
        }
    }
    for site in ["same-origin", "none"] {
        let answer = ask(&local, &Method::GET, "/live", &[("sec-fetch-site", site)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{site}");
    }
    for (host, origin, status) in [
        ("127.0.0.1:8080", None, 200),
        ("localhost:8080", Some("http://localhost:8080"), 200),
        ("localhost:8080", Some("http://localhost:3000"), 403),
        ("rebound.example.org:8080", None, 403),
        ("127.0.0.1:8080", Some("https://example.org"), 403),
        ("127.0.0.1:8080", Some("null"), 403),
    ] {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = ask(&local, &Method::POST, "/api/v1/ingest/sensors", &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{host} {origin:?}");
    }
}

#[tokio::test]
async fn no_answer_is_for_another_site_or_of_a_guessed_type() {
    let router = router(config(), services()).await;
    for path in ["/live", "/api/v1/pool", "/nowhere", "/api/v1/bans"] {
        let answer = ask(&router, &Method::GET, path, &[]).await;
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert_eq!(
            answer.headers["cross-origin-resource-policy"], "same-origin",
            "{path}"
        );
    }
}

#[tokio::test]
async fn orders_need_a_token_where_payments_are_made() {
    let orders = [
        "/api/v1/bans",
        "/api/v1/payments/instructions",
        "/api/v1/ingest/shares",
    ];
    let paying = || Services {
        moves_money: true,
        ..services()
    };
    let without = router(config(), paying()).await;
    let file = token_file(OPERATOR);
    let with_token = QueryConfig {
        operator_token_file: Some(file.path().to_owned()),
        ..config()
    };
    let with_token = router(with_token, paying()).await;
    let free = router(config(), services()).await;
    for path in orders {
        let refused = ask(&without, &Method::POST, path, &[]).await;
        assert_eq!(
            refused.status_and_code(),
            (403, "no_operator_token".to_owned()),
            "{path}"
        );
        let origin = [
            ("host", "127.0.0.1:8080"),
            ("origin", "http://127.0.0.1:8080"),
        ];
        let page = ask(&with_token, &Method::POST, path, &origin).await;
        assert_eq!(
            page.status_and_code(),
            (401, "unauthorized".to_owned()),
            "{path}"
        );
        assert!(
            passes_here(&with_token, path, Some(OPERATOR)).await,
            "{path}"
        );
        // Where no money moves, a program of this machine needs no token; a web page does.
        assert!(passes_here(&free, path, None).await, "{path}");
        let page = ask(&free, &Method::POST, path, &origin).await;
        assert_eq!(
            page.status_and_code(),
            (403, "foreign_origin".to_owned()),
            "{path}"
        );
    }
}

async fn passes_here(router: &axum::Router, path: &str, token: Option<&str>) -> bool {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let answer = ask(router, &Method::POST, path, &headers).await;
    !matches!(answer.status.as_u16(), 401 | 403)
}

#[tokio::test]
async fn what_a_proxy_passed_on_needs_a_token() {
    let local = router(config(), services()).await;
    let public = QueryConfig {
        public_pages: true,
        ..config()
    };
    let public = router(public, services()).await;
    let (guarded, _files) = guarded();
    let guarded = router(guarded, services()).await;
    let bearer = format!("Bearer {OPERATOR}");
    for (name, value) in [
        ("forwarded", "for=192.0.2.60;proto=http"),
        ("x-forwarded-for", "203.0.113.5"),
        ("x-forwarded-host", "pool.example.org"),
        ("x-real-ip", "203.0.113.5"),
        ("via", "1.1 proxy"),
    ] {
        for path in ["/live", "/api/v1/ledger", "/api/v1/pool"] {
            let answer = ask(&local, &Method::GET, path, &[(name, value)]).await;
            assert_eq!(
                answer.status_and_code(),
                (403, "forwarded".to_owned()),
                "{name} {path}"
            );
        }
        // The pool's pages, where they are for everybody, are meant to stand behind a proxy.
        let page = ask(&public, &Method::GET, "/api/v1/pool", &[(name, value)]).await;
        assert_ne!(page.status, StatusCode::FORBIDDEN, "{name}");
        let ledger = ask(&public, &Method::GET, "/api/v1/ledger", &[(name, value)]).await;
        assert_eq!(ledger.status, StatusCode::FORBIDDEN, "{name}");
        let headers = [(name, value), ("authorization", bearer.as_str())];
        let read = ask(&guarded, &Method::GET, "/api/v1/bans", &headers).await;
        assert_eq!(read.status, StatusCode::OK, "{name}");
    }
}
