//! Servers for the tests, asked without a socket where that is enough.

use std::io::Write;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{MethodRouter, delete, get, post};
use headframe_query_front::{QueryConfig, RouteHandler, Server, Services};
use serde_json::Value;
use tower::ServiceExt;

use crate::openapi;

pub const READER: &str = "a-token-of-20-letters";
pub const OPERATOR: &str = "another-token-of-24-chars";

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn status_and_code(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

/// Any port, everything else as it comes.
pub fn config() -> QueryConfig {
    QueryConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..QueryConfig::default()
    }
}

pub fn token_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Stand-ins for what other crates bring: they answer what they were asked.
pub fn services() -> Services {
    let handler = |method: Method, path: &'static str, answers: MethodRouter| RouteHandler {
        method,
        path,
        answers,
    };
    let rows = post(async |Path(stream): Path<String>| format!("rows of {stream}"));
    let banned = async || (StatusCode::CREATED, "banned");
    Services {
        handlers: vec![
            handler(Method::POST, "/api/v1/ingest/{stream}", rows),
            handler(Method::GET, "/api/v1/bans", get(async || "bans")),
            handler(Method::POST, "/api/v1/bans", post(banned)),
            handler(Method::DELETE, "/api/v1/bans", delete(async || "lifted")),
        ],
        ..Services::default()
    }
}

pub async fn router(config: QueryConfig, services: Services) -> Router {
    Server::bind(config, services).await.unwrap().router()
}

/// The answer to a request; whatever a test looks at in it, it is one that the OpenAPI document
/// describes.
pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    };
    openapi::check_described(&method, &path, &answer);
    answer
}

/// A request of a program on this machine, with these headers beside its own.
pub async fn ask(router: &Router, method: &Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::empty()).unwrap()).await
}
