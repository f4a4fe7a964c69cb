//! How many requests one caller may send, by name where it has proved one and by address where it
//! has not.
//!
//! Typed statements have slots of their own instead, over HTTP and where Flight gives their rows;
//! every other call of Flight counts. A program of this machine, on a server that trusts those, has
//! no such limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::{Principal, Proof};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::peer::{LimitedAddress, PeerAddress};
use crate::rate_limit::RateLimit;

/// The seconds after which whoever is refused may ask again: a bucket gets its next token within
/// one.
pub(crate) const RETRY_AFTER_S: &str = "1";

/// Buckets of requests, for names and for addresses apart: however many addresses a stranger has,
/// those who proved who they are keep theirs.
pub(crate) struct RequestLimits {
    names: RateLimit<Arc<str>>,
    addresses: RateLimit<IpAddr>,
}

/// Who is counted.
enum Counted {
    Name(Arc<str>),
    Address(IpAddr),
}

impl RequestLimits {
    /// The limits of the configuration; `None` where it has none.
    pub(crate) fn new(config: &QueryConfig) -> Option<Arc<Self>> {
        let refill = Duration::from_secs(1).checked_div(config.requests_per_s)?;
        let burst = config.request_burst;
        Some(Arc::new(Self {
            names: RateLimit::new(burst, refill),
            addresses: RateLimit::new(burst, refill),
        }))
    }

    /// The answer of HTTP to a request that is one too many.
    pub(crate) fn refuse(
        &self,
        principal: Result<&Principal, &QueryError>,
        request: &Parts,
    ) -> Option<Response> {
        let mut response = self.check(principal, request)?.into_response();
        let after = HeaderValue::from_static(RETRY_AFTER_S);
        response.headers_mut().insert(header::RETRY_AFTER, after);
        Some(response)
    }

    /// The error of a request that is one too many. Who is refused otherwise counts as nobody.
    pub(crate) fn check(
        &self,
        principal: Result<&Principal, &QueryError>,
        request: &Parts,
    ) -> Option<QueryError> {
        // Without a socket this process asks itself.
        request.extensions.get::<PeerAddress>()?;
        let counted = match principal {
            Ok(principal) if principal.proof == Proof::LocalProgram => return None,
            Ok(principal) if principal.proof != Proof::Nothing => {
                Counted::Name(principal.name.clone())
            }
            _ => Counted::Address(LimitedAddress::from_request(request).0),
        };
        let now = Instant::now();
        let (by, is_allowed) = match counted {
            Counted::Name(name) => ("principal", self.names.allow(name, now)),
            Counted::Address(address) => ("address", self.addresses.allow(address, now)),
        };
        if is_allowed {
            return None;
        }
        metrics::counter!("headframe_http_requests_limited_total", "by" => by).increment(1);
        Some(QueryError::new(
            ErrorCode::RateLimit,
            format!("this {by} sends more requests than it may"),
            "ask less often, or raise query.requests_per_s and query.request_burst",
        ))
    }
}

/// Refuses whoever sends more requests than he may, where nobody has to say who he is.
pub(crate) async fn limit_anonymous(
    State(limits): State<Option<Arc<RequestLimits>>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let anonymous = Principal::anonymous();
    let refusal = limits.and_then(|limits| limits.refuse(Ok(&anonymous), &parts));
    match refusal {
        Some(refusal) => refusal,
        None => next.run(Request::from_parts(parts, body)).await,
    }
}
