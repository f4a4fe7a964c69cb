//! The guard before every call but the handshake, which proves who calls in its own way.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::access::{Guard, Permission};
use crate::error::{ErrorCode, QueryError};
use crate::grpc;
use crate::held_refusals::{HeldRefusals, RequestOrigin};
use crate::sql::MAX_SQL_BYTES;
use crate::wire::flight::status;

/// The one call that needs no permission.
const HANDSHAKE: &str = "Handshake";
/// The call that gives rows. A client that is refused them had its statement planned before, so
/// that no other call says that its statements succeed.
const ROWS: &str = "DoGet";
/// The calls whose messages come one by one; those of `DoPut` have a limit each.
const STREAMS: [&str; 3] = [HANDSHAKE, "DoPut", "DoExchange"];
/// Bytes of any other call, which has one message: a statement and what goes with it.
const MAX_CALL_BYTES: usize = 2 * MAX_SQL_BYTES;

/// What the guard of the calls knows.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) guard: Guard,
    pub(super) refusals: Arc<HeldRefusals>,
    /// How long the message of a call may take.
    pub(super) patience: Duration,
}

/// The head of a call, for what asks for a permission of its own.
#[derive(Clone)]
pub(super) struct CallHead(pub(super) Arc<Parts>);

/// Lets a call through with its principal when it may read, and holds a refusal that has to wait.
pub(super) async fn guard_call(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let origin = RequestOrigin::from_request(&parts);
    let gives_rows = grpc::call_of(&parts.uri) == Some(ROWS);
    let response = gate.admit(parts, body, next).await;
    let status = outcome_of(&response);
    if let Some(origin) = origin.filter(|_| gives_rows || !status.is_success()) {
        gate.refusals.hold(&origin, status).await;
    }
    response
}

impl Gate {
    async fn admit(&self, mut parts: Parts, mut body: Body, next: Next) -> Response {
        let head = CallHead(Arc::new(parts.clone()));
        let call = grpc::call_of(&head.0.uri).unwrap_or_default();
        if call != HANDSHAKE {
            match self.guard.authorize(Permission::ReadRows, None, &parts) {
                Ok(principal) => parts.extensions.insert(principal),
                Err(error) => return status::of_error(&error).into_http(),
            };
        }
        if !STREAMS.contains(&call) {
            body = match self.whole(body).await {
                Ok(body) => body,
                Err(error) => return status::of_error(&error).into_http(),
            };
        }
        parts.extensions.insert(head.clone());
        next.run(Request::from_parts(parts, body)).await
    }

    /// The body of a call once all of it is here.
    async fn whole(&self, body: Body) -> Result<Body, QueryError> {
        match timeout(self.patience, to_bytes(body, MAX_CALL_BYTES)).await {
            Ok(Ok(bytes)) => Ok(Body::from(bytes)),
            Ok(Err(error)) => Err(QueryError::new(
                ErrorCode::BodyTooLarge,
                format!("the message cannot be read: {error}"),
                format!("a statement has at most {MAX_SQL_BYTES} bytes"),
            )),
            Err(_) => Err(QueryError::new(
                ErrorCode::RequestTimeout,
                format!(
                    "the message took longer than {} ms, which is the limit",
                    self.patience.as_millis()
                ),
                "send it at once, or raise query.body_timeout_ms",
            )),
        }
    }
}

/// How a call went, as far as its head tells.
fn outcome_of(response: &Response) -> StatusCode {
    let code = Status::from_header_map(response.headers());
    status::http_status(code.map_or(Code::Ok, |status| status.code()))
}
