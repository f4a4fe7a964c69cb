//! The connections of the server: how many there may be, how long each may be silent, and how a
//! request on them may drag on.
//!
//! A connection costs a descriptor, a task and buffers whether it asks anything or not. Without
//! limits, whoever opens many and says nothing takes them from the tables and the spool.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::QueryConfig;
use crate::connection::activity::{Activity, Timeouts};
use crate::connection::deadline_body::DeadlineBody;
use crate::connection::limits::{ConnectionLimits, Permit};
use crate::connection::refusal::Refusals;
use crate::connection::watched_stream::WatchedStream;
use crate::error::{ErrorCode, QueryError};
use crate::held_body::HeldBody;
use crate::peer::PeerAddress;

mod activity;
mod deadline_body;
pub(crate) mod limits;
mod refusal;
mod watched_stream;

/// Bytes that the head of a request may have.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Pause after the system refused a connection, as it does when descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, then lets open requests end. The limits are those of the
/// configuration.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &QueryConfig,
    stop: CancellationToken,
) {
    let server = Arc::new(Connections {
        router,
        timeouts: Timeouts::from_config(config),
        stop: stop.clone(),
    });
    let limits = ConnectionLimits::new(
        config.max_connections,
        config.max_connections_per_address,
        "headframe_http_connections",
    );
    let refusals = Refusals::default();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match limits.admit(peer.ip()) {
            Ok(permit) => {
                let server = server.clone();
                tasks.spawn(async move { server.handle(stream, peer, permit).await });
            }
            Err(limit) => refusals.answer(&mut tasks, stream, limit),
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// What every connection needs.
struct Connections {
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
}

impl Connections {
    /// Answers the requests of one connection until it ends or takes too long.
    async fn handle(&self, stream: TcpStream, peer: SocketAddr, _permit: Permit) {
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(WatchedStream::new(
            stream,
            activity.clone(),
            self.timeouts.write,
        ));
        let service = service_fn(|request| self.answer(request, peer, &activity));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The longest of all waits for a request; `Activity` ends most of them earlier.
            .header_read_timeout(self.timeouts.idle.max(self.timeouts.header))
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(io, service);
        let mut connection = pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = activity.overdue(&self.timeouts) => {
                    metrics::counter!("headframe_http_connections_timed_out_total").increment(1);
                    return;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        activity: &Arc<Activity>,
    ) -> Result<Response, Infallible> {
        let in_request = Activity::begin_request(activity);
        let late = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + self.timeouts.body;
        let mut request =
            request.map(|body| Body::new(DeadlineBody::new(body, deadline, late.clone())));
        request.extensions_mut().insert(PeerAddress(peer.ip()));
        // The router's error has no values.
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if late.load(Ordering::Relaxed) {
            response = body_came_too_slowly(self.timeouts.body).into_response();
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Body::new(HeldBody::new(body, in_request))))
    }
}

fn body_came_too_slowly(limit: Duration) -> QueryError {
    QueryError::new(
        ErrorCode::RequestTimeout,
        format!(
            "the body of the request took longer than {} ms, which is the limit",
            limit.as_millis()
        ),
        "send less at once, or raise query.body_timeout_ms",
    )
}
