//! Bulk ingest: rows that a client appends to a stream, as `adbc_ingest` sends them.
//!
//! Each piece is handed to the very handler of `POST /api/v1/ingest/{stream}`, so that limits,
//! numbering, checks and acknowledgements are those of HTTP. A batch with a row that the stream
//! does not take is refused as a whole: a client of Flight is told a count and nothing else, and
//! would not learn that some of its rows became dead letters.

use arrow_flight::FlightData;
use arrow_flight::sql::{
    CommandStatementIngest, DoPutUpdateResult, TableExistsOption, TableNotExistOption,
};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use futures::FutureExt;
use headframe_schemas::{message, stream};
use prost::Message;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tonic::{Code, Status, Streaming};
use tower::ServiceExt;

use crate::access::Permission;
use crate::error::QueryError;
use crate::services::RouteHandler;
use crate::wire::flight::messages::Messages;
use crate::wire::flight::put::unreceived;
use crate::wire::flight::statement::failed;
use crate::wire::flight::{Caller, FlightWire, catalog, check_no_transaction, status};

/// Calls that append rows at the same time.
const MAX_CALLS: usize = 64;
/// Bytes worth handing over although more may come at once.
const PIECE_BYTES: usize = 2 << 20;
/// Bytes of the handler's answer, which lists a bounded number of rows.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The handler of HTTP's ingest, called without a socket.
pub(super) struct IngestHandler {
    route: Router,
    max_bytes: usize,
    calls: Semaphore,
}

/// What became of a piece that was taken.
#[derive(Deserialize)]
struct Accepted {
    accepted: u64,
}

/// Why a piece was not.
#[derive(Deserialize)]
struct Refused {
    error: Reason,
    #[serde(default)]
    rejected: Vec<BadRow>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
    hint: String,
}

#[derive(Deserialize)]
struct BadRow {
    line: u64,
    reason: String,
}

/// The rows of one call on their way.
struct Append<'a> {
    handler: &'a IngestHandler,
    stream: &'static str,
    /// What names and numbers the rows, where the client's headers do: the producer and the number
    /// of the first row.
    identity: Option<(String, i64)>,
    /// Rows that are stored.
    stored: u64,
}

impl IngestHandler {
    /// The handler among those that other crates bring.
    pub(super) fn new(handlers: &[RouteHandler], max_bytes: usize) -> Option<Self> {
        let handler = handlers
            .iter()
            .find(|handler| handler.method == Method::POST && handler.path == PATH)?;
        Some(Self {
            route: Router::new().route(PATH, handler.answers.clone()),
            max_bytes,
            calls: Semaphore::new(MAX_CALLS),
        })
    }
}

const PATH: &str = "/api/v1/ingest/{stream}";

impl FlightWire {
    fn check_append(&self, caller: &Caller, table: &str) -> Result<(), Status> {
        let permission = Permission::WriteStream;
        let authorized = self.guard.authorize(permission, Some(table), &caller.head);
        authorized.map(drop).map_err(failed)
    }

    /// Appends rows to a stream; the answer means that JetStream has acknowledged all of them.
    pub(super) async fn ingest(
        &self,
        caller: &Caller,
        ask: CommandStatementIngest,
        first: FlightData,
        sent: &mut Streaming<FlightData>,
    ) -> Result<Bytes, Status> {
        let table = ask.table.as_str();
        self.check_append(caller, table)?;
        check(&ask)?;
        let Some(stream) = stream::find(table) else {
            let message = format!("there is no stream {table:?} to append to");
            let hint = "docs/ingest.md lists the streams that take rows; they cannot be created";
            return Err(status::refusal(Code::NotFound, &message, hint));
        };
        let Some(handler) = &self.ingest else {
            return Err(status::unsupported(
                "ingest in this process; ask one with the role query",
            ));
        };
        let Ok(_call) = handler.calls.try_acquire() else {
            let message = format!("{MAX_CALLS} clients append rows already, which is the limit");
            let hint = "try again in a second";
            return Err(status::refusal(Code::ResourceExhausted, &message, hint));
        };
        let mut append = Append {
            handler,
            stream: stream.name(),
            identity: identity(&caller.head.headers)?,
            stored: 0,
        };
        let mut messages = Messages::new(handler.max_bytes);
        let mut next = Some(first);
        while let Some(data) = next {
            if messages.ends_piece(&data) {
                append.send(&mut messages).await?;
            }
            let pushed = messages.push(&data);
            pushed.map_err(|status| append.with_count(status))?;
            // What is there already goes along, and nothing waits for what is not.
            let ready = match messages.waiting() {
                0 => None,
                waiting if waiting < PIECE_BYTES => sent.message().now_or_never(),
                _ => None,
            };
            let message = match ready {
                Some(message) => message.map_err(unreceived),
                None => {
                    append.send(&mut messages).await?;
                    self.next_message(sent).await
                }
            };
            next = message.map_err(|status| append.with_count(status))?;
            // The right to append may be taken away meanwhile.
            self.check_append(caller, table)
                .map_err(|status| append.with_count(status))?;
        }
        append.send(&mut messages).await?;
        let record_count = i64::try_from(append.stored).unwrap_or(i64::MAX);
        Ok(DoPutUpdateResult { record_count }.encode_to_vec().into())
    }
}

impl Append<'_> {
    /// Hands the rows that wait to the handler, and waits until they are stored.
    async fn send(&mut self, messages: &mut Messages) -> Result<(), Status> {
        if messages.waiting() == 0 {
            return Ok(());
        }
        let body = messages.take();
        let mut request = Request::post(format!("/api/v1/ingest/{}", self.stream))
            .header(header::CONTENT_TYPE, message::ARROW)
            .header(message::BAD_ROWS, message::REFUSE_BAD_ROWS);
        if let Some((producer, first)) = &self.identity {
            let number = first.saturating_add_unsigned(self.stored);
            request = request
                .header(message::PRODUCER, producer)
                .header(message::PRODUCER_SEQ, number);
        }
        let unmade = |error: String| failed(QueryError::internal(error));
        let request = request
            .body(Body::from(body))
            .map_err(|error| unmade(error.to_string()))?;
        // The router's error has no values.
        let Ok(response) = self.handler.route.clone().oneshot(request).await;
        let status = response.status();
        let answer = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await;
        let answer = answer.map_err(|error| unmade(error.to_string()))?;
        if status == StatusCode::OK {
            let answer: Accepted =
                serde_json::from_slice(&answer).map_err(|error| unmade(error.to_string()))?;
            self.stored += answer.accepted;
            return Ok(());
        }
        let refused: Refused =
            serde_json::from_slice(&answer).map_err(|error| unmade(error.to_string()))?;
        Err(self.refusal(status, &refused))
    }

    fn refusal(&self, status: StatusCode, refused: &Refused) -> Status {
        let code = match status {
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => {
                Code::ResourceExhausted
            }
            StatusCode::BAD_GATEWAY => Code::FailedPrecondition,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            status if status.is_client_error() => Code::InvalidArgument,
            _ => Code::Internal,
        };
        let rows = refused.rejected.iter();
        let rows = rows.map(|bad| format!("; row {}: {}", self.stored + bad.line, bad.reason));
        let message = format!("{}{}", refused.error.message, rows.collect::<String>());
        self.with_count(status::refusal(code, &message, &refused.error.hint))
    }

    /// The same status, which says how many rows are stored although the call failed.
    fn with_count(&self, status: Status) -> Status {
        let message = format!(
            "{}; {} rows of {} that came before are stored",
            status.message(),
            self.stored,
            self.stream
        );
        Status::new(status.code(), message)
    }
}

/// Refuses all but appending to what is there.
fn check(ask: &CommandStatementIngest) -> Result<(), Status> {
    check_no_transaction(ask.transaction_id.as_ref())?;
    let is_ours = |given: &Option<String>, ours: &str| {
        given
            .as_deref()
            .is_none_or(|name| name.is_empty() || name == ours)
    };
    if !is_ours(&ask.catalog, catalog::CATALOG) || !is_ours(&ask.schema, catalog::SCHEMA) {
        let message = "streams are in the catalog headframe and the schema public";
        let hint = "leave both out";
        return Err(status::refusal(Code::NotFound, message, hint));
    }
    if ask.temporary {
        return Err(status::unsupported("temporary tables"));
    }
    let options = ask.table_definition_options.unwrap_or_default();
    let hint = "rows are only ever appended: use the mode append";
    let exists = TableExistsOption::try_from(options.if_exists);
    // Nothing is created, since every stream is there.
    let absent = TableNotExistOption::try_from(options.if_not_exist);
    match (exists, absent) {
        (Ok(TableExistsOption::Append), Ok(_)) => Ok(()),
        (Ok(TableExistsOption::Fail), _) => {
            let message = format!("the stream {} exists", ask.table);
            Err(status::refusal(Code::AlreadyExists, &message, hint))
        }
        (Ok(TableExistsOption::Replace), _) => {
            let message = format!("the stream {} is not replaced", ask.table);
            Err(status::refusal(Code::PermissionDenied, &message, hint))
        }
        _ => {
            let message = "the call does not say what to do with a table that exists";
            Err(status::refusal(Code::InvalidArgument, message, hint))
        }
    }
}

/// Who numbered the rows, and the number of the first, as the headers of HTTP's ingest say it.
fn identity(headers: &HeaderMap) -> Result<Option<(String, i64)>, Status> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text(message::PRODUCER), text(message::PRODUCER_SEQ)) {
        (None, None) => Ok(None),
        (Some(producer), Some(number)) if number.parse::<i64>().is_ok_and(|number| number >= 0) => {
            let number = number.parse().unwrap_or_default();
            Ok(Some((producer.to_owned(), number)))
        }
        _ => {
            let message = "the headers that number the rows cannot be used";
            let hint = "send both headframe-producer and headframe-seq, a whole number from 0, or \
                        neither";
            Err(status::refusal(Code::InvalidArgument, message, hint))
        }
    }
}
