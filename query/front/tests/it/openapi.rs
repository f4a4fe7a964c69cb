//! The OpenAPI document: whole, resolvable, and true of every route.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use headframe_query_front::access::Permission;
use headframe_query_front::answers::anomalies::AnomalyRow;
use headframe_query_front::answers::blocks::BlockRow;
use headframe_query_front::answers::payments::{BalanceRow, LedgerRow, PaymentRow, SentRow};
use headframe_query_front::answers::payouts::{
    FrozenWindowRow, MinerPayoutRow, PayoutStepRow, WindowAccountRow,
};
use headframe_query_front::answers::table_row::{RowShape, select};
use headframe_query_front::route::openapi;
use headframe_query_front::route::schema::{self, Param, RequestBody, ValueType};
use headframe_query_front::{Route, Services, route};
use headframe_schemas::resource::{self, ResourceVersion};
use serde_json::{Map, Value, json};

use crate::accounts::Bed;
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

/// Whether a path is one of those that a route's path stands for.
fn is_of(route_path: &str, path: &str) -> bool {
    let (mut pattern, mut parts) = (route_path.split('/'), path.split('/'));
    loop {
        match (pattern.next(), parts.next()) {
            (None, None) => return true,
            (Some(variable), Some(part)) if variable.starts_with('{') && !part.is_empty() => {}
            (Some(word), Some(part)) if word == part => {}
            _ => return false,
        }
    }
}

/// Panics where the document describes another answer than this one of a route.
pub fn check_described(method: &Method, path: &str, answer: &Answer) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);
    let method = match *method {
        Method::HEAD => Method::GET,
        ref method => method.clone(),
    };
    let routes = route::ALL.iter().filter(|route| route.method == method);
    let of_this = routes.filter(|route| is_of(route.path, path));
    // A path that is written out is more than one that stands for many.
    let Some(route) = of_this.min_by_key(|route| route.path.matches('{').count()) else {
        return;
    };
    let name = method.as_str().to_ascii_lowercase();
    let responses = &DOCUMENT["paths"][route.path][&name]["responses"];
    let status = answer.status.as_u16();
    if responses.get(status.to_string()).is_some() {
        return;
    }
    let is_error = status >= 400 && responses.get("default").is_some();
    assert!(is_error, "{method} {path}: {status} is not described");
    // What answers HEAD has no body.
    let body = serde_json::from_str::<Value>(&answer.text).unwrap_or_default();
    let is_described = body["error"]["code"].is_string() || body["code"].is_string();
    assert!(
        is_described || answer.text.is_empty(),
        "{method} {path}: {status} {}",
        answer.text
    );
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
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("default"), "{}", route.path);
        for status in route.schema.statuses {
            let content = &responses[&status.to_string()]["content"];
            let is_described = content.is_object() == schema::has_body(*status);
            assert!(is_described, "{} {}: {status}", route.method, route.path);
        }
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
        (_, ValueType::Texts) => json!(["shares"]),
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

/// The answer to a body that an admin's session sends.
async fn send_json(
    router: &Router,
    route: &Route,
    path: &str,
    cookie: &str,
    body: &Value,
) -> Answer {
    let request = Request::builder()
        .method(&route.method)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("content-type", "application/json")
        .header("cookie", cookie)
        .header("origin", "http://127.0.0.1:8080")
        .body(Body::from(body.to_string()));
    send(router, request.unwrap()).await
}

#[tokio::test]
async fn the_fields_of_every_body_are_those_that_are_taken() {
    let bed = Bed::with_ann_beside(Services {
        engines: Some(Scripted::new().engines()),
        ..services()
    })
    .await;
    let (router, cookie) = (&bed.router, bed.cookie().await);
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
        let answer = send_json(router, route, &path, &cookie, &Value::Object(whole.clone())).await;
        for field in fields {
            assert!(!is_unknown(&answer, field.name), "{path}: {}", answer.text);
        }
        let mut more = whole.clone();
        more.insert("zz".to_owned(), json!(1));
        let answer = send_json(router, route, &path, &cookie, &Value::Object(more)).await;
        assert!(is_unknown(&answer, "zz"), "{path}: {}", answer.text);
        for field in fields
            .iter()
            .filter(|field| field.is_required && field.name != "sql")
        {
            let mut less = whole.clone();
            less.remove(field.name);
            let answer = send_json(router, route, &path, &cookie, &Value::Object(less)).await;
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

#[test]
fn what_the_registry_answers_is_described_by_the_definitions_of_its_kinds() {
    let document = openapi::document();
    let keys = |object: &Value| -> BTreeSet<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    let schema = |path: &str, method: &str, status: &str| {
        let answer = &document["paths"][path][method]["responses"][status];
        answer["content"]["application/json"]["schema"].clone()
    };
    for kind in resource::ALL {
        let values = kind
            .fields
            .iter()
            .map(|field| (field.column.name.to_owned(), json!("x")));
        let one = ResourceVersion {
            id: "x".to_owned(),
            version: 1,
            updated_us: 0,
            updated_by: "ann".to_owned(),
            values: values.collect(),
        };
        let of_one = schema(kind.item_path, "get", "200");
        let reference = of_one["$ref"].as_str().unwrap();
        let described = document.pointer(reference.trim_start_matches('#')).unwrap();
        assert_eq!(
            keys(&described["properties"]),
            keys(&one.to_json()),
            "{}",
            kind.name
        );
        assert_eq!(schema(kind.path, "post", "201"), of_one);
        assert_eq!(schema(kind.item_path, "put", "200"), of_one);
        let list = schema(kind.path, "get", "200");
        assert_eq!(list["properties"][kind.name]["items"], of_one);
        let deleted = schema(kind.item_path, "delete", "200");
        assert_eq!(deleted["properties"]["deleted"], of_one);
    }
}

#[test]
fn answers_about_pools_miners_blocks_payments_and_anomalies_are_described_by_their_types() {
    let document = openapi::document();
    for (path, name) in [
        ("/api/v1/pool", "PoolsAnswer"),
        ("/api/v1/pool/hashrate", "HashrateAnswer"),
        ("/api/v1/pool/effort", "EffortsAnswer"),
        ("/api/v1/pool/miners", "TopMinersAnswer"),
        ("/api/v1/pool/payments", "SentPaymentsAnswer"),
        ("/api/v1/pool/terms", "PoolTerms"),
        ("/api/v1/miners/{address}", "MinerAnswer"),
        ("/api/v1/miners/{address}/hashrate", "HashrateAnswer"),
        ("/api/v1/miners/{address}/workers", "WorkersAnswer"),
        (
            "/api/v1/miners/{address}/workers/hashrate",
            "WorkerHashratesAnswer",
        ),
        ("/api/v1/miners/{address}/payments", "MinerPaymentsAnswer"),
        ("/api/v1/blocks", "BlocksAnswer"),
        ("/api/v1/payments", "PaymentsAnswer"),
        ("/api/v1/payments/state", "PayerAnswer"),
        ("/api/v1/ledger", "LedgerAnswer"),
        ("/api/v1/anomalies", "AnomaliesAnswer"),
        ("/api/v1/anomalies/readings", "ReadingsAnswer"),
    ] {
        let answer = &document["paths"][path]["get"]["responses"]["200"];
        let reference = &answer["content"]["application/json"]["schema"]["$ref"];
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        assert_eq!(pointer, format!("/components/schemas/{name}"), "{path}");
        let described = document.pointer(pointer).unwrap();
        let required = described["required"].as_array().unwrap();
        let properties = described["properties"].as_object().unwrap();
        assert_eq!(required.len(), properties.len(), "{path}");
    }
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1);
    for pointer in references.map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn every_column_that_an_answer_names_is_one_of_its_stream_or_view() {
    let counts = [
        AnomalyRow::columns().len(),
        BlockRow::columns().len(),
        PaymentRow::columns().len(),
        SentRow::columns().len(),
        LedgerRow::columns().len(),
        BalanceRow::columns().len(),
        MinerPayoutRow::columns().len(),
        FrozenWindowRow::columns().len(),
        PayoutStepRow::columns().len(),
        WindowAccountRow::columns().len(),
    ];
    assert_eq!(counts, [14, 13, 12, 8, 7, 2, 8, 18, 7, 6]);
}

#[test]
fn exact_numbers_are_selected_and_described_as_text_with_their_unit() {
    let amount = "CAST(balance_atomic AS VARCHAR) AS balance_atomic";
    assert_eq!(select::<BalanceRow>(), format!("account, {amount}"));
    let document = openapi::document();
    let amount = &document["components"]["schemas"]["Balance"]["properties"]["balance_atomic"];
    assert_eq!(amount["type"], json!(["string", "null"]));
    let doc = amount["description"].as_str().unwrap();
    assert!(doc.ends_with("Unit: atomic units."), "{doc}");
}

/// A generated client takes what is not described for an error.
#[test]
fn what_is_made_is_described_as_made() {
    let document = openapi::document();
    let statuses = |path: &str, method: &str| {
        let responses = &document["paths"][path][method]["responses"];
        let statuses = responses.as_object().unwrap().keys().cloned();
        statuses.collect::<Vec<_>>()
    };
    for path in ["/api/v1/sites", "/api/v1/violations", "/api/v1/bans"] {
        assert_eq!(statuses(path, "post"), ["201", "default"], "{path}");
    }
    assert_eq!(statuses("/health", "get"), ["200", "503", "default"]);
    assert_eq!(statuses("/api/v1/login/oidc", "get"), ["303", "default"]);
    assert_eq!(statuses("/api/v1/sites", "get"), ["200", "304", "default"]);
}
