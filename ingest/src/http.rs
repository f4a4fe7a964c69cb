//! The HTTP ingest: `POST /api/v1/ingest/{stream}` takes rows from anything that can speak HTTP.
//!
//! | status | when |
//! |---|---|
//! | 200 | every row is stored durably: good ones as rows, bad ones as dead letters; and listed |
//! | 400 | the body as a whole cannot be read, or a header is malformed; nothing is stored |
//! | 404 | there is no such stream |
//! | 413 | the body, unpacked, exceeds the named limit; or one row exceeds what JetStream takes |
//! | 415 | unknown content type or encoding |
//! | 429 | too many requests or bytes are being worked on; `Retry-After` says when to come back |
//! | 502 | JetStream refuses the rows for good; an operator must act |
//! | 503 | JetStream is full, away, or did not confirm; `Retry-After` says when to come back |
//!
//! A client that retries after 429, 503 or a lost answer sends `Headframe-Producer` (its own name,
//! unique to one run) and `Headframe-Seq` (its number of the first row, rising by one a row): rows
//! that were stored already are then dropped. Its name is stored as `http/<name>`, so that no
//! client can take the numbers of this system's own producers. Rows that name a producer of their
//! own take the request's numbers, unless a site forwards them: `Headframe-Site` says which.
//!
//! Bad rows become dead letters. With `Headframe-Bad-Rows: refuse` a request with any is a 400 that
//! lists them, and none of its rows is stored.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};
use bytes::Bytes;
use headframe_schemas::message::{self, Format};
use headframe_schemas::{Stream, WritePermission, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::publish::{PublishError, Publisher};

mod body;
mod json_array;
mod parsed_body;
mod producer;

use parsed_body::{ParsedBody, RejectedInput};
use producer::Numbering;
pub use producer::{is_site, of_site};

/// The path, as axum writes it.
pub const PATH: &str = "/api/v1/ingest/{stream}";

/// What the endpoint takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpIngestConfig {
    /// The largest body, unpacked, in bytes.
    pub max_body_bytes: usize,
    /// Requests worked on at once.
    pub max_requests: usize,
    /// Bytes of bodies held at once, over all requests.
    pub max_bytes: usize,
}

impl Default for HttpIngestConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 * 1024 * 1024,
            max_requests: 256,
            max_bytes: 128 * 1024 * 1024,
        }
    }
}

impl HttpIngestConfig {
    /// Refuses limits under which no request could pass. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_body_bytes == 0 || self.max_requests == 0 {
            return Err(
                "ingest.max_body_bytes and ingest.max_requests must be at least 1".to_owned(),
            );
        }
        if self.max_bytes < self.max_body_bytes {
            return Err(format!(
                "ingest.max_bytes is {}; it must not be less than ingest.max_body_bytes",
                self.max_bytes
            ));
        }
        Ok(())
    }
}

struct HttpIngest {
    publisher: Publisher,
    config: HttpIngestConfig,
    requests: Semaphore,
    bytes: Semaphore,
}

/// What answers the route. It has its own limits; who may use it is for the server to decide.
pub fn handler(publisher: Publisher, config: HttpIngestConfig) -> MethodRouter {
    let requests = Semaphore::new(config.max_requests.max(1));
    let bytes = Semaphore::new(
        config
            .max_bytes
            .max(config.max_body_bytes)
            .min(Semaphore::MAX_PERMITS),
    );
    let ingest = Arc::new(HttpIngest {
        publisher,
        config,
        requests,
        bytes,
    });
    post(post_rows)
        // The body is limited while it is unpacked, which axum's own limit would not see.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(ingest)
}

/// A router with this route alone, for servers that serve nothing else.
pub fn router(publisher: Publisher, config: HttpIngestConfig) -> Router {
    Router::new().route(PATH, handler(publisher, config))
}

/// What became of the rows.
#[derive(Debug, Serialize)]
struct Accepted {
    stream: &'static str,
    /// Rows stored as good rows.
    accepted: usize,
    /// Rows stored as dead letters.
    rejected: Vec<RejectedRow>,
    /// The lowest stream sequence the rows got.
    first_seq: Option<u64>,
    /// The highest stream sequence the rows got.
    last_seq: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RejectedRow {
    /// Line of the body, or place in the array or batch, from 1.
    line: usize,
    reason: String,
}

impl From<RejectedInput> for RejectedRow {
    fn from(bad: RejectedInput) -> Self {
        Self {
            line: bad.line,
            reason: bad.reason,
        }
    }
}

/// Bad rows that a refusal lists.
const MAX_LISTED: usize = 10;

/// An answer that is not 200.
#[derive(Debug)]
struct ErrorResponse {
    status: StatusCode,
    message: String,
    retry_after_s: Option<u64>,
    /// The first bad rows of a request that is refused for them.
    rejected: Vec<RejectedRow>,
}

impl ErrorResponse {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after_s: None,
            rejected: Vec::new(),
        }
    }

    /// The refusal of a request for its bad rows.
    fn bad_rows(bad: Vec<RejectedInput>) -> Self {
        let message = format!("{} rows are not taken, so that none is stored", bad.len());
        let listed = bad.into_iter().take(MAX_LISTED);
        Self {
            rejected: listed.map(RejectedRow::from).collect(),
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }
}

impl From<PublishError> for ErrorResponse {
    fn from(error: PublishError) -> Self {
        let status = match &error {
            PublishError::Encode(_) => StatusCode::BAD_REQUEST,
            PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PublishError::Denied { .. } | PublishError::Refused { .. } => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let retry_after_s = error.retry_after().map(|wait| wait.as_secs().max(1));
        Self {
            retry_after_s,
            ..Self::new(status, error.to_string())
        }
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({"error": {
            "code": code(self.status),
            "message": self.message,
            "hint": hint(self.status),
        }});
        if !self.rejected.is_empty() {
            body["rejected"] = serde_json::json!(self.rejected);
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// `error.code`, as the server's other routes have it.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "derived_stream",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::TOO_MANY_REQUESTS => "concurrency_limit",
        StatusCode::INTERNAL_SERVER_ERROR => "internal",
        StatusCode::BAD_GATEWAY => "rows_refused",
        StatusCode::SERVICE_UNAVAILABLE => "storage",
        _ => "bad_request",
    }
}

/// `error.hint`: what to do about it.
fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "send fewer rows at once",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "send the same rows again after Retry-After, with Headframe-Producer and Headframe-Seq"
        }
        StatusCode::INTERNAL_SERVER_ERROR => "this is a defect of Headframe; please report it",
        StatusCode::BAD_GATEWAY => "an operator must look at the stream; see /ready and the log",
        _ => "docs/ingest.md says what is taken",
    }
}

async fn post_rows(
    State(ingest): State<Arc<HttpIngest>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let result = handle(&ingest, &name, &headers, body).await;
    let status = result
        .as_ref()
        .map_or_else(|refusal| refusal.status, |_| StatusCode::OK);
    metrics::counter!("headframe_door_requests_total", "status" => status.as_str().to_owned())
        .increment(1);
    match result {
        Ok(accepted) => Json(accepted).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn handle(
    ingest: &HttpIngest,
    name: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Accepted, ErrorResponse> {
    let Some(stream) = stream::find(name) else {
        let open = stream::ALL
            .iter()
            .filter(|stream| stream.write_permission() != WritePermission::Internal);
        let names: Vec<&str> = open.map(|stream| stream.name()).collect();
        return Err(ErrorResponse::new(
            StatusCode::NOT_FOUND,
            format!(
                "there is no stream {name:?}; there are {}",
                names.join(", ")
            ),
        ));
    };
    if stream.write_permission() == WritePermission::Internal {
        let reason =
            format!("only this system itself writes rows of {name:?}; nobody can send any");
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, reason));
    }
    let format = format(headers)?;
    let encoding = body::Encoding::from_headers(headers)?;
    let numbering = numbering(headers)?;
    let refuses_bad_rows = refuses_bad_rows(headers)?;
    let Ok(_request) = ingest.requests.try_acquire() else {
        return Err(ErrorResponse::busy(format!(
            "{} requests are being worked on already",
            ingest.config.max_requests
        )));
    };
    if ingest.publisher.load() > 0.95 {
        return Err(ErrorResponse::busy("the queue to JetStream is full"));
    }
    let (body, _permit) = body::read(ingest, encoding, body).await?;
    let parsed = parse(stream, format, body, numbering).await?;
    if refuses_bad_rows && !parsed.bad.is_empty() {
        return Err(ErrorResponse::bad_rows(parsed.bad));
    }
    store(ingest, stream, parsed).await
}

fn format(headers: &HeaderMap) -> Result<Format, ErrorResponse> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let unknown = |reason: String| ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    // curl's default for -d says nothing about the body.
    if content_type.is_some_and(|value| {
        value.starts_with("application/x-www-form-urlencoded") || value.starts_with("text/plain")
    }) {
        return Ok(Format::Ndjson);
    }
    match Format::from_content_type(content_type).map_err(unknown)? {
        Format::Refused => Err(unknown(format!("{} is not for clients", message::REFUSED))),
        format => Ok(format),
    }
}

/// Whether a request with a bad row is refused as a whole.
fn refuses_bad_rows(headers: &HeaderMap) -> Result<bool, ErrorResponse> {
    match headers.get(message::BAD_ROWS).map(|value| value.as_bytes()) {
        None => Ok(false),
        Some(value) if value == message::REFUSE_BAD_ROWS.as_bytes() => Ok(true),
        Some(_) => Err(ErrorResponse::new(
            StatusCode::BAD_REQUEST,
            "Headframe-Bad-Rows must be `refuse`, or be left out: then bad rows are dead letters",
        )),
    }
}

fn numbering(headers: &HeaderMap) -> Result<Option<Numbering>, ErrorResponse> {
    Numbering::from_headers(headers)
        .map_err(|reason| ErrorResponse::new(StatusCode::BAD_REQUEST, reason))
}

/// Parsing a large body takes a while; the runtime's workers are for waiting.
async fn parse(
    stream: &'static dyn Stream,
    format: Format,
    body: Bytes,
    numbering: Option<Numbering>,
) -> Result<ParsedBody, ErrorResponse> {
    let work = move || parsed_body::parse(stream, format, &body, numbering.as_ref());
    let parsed = match tokio::task::spawn_blocking(work).await {
        Ok(parsed) => parsed,
        Err(error) => {
            return Err(ErrorResponse::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot parse the body: {error}"),
            ));
        }
    };
    parsed.map_err(|reason| ErrorResponse::new(StatusCode::BAD_REQUEST, reason))
}

async fn store(
    ingest: &HttpIngest,
    stream: &'static dyn Stream,
    parsed: ParsedBody,
) -> Result<Accepted, ErrorResponse> {
    let accepted = parsed.good_rows();
    let (good, bad) = tokio::try_join!(
        parsed.publish_good(&ingest.publisher, stream),
        parsed.publish_bad(&ingest.publisher, stream)
    )?;
    let seqs = || good.iter().chain(&bad).map(|receipt| receipt.seq);
    let (first_seq, last_seq) = (seqs().min(), seqs().max());
    metrics::counter!("headframe_door_rows_total", "stream" => stream.name(),
        "result" => "accepted")
    .increment(accepted as u64);
    metrics::counter!("headframe_door_rows_total", "stream" => stream.name(),
        "result" => "rejected")
    .increment(parsed.bad.len() as u64);
    let rejected = parsed.bad.into_iter().map(RejectedRow::from).collect();
    Ok(Accepted {
        stream: stream.name(),
        accepted,
        rejected,
        first_seq,
        last_seq,
    })
}
