//! The OpenAPI document: whole, resolvable, and true of every route.

use std::collections::HashSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use headframe_query_front::access::Permission;
use headframe_query_front::route::openapi;
use headframe_query_front::route::schema::{Param, RequestBody, ValueType};
use headframe_query_front::{Route, Services, route};
use serde_json::{Map, Value, json};

use crate::engine::Scripted;
use crate::server::{Answer, ask, config, router, send, services};

/// A server with an engine, so that requests come as far as their handlers.
async fn served() -> Router {
    let services = Services {
        engines: Some(Scripted::new().engines()),
        ..services()
    };
    router(config(), services).await
}

/// Every `$ref` of a document.
fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(
                object
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_nothing_else() {
    let answer = ask(&served().await, &Method::GET, "/api/v1/openapi.json", &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    let document: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(document, openapi::document());
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = HashSet::new();
    references(&document, &mut found);
    assert!(found.len() >= 3, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let paths = document["paths"].as_object().unwrap();
    let operations: usize = paths
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum();
    assert_eq!(operations, route::ALL.len());
    for route in route::ALL {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &paths[route.path][&method];
        let variables: Vec<&str> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let described: Vec<&str> = route.schema.path.iter().map(|param| param.name).collect();
        assert_eq!(described, variables, "{}", route.path);
        assert!(route.schema.path.iter().all(|param| param.is_required));
        let listed = operation["parameters"].as_array().map_or(0, Vec::len);
        assert_eq!(listed, route.schema.params().count(), "{}", route.path);
        let mut params = route.schema.params();
        let described = params.all(|(_, param)| param.doc.ends_with('.'));
        assert!(described, "{}", route.path);
        assert!(operation["responses"]["200"]["content"].is_object());
        assert!(operation["operationId"].is_string());
    }
}

/// A value that a parameter takes.
fn sample(param: &Param) -> Value {
    match (param.name, param.value) {
        ("params" | "as_of", _) => Value::Null,
        ("format", _) => json!("json"),
        ("hash", _) => json!("ab".repeat(32)),
        (_, ValueType::Text | ValueType::Any) => json!("x"),
        (_, ValueType::Integer { least, most }) => json!(1.clamp(least, most)),
        (_, ValueType::OneOf(texts)) => json!(texts[0]),
        (_, ValueType::Number) => json!(1),
        (_, ValueType::Boolean) => json!(true),
    }
}

/// The path of a route with samples in it.
fn path_of(route: &Route) -> String {
    let described = route.schema.path.iter();
    described.fold(route.path.to_owned(), |path, param| {
        let value = sample(param).as_str().unwrap().to_owned();
        path.replace(&format!("{{{}}}", param.name), &value)
    })
}

/// Whether the answer says that a key or a field of this name is not taken.
fn is_unknown(answer: &Answer, name: &str) -> bool {
    answer.text.contains(&format!("unknown field `{name}`"))
}

#[tokio::test]
async fn the_keys_of_every_query_string_are_those_that_are_taken() {
    let router = served().await;
    let mut keys = 0;
    // What other crates answer is stood in for here.
    let routes = route::ALL
        .iter()
        .filter(|route| !route.is_of_another_crate())
        // An identity provider adds keys of its own.
        .filter(|route| route.permission != Permission::Callback);
    for route in routes.filter(|route| !route.schema.query.is_empty()) {
        let path = path_of(route);
        for param in route.schema.query {
            let text = match sample(param) {
                Value::String(text) => text,
                Value::Null => continue,
                value => value.to_string(),
            };
            let uri = format!("{path}?{}={text}", param.name);
            let answer = ask(&router, &route.method, &uri, &[]).await;
            assert!(!is_unknown(&answer, param.name), "{uri}: {}", answer.text);
            assert!(
                !answer.text.contains("query string"),
                "{uri}: {}",
                answer.text
            );
            keys += 1;
        }
        let answer = ask(&router, &route.method, &format!("{path}?zz=1"), &[]).await;
        assert!(is_unknown(&answer, "zz"), "{path}: {}", answer.text);
    }
    assert!(keys >= 20, "{keys}");
}

async fn send_json(router: &Router, route: &Route, path: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(&route.method)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    send(router, request.unwrap()).await
}

#[tokio::test]
async fn the_fields_of_every_body_are_those_that_are_taken() {
    let services = Services {
        engines: Some(Scripted::new().engines()),
        accounts: Some(
            crate::account_store::accounts(&crate::account_store::MemoryStore::new()).await,
        ),
        ..services()
    };
    let router = router(config(), services).await;
    let mut bodies = 0;
    for route in route::ALL
        .iter()
        .filter(|route| !route.is_of_another_crate())
    {
        let (RequestBody::Json(fields) | RequestBody::Statement(fields)) = route.schema.body else {
            continue;
        };
        // Without a payment service those of payments look at nothing.
        if route.path.contains("payments") || route.path.ends_with("threshold") {
            continue;
        }
        let path = path_of(route);
        let whole: Map<String, Value> = fields
            .iter()
            .map(|field| (field.name.to_owned(), sample(field)))
            .collect();
        let answer = send_json(&router, route, &path, &Value::Object(whole.clone())).await;
        for field in fields {
            assert!(!is_unknown(&answer, field.name), "{path}: {}", answer.text);
        }
        let mut more = whole.clone();
        more.insert("zz".to_owned(), json!(1));
        let answer = send_json(&router, route, &path, &Value::Object(more)).await;
        assert!(is_unknown(&answer, "zz"), "{path}: {}", answer.text);
        for field in fields
            .iter()
            .filter(|field| field.is_required && field.name != "sql")
        {
            let mut less = whole.clone();
            less.remove(field.name);
            let answer = send_json(&router, route, &path, &Value::Object(less)).await;
            let missing = format!("missing field `{}`", field.name);
            assert!(answer.text.contains(&missing), "{path}: {}", answer.text);
        }
        bodies += 1;
    }
    assert!(bodies >= 3, "{bodies}");
}

#[tokio::test]
async fn errors_are_problem_details_for_who_asks_for_them() {
    let router = served().await;
    let problem = [("accept", "application/json, application/problem+json;q=0.9")];
    for (path, status, code) in [
        ("/nothing/here", 404, "not_found"),
        ("/api/v1/blocks?zz=1", 400, "bad_request"),
        ("/api/v1/blocks/xyz/payouts", 400, "bad_request"),
    ] {
        let plain = ask(&router, &Method::GET, path, &[]).await;
        assert_eq!(plain.status_and_code(), (status, code.to_owned()), "{path}");
        let answer = ask(&router, &Method::GET, path, &problem).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let (plain, body): (Value, Value) = (
            serde_json::from_str(&plain.text).unwrap(),
            serde_json::from_str(&answer.text).unwrap(),
        );
        let error = &plain["error"];
        assert_eq!(body["type"], format!("urn:headframe:error:{code}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["instance"], path.split('?').next().unwrap());
        assert_eq!(body["detail"], error["message"]);
        assert_eq!(body["code"], error["code"]);
        assert_eq!(body["hint"], error["hint"]);
        assert!(body["title"].is_string());
    }
    // What the HTTP library refuses itself has the shape as well.
    let answer = ask(&router, &Method::PUT, "/api/v1/blocks", &problem).await;
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    // What is well stays as it is.
    let well = ask(&router, &Method::GET, "/live", &problem).await;
    assert_eq!((well.status, well.text.as_str()), (StatusCode::OK, "ok\n"));
}
