//! `POST /api/v1/sql` and `GET /api/v1/sql?q=`: one statement in, rows out. `GET` without `q` lists
//! the queries that run.
//!
//! The first piece of an answer is held back until it is worth sending. An error before that has
//! its own status; one after it ends the body in the way of the format.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::access::{OngoingAccess, Permission, Principal, ReadScope};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::format::{self, Encoder, Format, Head};
use crate::route::drawing;
use crate::route::schema::{Param, RequestBody, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};
use crate::service::Rows;
use crate::sql::{At, MAX_SQL_BYTES, SqlRequest};
use crate::start_times::SERVER_TIMING;

/// Header of an answer: the query's id.
pub const QUERY_ID: HeaderName = HeaderName::from_static("headframe-query-id");
/// Header of an answer: for each stream read, the sequence it is complete through.
pub const COMPLETE_THROUGH: HeaderName = HeaderName::from_static("headframe-complete-through");
/// Header of an answer of the present: whether everything acknowledged is in it.
pub const COMPLETE: HeaderName = HeaderName::from_static("headframe-complete");
/// Header of an answer: for each stream read, the version of its raw table.
pub const VERSION: HeaderName = HeaderName::from_static("headframe-version");

const HINT: &str = "send SQL as text/plain, or JSON {sql, params, format, as_of, timeout_ms, \
                    max_rows, query_id, width}";

/// Bytes worth sending at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How long bytes that are there wait for more before the first are sent.
const PIECE_WAIT: Duration = Duration::from_millis(100);

/// The keys of a query string.
static OPTIONS: [Param; 9] = [
    Param::text("q", "The statement; `sql` is the same."),
    Param::text("sql", "The statement."),
    Param::text("params", "Values of $1 and so on: JSON in a string."),
    FORMAT,
    Param::text("as_of", "A version, or a time as RFC 3339 writes it."),
    TIMEOUT_MS,
    MAX_ROWS,
    QUERY_ID_PARAM,
    drawing::WIDTH,
];
/// The fields of a body in JSON.
static FIELDS: [Param; 8] = [
    Param::text("sql", "The statement.").required(),
    Param::new(
        "params",
        ValueType::Any,
        "Values of $1 and so on, or of names.",
    ),
    FORMAT,
    Param::new(
        "as_of",
        ValueType::Any,
        "A version, or a time as RFC 3339 writes it.",
    ),
    TIMEOUT_MS,
    MAX_ROWS,
    QUERY_ID_PARAM,
    drawing::WIDTH,
];
const FORMAT: Param = Param::text("format", "The format of the rows; Accept says it as well.");
const TIMEOUT_MS: Param = Param::integer("timeout_ms", 0, i64::MAX, "The longest that it may run.");
const MAX_ROWS: Param = Param::integer("max_rows", 0, i64::MAX, "The most rows of the answer.");
const QUERY_ID_PARAM: Param = Param::text("query_id", "A name to end it by.");

pub(crate) static GET: Route = Route {
    method: Method::GET,
    path: "/api/v1/sql",
    permission: Permission::ReadRows,
    doc: "Runs the statement `?q=` and answers its rows; without `q` lists the queries that run.",
    schema: Schema {
        query: &OPTIONS,
        response: ResponseBody::Rows,
        ..Schema::JSON
    },
    handler: Handler::Statement(|| get(by_get)),
};

pub(crate) static POST: Route = Route {
    method: Method::POST,
    path: "/api/v1/sql",
    permission: Permission::ReadRows,
    doc: "Runs one statement that reads and answers its rows in the wanted format.",
    schema: Schema {
        query: &OPTIONS,
        body: RequestBody::Statement(&FIELDS),
        response: ResponseBody::Rows,
        ..Schema::JSON
    },
    handler: Handler::Statement(|| post(by_post).layer(DefaultBodyLimit::max(2 * MAX_SQL_BYTES))),
};

/// A request, from the body or from the query string, where everything is text.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    #[serde(alias = "q")]
    sql: Option<String>,
    params: Value,
    format: Option<String>,
    as_of: Value,
    timeout_ms: Option<u64>,
    max_rows: Option<usize>,
    query_id: Option<String>,
    width: Option<i64>,
}

async fn by_get(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Extension(access): Extension<Arc<OngoingAccess>>,
    headers: HeaderMap,
    query: Result<Query<Request>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let request = match query {
        Ok(Query(request)) => request,
        Err(error) => return misread(error).into_response(),
    };
    let queries = match app.queries() {
        Ok(queries) => queries,
        Err(error) => return error.into_response(),
    };
    if request.sql.is_none() {
        return Json(json!({"running": queries.running().list_for(&principal.read_scope())}))
            .into_response();
    }
    answer(&app, (&principal, &access), &headers, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn by_post(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Extension(access): Extension<Arc<OngoingAccess>>,
    headers: HeaderMap,
    query: Result<Query<Request>, axum::extract::rejection::QueryRejection>,
    request: axum::extract::Request,
) -> Response {
    if let Err(error) = check_slot(&app, &principal) {
        discard(request.into_body()).await;
        return error.into_response();
    }
    let body = Bytes::from_request(request, &()).await;
    let request = match (query, body) {
        (Ok(Query(options)), Ok(body)) => from_body(options, &body),
        (Err(error), _) => Err(misread(error)),
        (_, Err(error)) => Err(QueryError::unreadable_body(
            error.status(),
            error.body_text(),
            HINT,
        )),
    };
    match request {
        Ok(request) => answer(&app, (&principal, &access), &headers, request)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        Err(error) => error.into_response(),
    }
}

/// Refuses a statement for which there is no slot before its body is kept or understood.
fn check_slot(app: &AppState, principal: &Principal) -> Result<(), QueryError> {
    match &app.queries {
        Some(queries) => queries.check_slot(principal),
        None => Ok(()),
    }
}

/// Takes a body and keeps nothing of it: many clients read no answer before theirs is sent.
async fn discard(body: Body) {
    let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len();
        if bytes > 2 * MAX_SQL_BYTES {
            return;
        }
    }
}

/// A body that begins with a brace is JSON, any other is SQL: no statement begins with one, and
/// clients often send a wrong content type.
fn from_body(options: Request, body: &[u8]) -> Result<Request, QueryError> {
    if body.trim_ascii_start().starts_with(b"{") {
        let mut request: Request = serde_json::from_slice(body).map_err(misread)?;
        request.format = request.format.or(options.format);
        return Ok(request);
    }
    let sql = std::str::from_utf8(body).map_err(misread)?;
    Ok(Request {
        sql: Some(sql.to_owned()),
        ..options
    })
}

fn misread(error: impl std::fmt::Display) -> QueryError {
    QueryError::bad_request(format!("the request cannot be read: {error}"), HINT)
}

async fn answer(
    app: &AppState,
    (principal, access): (&Principal, &Arc<OngoingAccess>),
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, QueryError> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = format::choose(request.format.as_deref(), accept)?;
    let (width, _) = drawing::size(request.width, None)?;
    let ask = ask(app, format, request)?;
    let answer = app.queries()?.ask_while(access, principal, ask).await?;
    let head = Head {
        width,
        ..Head::from_answer(&answer, &app.answers)
    };
    let (received_at, times) = (answer.received_at, answer.times);
    let mut body = AnswerBody {
        encoder: format.encoder(&head)?,
        rows: answer.rows,
        ended: false,
    };
    let first = body.first().await?;
    // What compresses an answer asks once more after its end, where an unfolded stream panics.
    let rest = stream::unfold(body, |mut body| async move {
        let piece = body.next().await?;
        Some((piece, body))
    });
    let body = Body::from_stream(
        stream::once(async { Ok::<_, std::io::Error>(first) }).chain(rest.fuse()),
    );
    let mut response = Response::new(body);
    describe(response.headers_mut(), &head, format);
    if let Some(timing) = times.server_timing(received_at.elapsed()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}

fn ask(app: &AppState, format: &dyn Format, request: Request) -> Result<SqlRequest, QueryError> {
    let limit = format.is_for_people().then_some(app.config.max_rows);
    let max_rows = match (request.max_rows, limit) {
        (Some(wanted), Some(limit)) => Some(wanted.min(limit)),
        (wanted, limit) => wanted.or(limit),
    };
    let params = match request.params {
        // In a query string the parameters are JSON in a string.
        Value::String(text) => serde_json::from_str(&text).map_err(misread)?,
        params => params,
    };
    let at = at(&request.as_of)?;
    let timeout = request.timeout_ms.map(Duration::from_millis);
    Ok(SqlRequest {
        sql: request.sql.unwrap_or_default(),
        params,
        parameters: None,
        at,
        timeout,
        max_rows,
        query_id: request.query_id,
        reads: ReadScope::Nothing,
        postgres: None,
    })
}

/// A version, or a time as RFC 3339 writes it; a time without a zone is UTC.
fn at(value: &Value) -> Result<At, QueryError> {
    let version = match value {
        Value::Null => return Ok(At::Latest),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    if let Some(version) = version {
        return Ok(At::Version(version));
    }
    let time = value
        .as_str()
        .and_then(|text| arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).ok());
    let error = || {
        QueryError::bad_request(
            format!("as_of {value} is neither a version nor a time"),
            "as_of: 42, or as_of: \"2026-01-31T12:00:00Z\"",
        )
    };
    time.map(|nanos| At::Time(nanos.div_euclid(1_000)))
        .ok_or_else(error)
}

fn describe(headers: &mut HeaderMap, head: &Head, format: &dyn Format) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_types()[0]),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Opened by itself a drawing is a document, and nothing runs in it.
    let closed = HeaderValue::from_static("default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, closed);
    let mut texts = vec![(QUERY_ID, head.query_id.clone())];
    let coverage = head.coverage.iter();
    let coverage: Vec<(&str, i64, u64)> = coverage
        .filter_map(|stream| {
            let through = stream.through.unwrap_or(0);
            Some((stream.stream, through, stream.version?))
        })
        .collect();
    if !coverage.is_empty() {
        let list = |value: &dyn Fn(&(&str, i64, u64)) -> String| {
            coverage.iter().map(value).collect::<Vec<_>>().join(", ")
        };
        texts.push((
            COMPLETE_THROUGH,
            list(&|(stream, through, _)| format!("{stream}={through}")),
        ));
        texts.push((
            VERSION,
            list(&|(stream, _, version)| format!("{stream}={version}")),
        ));
    }
    if let Some(complete) = head.complete() {
        texts.push((COMPLETE, complete.to_string()));
    }
    for (name, text) in texts {
        // Ids, stream names and numbers are plain ASCII.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// Rows on their way to becoming bytes. Dropping it, as happens when the client hangs up, ends the
/// query.
struct AnswerBody {
    encoder: Box<dyn Encoder>,
    rows: Rows,
    ended: bool,
}

impl AnswerBody {
    /// The first piece: all of a small answer, so that its errors still have a status.
    async fn first(&mut self) -> Result<Bytes, QueryError> {
        let mut bytes = self.encoder.start()?;
        let patience = Instant::now() + PIECE_WAIT;
        let mut rows = false;
        while bytes.len() < PIECE_BYTES && !self.ended {
            let next = if rows {
                let Ok(next) = timeout_at(patience, self.rows.next()).await else {
                    break;
                };
                next
            } else {
                self.rows.next().await
            };
            rows = true;
            bytes.extend(self.encode(next.transpose()?.as_ref())?);
        }
        Ok(bytes.into())
    }

    /// A further piece; `None` at the end, an error where the connection is to break.
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        while !self.ended {
            let piece = match self.rows.next().await.transpose() {
                Ok(batch) => self.encode(batch.as_ref()),
                Err(error) => Err(error),
            };
            match piece {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(bytes.into())),
                Err(error) => {
                    self.ended = true;
                    tracing::info!(
                        code = error.code.parts().0,
                        "query failed after its first rows were sent"
                    );
                    let words = self.encoder.fail(&error);
                    return Some(
                        words
                            .map(Bytes::from)
                            .ok_or_else(|| std::io::Error::other(error)),
                    );
                }
            }
        }
        None
    }

    fn encode(&mut self, batch: Option<&arrow::array::RecordBatch>) -> Result<Vec<u8>, QueryError> {
        match batch {
            Some(batch) => self.encoder.batch(batch),
            None => {
                self.ended = true;
                self.encoder.finish()
            }
        }
    }
}
