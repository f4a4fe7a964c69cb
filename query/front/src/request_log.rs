//! The requests of late, as rows of the stream `requests`: one each while there is space for them,
//! and sums by who, what and how it ended under a flood.
//!
//! An answer never waits for its row. Somebody else takes the rows now and then and writes them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use headframe_schemas::stream::requests::RequestEvent;
use hyper::body::{Frame, SizeHint};

use crate::access::{Principal, Role};
use crate::clock::now_us;

/// The status of a request whose client did not wait for the answer.
const GIVEN_UP: u16 = 499;
/// Rows between two takings that stand for one request each.
const MAX_SINGLE: usize = 256;
/// Rows between two takings that stand for several.
const MAX_SUMS: usize = 256;

/// Requests that were answered and are not written yet. Clones share them.
#[derive(Clone, Default)]
pub struct RequestLog {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    single: Vec<RequestEvent>,
    sums: HashMap<SumKey, RequestEvent>,
}

#[derive(PartialEq, Eq, Hash)]
struct SumKey {
    wire: String,
    principal: String,
    route: String,
    status: u16,
}

impl RequestLog {
    /// Takes what waits.
    pub fn take(&self) -> Vec<RequestEvent> {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        let mut rows = waiting.single;
        rows.extend(waiting.sums.into_values());
        rows
    }

    /// Notes a request that was answered. When even sums are too many, it is only counted.
    fn note(&self, event: RequestEvent) {
        // Each step leaves rows that are whole.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.single.len() < MAX_SINGLE {
            waiting.single.push(event);
            return;
        }
        let key = SumKey {
            wire: event.wire.clone(),
            principal: event.principal.clone(),
            route: event.route.clone(),
            status: event.status,
        };
        let is_full = waiting.sums.len() >= MAX_SUMS;
        match waiting.sums.get_mut(&key) {
            Some(sum) => {
                sum.event_time = event.event_time;
                sum.duration_ms = sum.duration_ms.max(event.duration_ms);
                sum.bytes = sum.bytes.saturating_add(event.bytes);
                sum.requests += event.requests;
            }
            None if is_full => count_unlogged(event.requests),
            None => {
                let sum = RequestEvent {
                    peer: None,
                    ..event
                };
                waiting.sums.insert(key, sum);
            }
        }
    }

    /// The answer, which is noted when its last byte is sent or it is given up. Where `status_of`
    /// finds another status in its headers or in what follows it, that one counts.
    pub(crate) fn watch(
        &self,
        response: Response,
        request: LoggedRequest,
        status_of: StatusOf,
    ) -> Response {
        let (mut parts, body) = response.into_parts();
        let principal = parts.extensions.remove::<Principal>();
        let mut entry = self.begin(request, principal.as_ref());
        entry.ended(status_of(&parts.headers).unwrap_or(parts.status));
        let body = LoggedBody {
            body,
            entry,
            status_of,
        };
        Response::from_parts(parts, Body::new(body))
    }

    /// The row of a request that is not answered yet; it is noted when it is dropped.
    pub(crate) fn begin(&self, request: LoggedRequest, principal: Option<&Principal>) -> LogEntry {
        let role = principal.and_then(|who| who.role.as_ref());
        LogEntry {
            log: self.clone(),
            begun: request.begun,
            event: RequestEvent {
                event_time: 0,
                wire: request.wire.to_owned(),
                role: role.map(|role| Role::as_str(role).to_owned()),
                principal: match principal {
                    Some(principal) => principal.name.to_string(),
                    None => "anonymous".to_owned(),
                },
                route: request.route.to_string(),
                status: GIVEN_UP,
                duration_ms: 0.0,
                bytes: 0,
                requests: 1,
                peer: Some(request.peer.to_string()),
            },
        }
    }
}

/// Finds the status of an answer in its headers or trailers, where they have one of their own.
pub(crate) type StatusOf = fn(&HeaderMap) -> Option<StatusCode>;

/// The status of HTTP, which is that of the answer's head.
pub(crate) fn status_of_head(_: &HeaderMap) -> Option<StatusCode> {
    None
}

/// Counts requests that no row tells of.
pub fn count_unlogged(requests: u64) {
    metrics::counter!("headframe_requests_unlogged_total").increment(requests);
}

fn of_range(status: StatusCode) -> u16 {
    status.as_u16().clamp(100, 599)
}

/// What is known of a request before it is answered.
pub(crate) struct LoggedRequest {
    /// The way in.
    pub(crate) wire: &'static str,
    /// Method and path of the route, or what the wire has in its place.
    pub(crate) route: Arc<str>,
    /// Where it came from, as limits count it.
    pub(crate) peer: IpAddr,
    /// When its head was there.
    pub(crate) begun: Instant,
}

/// A row that is noted when it is dropped.
pub(crate) struct LogEntry {
    log: RequestLog,
    begun: Instant,
    event: RequestEvent,
}

impl LogEntry {
    /// Sets how the request was answered.
    pub(crate) fn ended(&mut self, status: StatusCode) {
        self.event.status = of_range(status);
    }

    /// Adds bytes of the answer.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.event.bytes = self.event.bytes.saturating_add(bytes);
    }
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        self.event.event_time = now_us();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.event.duration_ms = seconds * 1_000.0;
        if self.event.wire == "http" {
            let class = format!("{}xx", self.event.status / 100);
            let labels = [("route", self.event.route.clone()), ("status", class)];
            metrics::histogram!("headframe_http_request_seconds", &labels).record(seconds);
        }
        self.log.note(self.event.clone());
    }
}

/// A body that counts its bytes.
struct LoggedBody {
    body: Body,
    entry: LogEntry,
    status_of: StatusOf,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            if let Some(data) = frame.data_ref() {
                self.entry.sent(data.len() as u64);
            }
            let of_trailers = frame.trailers_ref().and_then(self.status_of);
            if let Some(status) = of_trailers {
                self.entry.ended(status);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(principal: &str, status: u16) -> RequestEvent {
        RequestEvent {
            event_time: 1,
            wire: "http".to_owned(),
            principal: principal.to_owned(),
            role: None,
            route: "GET /api/v1/pool".to_owned(),
            status,
            duration_ms: f64::from(status),
            bytes: 10,
            requests: 1,
            peer: Some("192.0.2.1".to_owned()),
        }
    }

    #[test]
    fn a_flood_is_summed_and_its_memory_is_bounded() {
        let log = RequestLog::default();
        for _ in 0..MAX_SINGLE {
            log.note(event("ann", 200));
        }
        for _ in 0..1_000 {
            log.note(event("ann", 200));
        }
        log.note(event("ann", 404));
        let rows = log.take();
        assert_eq!(rows.len(), MAX_SINGLE + 2);
        assert!(rows[..MAX_SINGLE].iter().all(|row| row.requests == 1));
        let all: u64 = rows.iter().map(|row| row.requests).sum();
        assert_eq!(all, MAX_SINGLE as u64 + 1_001);
        let sum = rows.iter().find(|row| row.requests == 1_000);
        assert!(sum.is_some_and(|sum| sum.bytes == 10_000 && sum.peer.is_none()));
        assert!(log.take().is_empty());
        for stranger in 0..10 * (MAX_SINGLE + MAX_SUMS) {
            log.note(event(&stranger.to_string(), 401));
        }
        assert_eq!(log.take().len(), MAX_SINGLE + MAX_SUMS);
    }
}
