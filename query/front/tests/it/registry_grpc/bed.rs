//! A server with a registry in memory, asked over gRPC and over REST.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use headframe_query_front::{Engines, QueryConfig, Services};
use serde_json::Value;
use tonic::Status;
use tower::ServiceExt;

use crate::engine::{NoReports, Scripted};
use crate::photos::MemoryPhotos;
use crate::registry_grpc::PHOTO;
use crate::registry_grpc::memory::MemoryRegistry;
use crate::registry_grpc::proto_file::ProtoFile;
use crate::server::{Answer, router, send};

/// Both sides of one registry.
pub struct Bed {
    pub router: Router,
    pub file: ProtoFile,
    pub token: Option<String>,
}

pub async fn bed(config: QueryConfig, more: Services) -> Bed {
    let services = Services {
        registry: Some(Arc::new(MemoryRegistry::default())),
        photos: Some(Arc::new(MemoryPhotos::with(PHOTO))),
        engines: Some(Engines {
            sql: Scripted::new(),
            reports: Arc::new(NoReports::default()),
        }),
        ..more
    };
    Bed {
        router: router(config, services).await,
        file: ProtoFile::published(),
        token: None,
    }
}

impl Bed {
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, Status> {
        let (takes, gives) = self.file.call(name);
        let message = self.file.encode(takes, &request);
        let answer = self.send_message(name, &message, &[]).await?;
        Ok(self.file.decode(gives, &answer))
    }

    pub async fn send_message(
        &self,
        name: &str,
        message: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Vec<u8>, Status> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0], length.as_slice(), message].concat();
        let path = format!("/headframe.registry.v1.Registry/{name}");
        let request = self.request(Method::POST, &path, headers);
        let request = request.header("content-type", "application/grpc");
        let request = request.body(Body::from(frame)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        let bytes = to_bytes(response.into_body(), 1 << 22).await.unwrap();
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!((bytes[0], bytes.len()), (0, 5 + length));
        Ok(bytes[5..].to_vec())
    }

    pub async fn rest(&self, method: Method, path: &str, tag: Option<&str>, body: Value) -> Answer {
        let headers: Vec<(&str, &str)> = tag.iter().map(|tag| ("if-match", *tag)).collect();
        let request = self.request(method, &format!("/api/v1/{path}"), &headers);
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        send(&self.router, request.body(body).unwrap()).await
    }

    pub fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> axum::http::request::Builder {
        let host = if self.token.is_some() {
            "mine.example.org"
        } else {
            "127.0.0.1"
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host);
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    pub async fn read(&self, path: &str) -> Value {
        let answer = self.rest(Method::GET, path, None, Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    }

    /// What is refused on both sides, with the same words and the same code.
    pub async fn both_refuse(&self, name: &str, request: Value, rest: Answer) -> Status {
        let status = self.call(name, request).await.unwrap_err();
        let body: Value = serde_json::from_str(&rest.text).unwrap();
        let (message, code) = (&body["error"]["message"], &body["error"]["code"]);
        let begins = status.message().starts_with(message.as_str().unwrap());
        assert!(begins, "{name}: {} is not {message}", status.message());
        assert_eq!(
            status.metadata().get("headframe-error").unwrap(),
            code.as_str().unwrap()
        );
        status
    }
}
