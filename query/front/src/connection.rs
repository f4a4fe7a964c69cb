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
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::connection::activity::Activity;
use crate::connection::admission::Admission;
use crate::connection::answer_body::AnswerBody;
use crate::connection::deadline_body::DeadlineBody;
use crate::connection::http_stream::HttpStream;
use crate::connection::limits::Permit;
use crate::connection::place::ConnectionPlace;
use crate::connection::refusal::Refusals;
use crate::connection::watched_stream::WatchedStream;
use crate::error::{ErrorCode, QueryError};
use crate::grpc;
use crate::peer::{OverTls, PeerAddress};

mod activity;
mod admission;
mod answer_body;
mod deadline_body;
mod http_stream;
pub(crate) mod limits;
pub(crate) mod place;
mod refusal;
mod settings;
mod watched_stream;

pub use settings::{ConnectionSettings, open_files_limit};

/// Makes what a TLS handshake is done with; its certificate may be another each time.
pub type MakeAcceptor = dyn Fn() -> TlsAcceptor + Send + Sync;

/// Bytes that the head of a request may have.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Requests that an HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 100;
/// The first byte of a TLS connection, which no request of HTTP begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// Pause after the system refused a connection, as it does when descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, then lets open requests end. With `tls` nothing else is
/// spoken. Each request has a [`PeerAddress`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ConnectionSettings,
    tls: Option<Arc<MakeAcceptor>>,
    stop: CancellationToken,
) {
    let server = Arc::new(Connections {
        router,
        settings: settings.clone(),
        tls,
        stop: stop.clone(),
    });
    let mut admission = Admission::new(&settings);
    let refusals = Refusals::new(settings);
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
        let activity = Arc::new(Activity::default());
        match admission.admit(peer.ip(), &activity) {
            Ok(permit) => {
                let server = server.clone();
                tasks.spawn(server.handle(stream, peer, permit, activity));
            }
            Err(limit) if server.tls.is_some() => refusals.close(limit),
            Err(limit) => refusals.answer(&mut tasks, stream, limit),
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// What every connection needs.
struct Connections {
    router: Router,
    settings: ConnectionSettings,
    tls: Option<Arc<MakeAcceptor>>,
    stop: CancellationToken,
}

impl Connections {
    /// Answers the requests of one connection until it ends or takes too long. The stream holds
    /// the permit, so that a connection that becomes a WebSocket goes on being counted.
    async fn handle(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
        activity: Arc<Activity>,
    ) {
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let opened = tokio::select! {
            opened = self.open(stream, permit, &activity) => opened,
            () = activity.overdue(&self.settings) => return note_timeout(),
            () = self.stop.cancelled() => return,
        };
        let Some(stream) = opened else { return };
        let is_tls = stream.is_tls();
        let (server, watched) = (self.clone(), activity.clone());
        let place = ConnectionPlace::default();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (server, activity) = (server.clone(), watched.clone());
            request.extensions_mut().insert(place.clone());
            async move { server.answer(request, peer, is_tls, &activity).await }
        });
        let builder = self.http_builder();
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = activity.overdue(&self.settings) => return note_timeout(),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// What HTTP is spoken over, after the handshake where TLS is on.
    async fn open(
        &self,
        stream: TcpStream,
        permit: Permit,
        activity: &Arc<Activity>,
    ) -> Option<HttpStream> {
        let timeout = self.settings.write;
        let watch = |stream| WatchedStream::new(stream, activity.clone(), timeout, permit);
        let Some(tls) = &self.tls else {
            return Some(HttpStream::Plain(watch(stream)));
        };
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        if first != [TLS_HANDSHAKE] {
            refusal::answer_plain_http(stream).await;
            return None;
        }
        match tls().accept(watch(stream)).await {
            Ok(stream) => Some(HttpStream::Tls(Box::new(stream))),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                metrics::counter!("headframe_http_handshakes_failed_total").increment(1);
                None
            }
        }
    }

    /// HTTP/1.1 and HTTP/2, as the first bytes tell.
    fn http_builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // The longest of all waits for a request; `Activity` ends most of them earlier.
            .header_read_timeout(self.settings.idle.max(self.settings.header))
            .max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32);
        builder
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        is_tls: bool,
        activity: &Arc<Activity>,
    ) -> Result<Response, Infallible> {
        let version = request.version();
        let in_request = Activity::begin_request(activity, version);
        let late = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + self.settings.body;
        let is_call = grpc::is_call(request.uri());
        let mut request = request.map(|body| match is_call {
            true => Body::new(body),
            false => Body::new(DeadlineBody::new(body, deadline, late.clone())),
        });
        request.extensions_mut().insert(PeerAddress(peer.ip()));
        if is_tls {
            request.extensions_mut().insert(OverTls);
        }
        // The router's error has no values.
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if late.load(Ordering::Relaxed) {
            response = body_came_too_slowly(&self.settings).into_response();
            if version != Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
        }
        Ok(response.map(|body| Body::new(AnswerBody::new(body, in_request))))
    }
}

fn note_timeout() {
    metrics::counter!("headframe_http_connections_timed_out_total").increment(1);
}

fn body_came_too_slowly(settings: &ConnectionSettings) -> QueryError {
    QueryError::new(
        ErrorCode::RequestTimeout,
        format!(
            "the body of the request took longer than {} ms, which is the limit",
            settings.body.as_millis()
        ),
        settings.hint("send less at once", "body_timeout_ms"),
    )
}
