//! Every error of the port has one shape, whoever refuses.

use axum::body::Body;
use axum::http::{Method, Request};
use headframe_query_front::route;
use serde_json::Value;

use crate::server::{Answer, config, router, send, services};

/// `{"error": {"code", "message", "hint"}}`, all of them texts that say something.
fn check_shape(answer: &Answer, name: &str) {
    assert!(answer.status.as_u16() >= 400, "{name}: {}", answer.status);
    assert_eq!(answer.headers["content-type"], "application/json", "{name}");
    let body: Value = serde_json::from_str(&answer.text)
        .unwrap_or_else(|error| panic!("{name}: {error}: {}", answer.text));
    assert_eq!(body.as_object().unwrap().len(), 1, "{name}: {body}");
    let error = body["error"].as_object().unwrap();
    assert_eq!(error.len(), 3, "{name}: {body}");
    for key in ["code", "message", "hint"] {
        let text = error[key].as_str().unwrap_or_default();
        assert!(text.len() > 2, "{name}: {key} of {body}");
    }
}

#[tokio::test]
async fn every_route_refuses_in_the_same_shape() {
    let router = router(config(), Default::default()).await;
    let request = |method: &Method, path: &str, body: Body| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(body)
            .unwrap()
    };
    for route in route::ALL {
        // These answer without anything of the process.
        let probe = [
            "/live",
            "/api/v1/registry/kinds",
            "/health",
            "/ready",
            "/api/v1/me",
            "/api/v1/console",
            "/api/v1/openapi.json",
            "/api/v1/registry.proto",
        ]
        .contains(&route.path);
        let path = route.path.replace(['{', '}'], "x");
        let name = format!("{} {}", route.method, route.path);
        if !probe {
            // No engine, no payments and no handler of another crate: each says so.
            let bad = request(&route.method, &format!("{path}?unknown=1"), Body::from("{"));
            check_shape(&send(&router, bad).await, &name);
        }
        if route.path.contains('{') {
            let undecodable = route.path.replace('{', "%ff").replace('}', "");
            let bad = request(&route.method, &undecodable, Body::empty());
            check_shape(&send(&router, bad).await, &format!("{name} undecodable"));
        }
        for method in [Method::PATCH, Method::TRACE] {
            let bad = request(&method, &path, Body::empty());
            let answer = send(&router, bad).await;
            check_shape(&answer, &format!("{method} {path}"));
            assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
        }
    }
    let large = Body::from(vec![b' '; 3 << 20]);
    let answer = send(&router, request(&Method::POST, "/api/v1/sql", large)).await;
    check_shape(&answer, "a large statement");
    assert_eq!(answer.status, 413);
    let nowhere = request(&Method::GET, "/nowhere", Body::empty());
    check_shape(&send(&router, nowhere).await, "nowhere");
}

#[tokio::test]
async fn plain_refusals_of_other_crates_get_the_shape() {
    let mut services = services();
    for handler in &mut services.handlers {
        let answers = axum::routing::any(async || {
            (
                axum::http::StatusCode::TOO_MANY_REQUESTS,
                [("retry-after", "7")],
                "the queue is full",
            )
        });
        handler.answers = match handler.method {
            Method::GET => axum::routing::get_service(answers),
            Method::DELETE => axum::routing::delete_service(answers),
            _ => axum::routing::post_service(answers),
        };
    }
    let router = router(config(), services).await;
    let request = Request::get("/api/v1/bans").header("host", "127.0.0.1");
    let answer = send(&router, request.body(Body::empty()).unwrap()).await;
    check_shape(&answer, "plain text");
    assert_eq!(answer.code(), "concurrency_limit");
    assert_eq!(answer.headers["retry-after"], "7");
    assert!(answer.text.contains("the queue is full"), "{}", answer.text);
}
