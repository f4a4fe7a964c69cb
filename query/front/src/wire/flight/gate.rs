//! The guard before every call but the handshake, which proves who calls in its own way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;

use crate::access::{Guard, Permission, Principal};
use crate::error::{ErrorCode, QueryError};
use crate::grpc;
use crate::held_refusals::{HeldRefusals, RequestOrigin};
use crate::peer::LimitedAddress;
use crate::request_limits::{RETRY_AFTER_S, RequestLimits};
use crate::request_log::{LoggedRequest, RequestLog};
use crate::sql::MAX_SQL_BYTES;
use crate::wire::flight::status;

/// The one call that needs no permission.
const HANDSHAKE: &str = "Handshake";
/// The call that gives rows. A client that is refused them had its statement planned before, so
/// that no other call says that its statements succeed.
const ROWS: &str = "DoGet";
/// Every call of the service.
const CALLS: [&str; 10] = [
    HANDSHAKE,
    "ListFlights",
    "GetFlightInfo",
    "PollFlightInfo",
    "GetSchema",
    ROWS,
    "DoPut",
    "DoExchange",
    "DoAction",
    "ListActions",
];
/// The calls whose messages come one by one; those of `DoPut` have a limit each.
const STREAMS: [&str; 3] = [HANDSHAKE, "DoPut", "DoExchange"];
/// Bytes of any other call, which has one message: a statement and what goes with it.
const MAX_CALL_BYTES: usize = 2 * MAX_SQL_BYTES;

/// What the guard of the calls knows.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) guard: Guard,
    pub(super) refusals: Arc<HeldRefusals>,
    /// Where calls are noted.
    pub(super) log: Option<RequestLog>,
    /// How many calls one caller may make.
    pub(super) limits: Option<Arc<RequestLimits>>,
    /// How long the message of a call may take.
    pub(super) patience: Duration,
}

/// The head of a call, for what asks for a permission of its own.
#[derive(Clone)]
pub(super) struct CallHead(pub(super) Arc<Parts>);

/// Lets a call through with its principal when it may read, and holds a refusal that has to wait.
pub(super) async fn guard_call(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let origin = RequestOrigin::from_request(&parts);
    let LimitedAddress(address) = LimitedAddress::from_request(&parts);
    let call = name_of(grpc::call_of(&parts.uri).unwrap_or_default());
    let mut response = gate.admit(parts, body, next).await;
    let Some(origin) = origin else {
        return response;
    };
    let status = status::http_status(response.headers()).unwrap_or(StatusCode::OK);
    if let Some(log) = &gate.log {
        let request = LoggedRequest {
            wire: "flight",
            route: call.into(),
            peer: address,
            begun,
        };
        response = log.watch(response, request, status::http_status);
    }
    if call == ROWS || !status.is_success() {
        gate.refusals.hold(&origin, status).await;
    }
    response
}

/// The call as rows name it: who makes up another is not quoted.
fn name_of(call: &str) -> &'static str {
    let known = CALLS.iter().copied().find(|known| *known == call);
    known.unwrap_or("unknown")
}

impl Gate {
    async fn admit(&self, mut parts: Parts, mut body: Body, next: Next) -> Response {
        let head = CallHead(Arc::new(parts.clone()));
        let call = grpc::call_of(&head.0.uri).unwrap_or_default();
        // Who shakes hands is nobody yet.
        let authorized = match call {
            HANDSHAKE => Ok(Principal::anonymous()),
            _ => self.guard.authorize(Permission::ReadRows, None, &parts),
        };
        // What gives rows has slots, and its refusals are held.
        let limits = self.limits.as_ref().filter(|_| call != ROWS);
        if let Some(error) = limits.and_then(|limits| limits.check(authorized.as_ref(), &parts)) {
            let mut status = status::of_error(&error);
            let after = MetadataValue::from_static(RETRY_AFTER_S);
            status.metadata_mut().insert("retry-after", after);
            return status.into_http();
        }
        match authorized {
            Ok(_) if call == HANDSHAKE => {}
            Ok(principal) => {
                parts.extensions.insert(principal);
            }
            Err(error) => return status::of_error(&error).into_http(),
        }
        let principal = parts.extensions.get::<Principal>().cloned();
        if !STREAMS.contains(&call) {
            body = match self.whole(body).await {
                Ok(body) => body,
                Err(error) => return status::of_error(&error).into_http(),
            };
        }
        parts.extensions.insert(head.clone());
        let mut response = next.run(Request::from_parts(parts, body)).await;
        if let Some(principal) = principal {
            response.extensions_mut().insert(principal);
        }
        response
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
