//! What clients send: the values of parameters, and rows for a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::compute::concat_batches;
use arrow_flight::FlightData;
use arrow_flight::sql::{Command, CommandPreparedStatementQuery};
use axum::body::Bytes;
use headframe_schemas::arrow_stream;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::error::{ErrorCode, QueryError};
use crate::wire::flight::handles::HandleKind;
use crate::wire::flight::messages::{Messages, TOO_LARGE};
use crate::wire::flight::statement::failed;
use crate::wire::flight::{Caller, FlightWire, bound_result, command_of, parameter, status};

/// Bytes of the values of one statement.
const MAX_PARAMETER_BYTES: usize = 1 << 20;
/// Bytes of a refused call that are read before it is answered.
const MAX_DISCARDED_BYTES: usize = 16 << 20;
/// The longest time that they may take.
const MAX_DISCARD_TIME: Duration = Duration::from_secs(2);

impl FlightWire {
    /// Takes what a client sends; answers what it is told.
    ///
    /// A refusal is told after the client has sent the rest: an answer ends the call, and gRPC's
    /// client in Go, which most ADBC drivers are made of, then reports the write that failed
    /// instead of the reason.
    pub(super) async fn put(
        &self,
        caller: &Caller,
        mut sent: Streaming<FlightData>,
    ) -> Result<Bytes, Status> {
        let answer = self.take(caller, &mut sent).await;
        if answer.is_err() {
            let longest = self.patience.min(MAX_DISCARD_TIME);
            let _ = timeout(longest, discard(&mut sent)).await;
        }
        answer
    }

    async fn take(
        &self,
        caller: &Caller,
        sent: &mut Streaming<FlightData>,
    ) -> Result<Bytes, Status> {
        let Some(first) = self.next_message(sent).await? else {
            return Err(status::malformed("the call", "it is empty"));
        };
        let descriptor = first.flight_descriptor.as_ref();
        let command = descriptor.map(|descriptor| descriptor.cmd.clone());
        match command_of(&command.unwrap_or_default())? {
            Command::CommandStatementIngest(ask) => self.ingest(caller, ask, first, sent).await,
            Command::CommandPreparedStatementQuery(ask) => {
                self.bind(caller, ask, first, sent).await
            }
            Command::CommandStatementUpdate(_) | Command::CommandPreparedStatementUpdate(_) => {
                Err(failed(QueryError::new(
                    ErrorCode::ReadOnly,
                    "no statement changes anything here",
                    "rows are appended by bulk ingest (adbc_ingest) or POST \
                     /api/v1/ingest/{stream}",
                )))
            }
            other => Err(status::unsupported(other.type_url())),
        }
    }

    /// The next message of a client that may not take for ever.
    pub(super) async fn next_message(
        &self,
        sent: &mut Streaming<FlightData>,
    ) -> Result<Option<FlightData>, Status> {
        let Ok(message) = timeout(self.patience, sent.message()).await else {
            let message = format!(
                "the next message took longer than {} ms, which is the limit",
                self.patience.as_millis()
            );
            let hint = "send batches as they are made, or raise query.body_timeout_ms";
            let error = QueryError::new(ErrorCode::RequestTimeout, message, hint);
            return Err(failed(error));
        };
        message.map_err(unreceived)
    }

    /// Keeps the values of a prepared statement's parameters.
    async fn bind(
        &self,
        caller: &Caller,
        ask: CommandPreparedStatementQuery,
        first: FlightData,
        sent: &mut Streaming<FlightData>,
    ) -> Result<Bytes, Status> {
        let prepared = self.prepared(caller, &ask)?;
        let mut messages = Messages::new(MAX_PARAMETER_BYTES);
        let mut next = Some(first);
        while let Some(data) = next {
            messages.push(&data)?;
            next = self.next_message(sent).await?;
        }
        let bytes = messages.waiting();
        let handle = ask.prepared_statement_handle;
        if bytes == 0 && prepared.kinds.is_empty() {
            return Ok(bound_result(handle));
        }
        let (schema, batches) = arrow_stream::read(&messages.take())
            .map_err(|error| status::malformed("the parameters", error))?;
        let row = concat_batches(&schema, &batches)
            .map_err(|error| status::malformed("the parameters", error))?;
        let values = parameter::of_row(&row).map_err(failed)?;
        let bound = prepared.bound(values, bytes).map_err(failed)?;
        let (owner, kind, now) = (&caller.principal, HandleKind::Prepared, Instant::now());
        self.handles
            .replace(owner, kind, &handle, Arc::new(bound), now)
            .map_err(failed)?;
        Ok(bound_result(handle))
    }
}

/// Reads what a client still sends, up to a limit, and keeps nothing of it.
async fn discard(sent: &mut Streaming<FlightData>) {
    let mut bytes = 0;
    while bytes < MAX_DISCARDED_BYTES {
        let Ok(Some(data)) = sent.message().await else {
            return;
        };
        bytes += data.data_header.len() + data.data_body.len();
    }
}

/// The error of a message that did not come.
pub(super) fn unreceived(status: Status) -> Status {
    match status.code() {
        // So says the decoder of a message that is larger than it takes.
        Code::OutOfRange | Code::ResourceExhausted => {
            status::refusal(Code::ResourceExhausted, status.message(), TOO_LARGE)
        }
        _ => status,
    }
}
