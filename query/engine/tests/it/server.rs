//! Servers for the tests, asked without a socket where that is enough.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use headframe_query_engine::{Engine, Source, SqlReports};
use headframe_query_front::access::ReadScope;
use headframe_query_front::{At, Engines, QueryConfig, QueryService, Server, Services, SqlRequest};
use headframe_schemas::stream::shares::Shares;
use serde_json::Value;
use tower::ServiceExt;

use crate::described;
use crate::scripted::{Scripted, split, ten_shares};

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The error's code; panics when the body is not an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Any port, everything else as it comes.
pub fn config() -> QueryConfig {
    QueryConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..QueryConfig::default()
    }
}

/// The ten shares, six of them stored.
pub fn shares() -> Arc<dyn Source> {
    Scripted::new(&Shares, split(&ten_shares(), 6, 10))
}

/// Engines in this process over the sources.
pub fn engines(config: &QueryConfig, sources: Vec<Arc<dyn Source>>) -> Option<Engines> {
    let engine = Arc::new(Engine::new(config.clone(), sources.clone(), vec![]).unwrap());
    Some(Engines {
        sql: engine.clone(),
        reports: Arc::new(SqlReports::new(config, engine).with_sources(sources)),
    })
}

/// A service without a server.
pub fn service(config: &QueryConfig, sources: Vec<Arc<dyn Source>>) -> QueryService {
    let engine = Engine::new(config.clone(), sources, vec![]).unwrap();
    QueryService::new(config, Arc::new(engine))
}

/// A statement with no limits of its own.
pub fn sql_request(sql: &str, at: At) -> SqlRequest {
    SqlRequest {
        sql: sql.to_owned(),
        params: Value::Null,
        parameters: None,
        at,
        timeout: None,
        max_rows: None,
        query_id: None,
        reads: ReadScope::Everything,
        postgres: None,
    }
}

pub async fn router(config: QueryConfig, sources: Vec<Arc<dyn Source>>) -> Router {
    let services = Services {
        engines: engines(&config, sources),
        ..Services::default()
    };
    Server::bind(config, services).await.unwrap().router()
}

/// A server over the ten shares.
pub async fn small() -> Router {
    router(config(), vec![shares()]).await
}

/// What answers, which is as the OpenAPI document describes it.
pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), 1 << 30)
        .await
        .unwrap()
        .to_vec();
    if headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/json")
    {
        described::check(&method, &path, status, &body);
    }
    Answer {
        status,
        headers,
        body,
    }
}

pub fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/api/v1/sql")
        .header("host", "127.0.0.1")
        .body(body.into())
        .unwrap()
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "localhost:8080")
        .body(Body::empty())
        .unwrap()
}

/// Asks SQL and gives the answer as JSON.
pub async fn sql(router: &Router, sql: &str) -> Answer {
    send(router, post(sql.to_owned())).await
}

/// The rows of an answer; panics with the body when it is an error.
pub async fn rows(router: &Router, statement: &str) -> Vec<Value> {
    let answer = sql(router, statement).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{statement}: {}",
        answer.text()
    );
    answer.json()["rows"].as_array().unwrap().clone()
}

/// Asks a service directly.
pub async fn batches(service: &QueryService, sql: &str, at: At) -> Vec<arrow::array::RecordBatch> {
    use futures::TryStreamExt;
    let answer = service
        .ask(sql_request(sql, at))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    answer
        .rows
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}
