//! The registry over gRPC, on the port of HTTP: the service of [`proto`], whose calls are answered
//! by the routes of REST.
//!
//! A call becomes the request of REST that does the same, with the headers and the connection of
//! the call, and goes through the same guard, limits and handlers. So there is no rule, right or
//! limit that holds on one side alone.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::{StreamExt, future};
use headframe_schemas::resource::proto::{self, Call};
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tower::{ServiceExt, service_fn};

use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::error_body;
use crate::wire::call_body::whole;
use crate::wire::field_status as status;
use crate::wire::registry_grpc::codec::BytesCodec;

mod codec;
mod descriptor;
mod message;
mod reflection;
mod rest;

#[cfg(test)]
mod tests;

/// Bytes of the message of a call: some times what all fields of a resource may have together.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The same with the frame around it.
const MAX_CALL_BYTES: usize = MAX_MESSAGE_BYTES + 1_024;
/// Questions of one stream of reflection.
const MAX_QUESTIONS: usize = 256;
const HINT: &str = "GET /api/v1/registry.proto has the messages, of at most 64 KiB each";

/// What answers the calls.
struct RegistryWire {
    /// The routes of REST, each behind its guard.
    rest: Router,
    /// How long the message of a call may take.
    patience: Duration,
}

/// The calls of the service. `rest` are the routes of the registry, each behind its guard.
pub(crate) fn routes(app: &AppState, rest: Router) -> Router {
    let wire = Arc::new(RegistryWire {
        rest: rest.layer(from_fn(error_body::unify)),
        patience: Duration::from_millis(app.config.body_timeout_ms),
    });
    let mut router = Router::new();
    for call in proto::calls() {
        let wire = wire.clone();
        let answer = move |request: Request| async move { wire.answer(call, request).await };
        router = router.route(&path_of(call), post(answer));
    }
    for path in reflection::PATHS {
        let wire = wire.clone();
        let answer = move |request: Request| async move { wire.reflect(request).await };
        router = router.route(path, post(answer));
    }
    router
}

fn path_of(call: &Call) -> String {
    format!("/{}.{}/{}", proto::PACKAGE, proto::SERVICE, call.name)
}

impl RegistryWire {
    /// The answer to a call, with its status.
    async fn answer(&self, call: &'static Call, request: Request) -> Response {
        let (head, body) = request.into_parts();
        if !is_grpc(&head.headers) {
            return no_grpc().into_response();
        }
        let body = match whole(body, MAX_CALL_BYTES, self.patience, HINT).await {
            Ok(body) => body,
            Err(error) => return status::of_error(&error).into_http(),
        };
        let request = Request::from_parts(head.clone(), body);
        let service = service_fn(|message: tonic::Request<Bytes>| {
            let (rest, head) = (self.rest.clone(), head.clone());
            async move {
                let answered = answer_message(rest, call, head, &message.into_inner()).await;
                answered
                    .map(tonic::Response::new)
                    .map_err(|error| status::of_error(&error))
            }
        });
        let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.unary(service, request).await.map(Body::new)
    }

    /// What the service has, to whoever may read its file.
    async fn reflect(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        if !is_grpc(&head.headers) {
            return no_grpc().into_response();
        }
        if let Err(error) = self.may_read_file(head.clone()).await {
            return status::of_error(&error).into_http();
        }
        let service = service_fn(|questions: tonic::Request<Streaming<Bytes>>| {
            let questions = questions.into_inner().take(MAX_QUESTIONS);
            let answers = questions.map(|question| {
                let answer = reflection::answer(&question?);
                answer.map(Bytes::from).map_err(|error| {
                    let message = format!("the question cannot be read: {error}");
                    status::of_error(&QueryError::bad_request(message, HINT))
                })
            });
            future::ok::<_, Status>(tonic::Response::new(answers))
        });
        let request = Request::from_parts(head, body);
        let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.streaming(service, request).await.map(Body::new)
    }

    async fn may_read_file(&self, head: Parts) -> Result<(), QueryError> {
        let request = rest::request_of_file(head)?;
        let Ok(response) = self.rest.clone().oneshot(request).await;
        rest::refusal(&response).map_or(Ok(()), Err)
    }
}

async fn answer_message(
    rest: Router,
    call: &Call,
    head: Parts,
    bytes: &[u8],
) -> Result<Bytes, QueryError> {
    let given = message::decode(&call.request, bytes).map_err(|error| {
        let message = format!("the message cannot be read: {error}");
        QueryError::bad_request(message, HINT)
    })?;
    let request = rest::request(call, given, head)?;
    // The router's error has no values.
    let Ok(response) = rest.oneshot(request).await;
    rest::message(call, response).await
}

/// Whether a request says that it is a call; a form of a web page cannot.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";")
    })
}

fn no_grpc() -> QueryError {
    QueryError::new(
        ErrorCode::UnsupportedMediaType,
        "this path takes calls of gRPC",
        "send application/grpc, or use the routes of REST",
    )
}
