//! The actions: prepared statements, cancelling, and the end of a session.

use std::sync::Arc;
use std::time::Instant;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
    ProstMessageExt,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use axum::body::Bytes;
use prost::Message;
use tonic::Status;

use crate::wire::flight::handles::HandleKind;
use crate::wire::flight::statement::{Statement, failed};
use crate::wire::flight::{
    Caller, FlightWire, check_no_transaction, command_of, ipc_bytes, parameter, status,
};

const CREATE_PREPARED: &str = "CreatePreparedStatement";
const CLOSE_PREPARED: &str = "ClosePreparedStatement";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const CLOSE_SESSION: &str = "CloseSession";

/// Every action, with what it does.
pub(super) const ALL: &[(&str, &str)] = &[
    (
        CREATE_PREPARED,
        "Prepares a statement and answers its handle.",
    ),
    (CLOSE_PREPARED, "Forgets a prepared statement."),
    (CANCEL_FLIGHT_INFO, "Ends the query of a FlightInfo."),
    (CANCEL_QUERY, "The same, as older clients ask for it."),
    (CLOSE_SESSION, "Ends the session of the bearer token."),
];

/// `CloseSessionResult` whose status is CLOSED, of which arrow-flight has no type.
const SESSION_CLOSED: &[u8] = &[0x08, 0x01];

impl FlightWire {
    /// Does an action; answers what the client is told, if anything.
    pub(super) async fn act(
        &self,
        caller: &Caller,
        action: Action,
    ) -> Result<impl Iterator<Item = Bytes> + Send + use<>, Status> {
        let answer = match action.r#type.as_str() {
            CREATE_PREPARED => Some(self.create_prepared(caller, &action.body).await?),
            CLOSE_PREPARED => {
                let ask: ActionClosePreparedStatementRequest = unpacked(&action.body)?;
                let handle = &ask.prepared_statement_handle;
                // One that is forgotten already is closed.
                self.handles
                    .remove(&caller.principal, HandleKind::Prepared, handle);
                None
            }
            CANCEL_FLIGHT_INFO => {
                let ask = CancelFlightInfoRequest::decode(action.body)
                    .map_err(|error| status::malformed("the action", error))?;
                let status = self.cancel(caller, &ask.info.unwrap_or_default())?;
                Some(CancelFlightInfoResult::new(status).encode_to_vec().into())
            }
            CANCEL_QUERY => {
                let ask: ActionCancelQueryRequest = unpacked(&action.body)?;
                let info = FlightInfo::decode(ask.info)
                    .map_err(|error| status::malformed("the action", error))?;
                let result = ActionCancelQueryResult {
                    // Both lists of results have the same numbers.
                    result: self.cancel(caller, &info)? as i32,
                };
                Some(result.as_any().encode_to_vec().into())
            }
            CLOSE_SESSION => {
                self.guard.log_out(&caller.head);
                Some(Bytes::from_static(SESSION_CLOSED))
            }
            other => return Err(status::unsupported(&format!("action {other:?}"))),
        };
        Ok(answer.into_iter())
    }

    async fn create_prepared(&self, caller: &Caller, body: &[u8]) -> Result<Bytes, Status> {
        let ask: ActionCreatePreparedStatementRequest = unpacked(body)?;
        check_no_transaction(ask.transaction_id.as_ref())?;
        let planned = Statement::plan(&self.app, &caller.principal, &ask.query).await;
        let planned = planned.map_err(failed)?;
        let result = ActionCreatePreparedStatementResult {
            dataset_schema: ipc_bytes(&planned.schema)?,
            parameter_schema: ipc_bytes(&parameter::schema_of(&planned.kinds))?,
            prepared_statement_handle: self
                .handles
                .insert(
                    &caller.principal,
                    HandleKind::Prepared,
                    Arc::new(planned),
                    Instant::now(),
                )
                .map_err(failed)?,
        };
        Ok(result.as_any().encode_to_vec().into())
    }

    /// Ends what a ticket stands for, whether it runs or not.
    fn cancel(&self, caller: &Caller, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let tickets = info.endpoint.iter().filter_map(|end| end.ticket.as_ref());
        for ticket in tickets {
            let Command::TicketStatementQuery(ask) = command_of(&ticket.ticket)? else {
                continue;
            };
            let (owner, kind) = (&caller.principal, HandleKind::Ticket);
            let handle = &ask.statement_handle;
            let statement = self
                .handles
                .get(owner, kind, handle, Instant::now())
                .map_err(failed)?;
            self.handles.remove(owner, kind, handle);
            let queries = self.app.queries().map_err(failed)?;
            queries.running().cancel(&statement.query_id);
            return Ok(CancelStatus::Cancelled);
        }
        Ok(CancelStatus::NotCancellable)
    }
}

/// The message inside the body of an action.
fn unpacked<T: ProstMessageExt>(body: &[u8]) -> Result<T, Status> {
    let any = Any::decode(body).map_err(|error| status::malformed("the action", error))?;
    let message = any
        .unpack::<T>()
        .map_err(|error| status::malformed("the action", error))?;
    message.ok_or_else(|| status::malformed("the action", format!("it holds {}", any.type_url)))
}
