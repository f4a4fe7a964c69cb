//! A front whose tables are empty, asked without a socket.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, Request, StatusCode};
use headframe_query_front::{LiveTail, OldestRow, QueryConfig, Server, Services, TailRows};
use headframe_schemas::{Stream, stream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

use super::engine::Scripted;

/// No request takes so long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const MAX_BYTES: usize = 1 << 20;

/// A front with a runtime of its own.
struct Front {
    runtime: Runtime,
    router: Router,
}

/// An answer to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Vec<u8>,
}

thread_local! {
    static FRONT: Front = Front::start();
}

impl Front {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime begins");
        let config = QueryConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            ..QueryConfig::default()
        };
        let tail = |stream: &&'static dyn Stream| -> Arc<dyn LiveTail> {
            Arc::new(Silence(*stream, watch::channel(0).0))
        };
        let services = Services {
            engines: Some(Scripted::new().engines()),
            live_tails: stream::ALL.iter().map(tail).collect(),
            ..Services::default()
        };
        let bound = runtime.block_on(Server::bind(config, services));
        let router = bound.expect("a port is free").router();
        Self { runtime, router }
    }
}

/// Asks the front of this thread. Of an answer that goes on only the head is taken.
pub fn ask(request: Request<Body>, goes_on: bool) -> Answer {
    FRONT.with(|front| {
        let answered = async {
            let Ok(response) = front.router.clone().oneshot(request).await;
            let (parts, body) = response.into_parts();
            let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
            let mut body = if goes_on && parts.status == StatusCode::OK {
                Body::empty()
            } else {
                body
            };
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                // A stream that is cut off ends with an error, as its reader has to learn.
                let Ok(frame) = frame else { break };
                match frame.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
                }
                assert!(bytes.len() <= MAX_BYTES, "the answer has no end");
            }
            Answer {
                status: parts.status,
                headers: parts.headers,
                trailers,
                body: bytes,
            }
        };
        let answered = async { timeout(PATIENCE, answered).await };
        front.runtime.block_on(answered).expect("it is answered")
    })
}

/// Bytes as a part of a query string that every parser of addresses takes. With `keeps` the
/// characters that mean something there stay.
pub fn query_string(bytes: &[u8], keeps: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        let is_kept = keeps && b"&=+%,.'()*;:@/?!$~-_".contains(byte);
        match byte.is_ascii_alphanumeric() || is_kept {
            true => text.push(char::from(*byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A stream without rows.
struct Silence(&'static dyn Stream, watch::Sender<u64>);

#[async_trait]
impl LiveTail for Silence {
    fn stream(&self) -> &'static dyn Stream {
        self.0
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
    fn newer_than(&self, _: i64) -> Result<TailRows, String> {
        Ok(TailRows {
            batches: Vec::new(),
            after: 0,
            through: 0,
            generation: 1,
        })
    }
    async fn last_seq(&self) -> Result<i64, String> {
        Ok(0)
    }
    async fn oldest(&self) -> Result<Option<OldestRow>, String> {
        Ok(None)
    }
}
