//! Arrow Flight SQL: what ADBC, JDBC's Flight driver and notebooks speak, on the port of HTTP.
//!
//! A statement goes the way of every other: the same guard, engine, slots, limits, list of running
//! queries, and live rows. What arrow-flight offers for servers leaves parts of the protocol
//! without an answer and calls mistakes of clients internal errors, so that its messages are used
//! here and its calls are answered one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{
    Any, Command, CommandPreparedStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc,
    SchemaResult, Ticket,
};
use axum::Router;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{Guard, OngoingAccess, Permission, Principal};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::held_refusals::HeldRefusals;
use crate::request_limits::RequestLimits;
use crate::services::RouteHandler;
use crate::wire::flight::gate::{CallHead, Gate, guard_call};
use crate::wire::flight::handles::{HandleKind, Handles};
use crate::wire::flight::ingest::IngestHandler;
use crate::wire::flight::statement::{Statement, failed};

mod action;
mod catalog;
mod columns;
mod gate;
mod handles;
mod ingest;
mod login;
mod messages;
mod parameter;
mod put;
mod server_info;
mod statement;
pub(super) mod status;

/// Every call of the service.
const PATH: &str = "/arrow.flight.protocol.FlightService/{call}";
/// Bytes that a message has beside its rows.
const MESSAGE_MARGIN: usize = 256 * 1024;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Rows on their way to a client.
type DataStream = Answers<FlightData>;

/// The wire of one server.
struct FlightWire {
    app: Arc<AppState>,
    guard: Guard,
    handles: Handles,
    ingest: Option<IngestHandler>,
    /// How long a client may take for its next message.
    patience: Duration,
}

/// Whose call it is.
struct Caller {
    principal: Principal,
    head: Arc<Parts>,
}

/// The calls of the wire, each behind the guard.
pub(crate) fn routes(
    app: &Arc<AppState>,
    guard: &Guard,
    (refusals, limits): (&Arc<HeldRefusals>, &Option<Arc<RequestLimits>>),
    handlers: &[RouteHandler],
) -> Router {
    let wire = FlightWire {
        app: app.clone(),
        guard: guard.clone(),
        handles: Handles::default(),
        ingest: IngestHandler::new(handlers, app.max_ingest_bytes),
        patience: Duration::from_millis(app.config.body_timeout_ms),
    };
    let service = FlightServiceServer::new(wire)
        .max_decoding_message_size(app.max_ingest_bytes.saturating_add(MESSAGE_MARGIN));
    let gate = Gate {
        guard: guard.clone(),
        refusals: refusals.clone(),
        log: app.request_log.clone(),
        limits: limits.clone(),
        patience: Duration::from_millis(app.config.body_timeout_ms),
    };
    Router::new()
        .route_service(PATH, service)
        .route_layer(from_fn_with_state(gate, guard_call))
}

impl Caller {
    fn from_request<T>(request: &Request<T>) -> Result<Self, Status> {
        let principal = request.extensions().get::<Principal>().cloned();
        let head = head_of(request)?;
        let unguarded = || failed(QueryError::internal("the call came past its guard"));
        Ok(Self {
            principal: principal.ok_or_else(unguarded)?,
            head,
        })
    }
}

fn head_of<T>(request: &Request<T>) -> Result<Arc<Parts>, Status> {
    let head = request.extensions().get::<CallHead>();
    let head = head.map(|CallHead(head)| head.clone());
    head.ok_or_else(|| failed(QueryError::internal("the call came past its guard")))
}

/// What a command's bytes say.
fn command_of(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|error| status::malformed("the command", error))?;
    Command::try_from(any).map_err(|error| status::malformed("the command", error))
}

/// A statement within a transaction, of which there are none.
fn check_no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id.is_some_and(|id| !id.is_empty()) {
        true => Err(status::unsupported("transactions")),
        false => Ok(()),
    }
}

/// Columns as messages have them.
fn ipc_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let written = IpcMessage::try_from(SchemaAsIpc::new(schema, &options));
    let IpcMessage(bytes) =
        written.map_err(|error| failed(QueryError::internal(error.to_string())))?;
    Ok(bytes)
}

impl FlightWire {
    /// The columns that a command gives.
    async fn schema_of(&self, caller: &Caller, bytes: &[u8]) -> Result<Bytes, Status> {
        let schema = match command_of(bytes)? {
            Command::CommandStatementQuery(ask) => {
                let planned = Statement::plan(&self.app, &caller.principal, &ask.query).await;
                planned.map_err(failed)?.schema
            }
            Command::CommandPreparedStatementQuery(ask) => {
                self.prepared(caller, &ask)?.schema.clone()
            }
            command => catalog::schema_of(&command)
                .ok_or_else(|| status::unsupported(command.type_url()))?,
        };
        ipc_bytes(&schema)
    }

    /// Where the answer to a command is, and its columns.
    async fn info(
        &self,
        caller: &Caller,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let to_run = match command_of(&descriptor.cmd)? {
            Command::CommandStatementQuery(ask) => {
                check_no_transaction(ask.transaction_id.as_ref())?;
                let planned = Statement::plan(&self.app, &caller.principal, &ask.query).await;
                planned
                    .and_then(|planned| planned.to_run())
                    .map_err(failed)?
            }
            Command::CommandPreparedStatementQuery(ask) => {
                self.prepared(caller, &ask)?.to_run().map_err(failed)?
            }
            command => {
                // The question is its own ticket.
                let schema = catalog::schema_of(&command)
                    .ok_or_else(|| status::unsupported(command.type_url()))?;
                let ticket = Ticket::new(descriptor.cmd.clone());
                return info_of(descriptor, &schema, ticket);
            }
        };
        let (schema, query_id) = (to_run.schema.clone(), to_run.query_id.clone());
        let handle = self
            .handles
            .insert(
                &caller.principal,
                HandleKind::Ticket,
                Arc::new(to_run),
                Instant::now(),
            )
            .map_err(failed)?;
        let ticket = TicketStatementQuery {
            statement_handle: handle,
        };
        let ticket = Ticket::new(ticket.as_any().encode_to_vec());
        Ok(info_of(descriptor, &schema, ticket)?.with_app_metadata(query_id))
    }

    fn prepared(
        &self,
        caller: &Caller,
        ask: &CommandPreparedStatementQuery,
    ) -> Result<Arc<Statement>, Status> {
        let handle = &ask.prepared_statement_handle;
        let found = self.handles.get(
            &caller.principal,
            HandleKind::Prepared,
            handle,
            Instant::now(),
        );
        found.map_err(failed)
    }

    /// The answer that a ticket stands for.
    async fn rows(&self, caller: &Caller, ticket: &[u8]) -> Result<Response<DataStream>, Status> {
        let principal = &caller.principal;
        let statement = match command_of(ticket)? {
            Command::TicketStatementQuery(ask) => {
                let handle = &ask.statement_handle;
                let kind = HandleKind::Ticket;
                let found = self.handles.get(principal, kind, handle, Instant::now());
                found.map_err(failed)?
            }
            Command::CommandPreparedStatementQuery(ask) => {
                let to_run = self.prepared(caller, &ask)?.to_run();
                Arc::new(to_run.map_err(failed)?)
            }
            command => {
                let name = command.type_url().to_owned();
                let answered = catalog::answer(&self.app, principal, command).await;
                let batch = answered
                    .map_err(failed)?
                    .ok_or_else(|| status::unsupported(&name))?;
                let data = FlightDataEncoderBuilder::new()
                    .with_schema(batch.schema())
                    .build(stream::iter([Ok(batch)]))
                    .map_err(status::of_flight);
                return Ok(Response::new(data.boxed()));
            }
        };
        let permission = Permission::ReadRows;
        let access = OngoingAccess::new(&self.guard, permission, None, principal, &caller.head);
        let run = statement.run(&self.app, principal, Arc::new(access));
        run.await.map_err(failed)
    }
}

fn info_of(
    descriptor: FlightDescriptor,
    schema: &Schema,
    ticket: Ticket,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| failed(QueryError::internal(error.to_string())))?;
    Ok(info
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_ordered(true))
}

#[tonic::async_trait]
impl FlightService for FlightWire {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = DataStream;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = DataStream;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let head = head_of(&request)?;
        let token = login::token_of(&self.guard, &head).await.map_err(failed)?;
        let bearer = format!("Bearer {token}").parse();
        let bearer = bearer.map_err(|_| {
            let message = "the token has characters that no header may have";
            failed(QueryError::new(
                ErrorCode::Unauthorized,
                message,
                "make a new one",
            ))
        })?;
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: token.into_bytes().into(),
        };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed() as _);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(status::unsupported("list of flights; ask for the tables"))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = Caller::from_request(&request)?;
        let info = self.info(&caller, request.into_inner()).await?;
        Ok(Response::new(info))
    }

    /// The answer is where it is at once: it is made while it is fetched.
    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let info = self.get_flight_info(request).await?.into_inner();
        let done = PollInfo::new().with_info(info).try_with_progress(1.0);
        let done = done.map_err(|error| failed(QueryError::internal(error.to_string())))?;
        Ok(Response::new(done))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let caller = Caller::from_request(&request)?;
        let schema = self.schema_of(&caller, &request.get_ref().cmd).await?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = Caller::from_request(&request)?;
        self.rows(&caller, &request.get_ref().ticket).await
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let caller = Caller::from_request(&request)?;
        let app_metadata = self.put(&caller, request.into_inner()).await?;
        let result = PutResult { app_metadata };
        Ok(Response::new(stream::iter([Ok(result)]).boxed()))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = Caller::from_request(&request)?;
        let results = self.act(&caller, request.into_inner()).await?;
        let results = results.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = action::ALL.iter().map(|(name, description)| {
            Ok(ActionType {
                r#type: (*name).to_owned(),
                description: (*description).to_owned(),
            })
        });
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(status::unsupported(
            "exchange of rows; DoPut sends and DoGet fetches",
        ))
    }
}

/// What the client of a prepared statement is told after it bound values.
fn bound_result(handle: Bytes) -> Bytes {
    let result = DoPutPreparedStatementResult {
        prepared_statement_handle: Some(handle),
    };
    result.encode_to_vec().into()
}
