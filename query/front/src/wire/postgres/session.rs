//! One session: its messages in turn, its transaction, its prepared statements and portals.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::access::{Principal, ReadScope};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::held_refusals::RefusalDelays;
use crate::service::Answer;
use crate::sql::{At, Parameter, PostgresStatement, SqlRequest};
use crate::sqlstate::SqlState;
use crate::wire::postgres::backends::Backend;
use crate::wire::postgres::command;
use crate::wire::postgres::message::Message;
use crate::wire::postgres::outcome::{Ended, Failure, Input, Output};
use crate::wire::postgres::reader::ReadError;
use crate::wire::postgres::reply::Severity;
use crate::wire::postgres::running::{self, Running};
use crate::wire::postgres::session::portal::{Portal, Prepared};
use crate::wire::postgres::settings::SessionSettings;

mod extended;
mod local;
mod note;
mod portal;
mod simple;

/// The transaction of a session. Statements only read, each one moment of the tables, so that a
/// transaction does no more than say that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// None.
    Idle,
    /// One is open.
    Open,
    /// One is open, and a statement in it failed.
    Failed,
}

impl Transaction {
    fn status(self) -> u8 {
        match self {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        }
    }
}

/// A client that was let in.
pub(super) struct Entered {
    pub(super) principal: Principal,
    pub(super) user: String,
    pub(super) settings: SessionSettings,
    pub(super) refusals: SessionRefusals,
}

/// The refusals that a session has in common with the others of its address. One that is held
/// takes no place of its own: the session keeps its connection whether it waits or not.
pub(super) struct SessionRefusals {
    pub(super) delays: Arc<RefusalDelays>,
    pub(super) address: IpAddr,
}

impl SessionRefusals {
    /// How long the client waits until it is told of this error.
    fn delay_of(&self, error: &QueryError) -> Duration {
        let (_, status) = error.code.parts();
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let delay = self.delays.note(self.address, status);
        if !delay.is_zero() {
            metrics::counter!("headframe_postgres_statement_refusals_held_total").increment(1);
        }
        delay
    }

    /// Notes that a statement gave its rows.
    fn forget(&self) {
        self.delays.forget(self.address);
    }
}

/// A session that was let in.
pub(super) struct Session {
    app: Arc<AppState>,
    input: Input,
    output: Output,
    principal: Principal,
    user: String,
    backend: Backend,
    settings: SessionSettings,
    refusals: SessionRefusals,
    transaction: Transaction,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    /// Whether messages are passed over until a Sync, since one of them failed.
    skips: bool,
    idle: Duration,
}

impl Session {
    /// Of this client, over these statements. It may be silent for as long as `idle`.
    pub(super) fn new(
        app: Arc<AppState>,
        (input, output): (Input, Output),
        entered: Entered,
        backend: Backend,
        idle: Duration,
    ) -> Self {
        Self {
            app,
            input,
            output,
            principal: entered.principal,
            user: entered.user,
            backend,
            settings: entered.settings,
            refusals: entered.refusals,
            transaction: Transaction::Idle,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skips: false,
            idle,
        }
    }

    /// Answers messages until the session ends, and tells the client why it did.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        self.announce();
        let ended = match self.output.flush().await {
            Ok(()) => self.answer_all(stop).await,
            Err(_) => Ended::Gone,
        };
        self.portals.clear();
        if let Ended::Refused(state, message) = ended {
            self.output.error(Severity::Fatal, state, &message, "");
            // The client may be gone as well.
            let _ = self.output.shutdown().await;
        }
    }

    /// What a client is told before its first statement.
    fn announce(&mut self) {
        for (name, value) in self.settings.reported() {
            self.output.parameter_status(name, value);
        }
        self.output
            .backend_key(self.backend.number, &self.backend.key);
        self.output.ready(self.transaction.status());
    }

    async fn answer_all(&mut self, stop: &CancellationToken) -> Ended {
        loop {
            let running = self.portals.values().filter_map(Portal::running);
            let deadline = running::earliest(running.map(Running::deadline), self.idle);
            let expires = self
                .portals
                .values()
                .any(|portal| portal.running().is_some());
            let message = tokio::select! {
                message = self.input.message(deadline) => message,
                () = stop.cancelled() => return Ended::Refused(
                    SqlState::AdminShutdown,
                    "terminating connection due to administrator command".to_owned(),
                ),
            };
            let message = match message {
                Ok(message) => message,
                Err(ReadError::Idle) if expires => {
                    self.expire_portals();
                    continue;
                }
                Err(error) => return error.into(),
            };
            if let Err(ended) = self.answer(message).await {
                return ended;
            }
        }
    }

    /// Ends the statements whose time is over while nobody takes their rows.
    fn expire_portals(&mut self) {
        let now = tokio::time::Instant::now();
        for portal in self.portals.values_mut() {
            if portal
                .running()
                .is_some_and(|running| running.deadline() <= now)
            {
                portal.expire();
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Ended> {
        // The steps to a statement are noted where they fail: then there will be none.
        let begun = match &message {
            Message::Parse { .. } => Some(self.begin("PARSE")),
            Message::Bind(_) => Some(self.begin("BIND")),
            Message::Describe(_) => Some(self.begin("DESCRIBE")),
            _ => None,
        };
        let answered = match message {
            Message::Terminate => return Err(Ended::Gone),
            Message::Sync => {
                self.skips = false;
                self.end_implicit_transaction();
                self.output.ready(self.transaction.status());
                return Ok(self.output.flush().await?);
            }
            Message::Flush => return Ok(self.output.flush().await?),
            Message::Query(sql) => {
                self.skips = false;
                let answered = self.simple_query(&sql).await;
                self.note_failure(answered).await?;
                self.end_implicit_transaction();
                self.output.ready(self.transaction.status());
                return Ok(self.output.flush().await?);
            }
            _ if self.skips => return Ok(()),
            Message::Parse { name, sql, types } => self.parse(name, sql, types),
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(target) => self.describe(target).await,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Message::Close(target) => {
                self.close(target);
                Ok(())
            }
            // What is left of a COPY that failed.
            Message::Copy => Ok(()),
            Message::Password(_) | Message::Unknown(_) => {
                let message = "a message of an unknown kind".to_owned();
                return Err(Ended::Refused(SqlState::ProtocolViolation, message));
            }
        };
        if let Some(begun) = begun.filter(|_| answered.is_err()) {
            self.note(begun, &answered);
        }
        self.skips = self.note_failure(answered).await?;
        Ok(self.output.flush_when_full().await?)
    }

    /// Tells the client of an error, after a while where it has had many. Returns whether there
    /// was one. A client that hangs up meanwhile is waited for no longer.
    async fn note_failure(&mut self, answered: Result<(), Failure>) -> Result<bool, Ended> {
        match answered {
            Ok(()) => Ok(false),
            Err(Failure::Session(ended)) => Err(ended),
            Err(Failure::Statement(error)) => {
                let delay = self.refusals.delay_of(&error);
                if !delay.is_zero() {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.input.hung_up() => return Err(Ended::Gone),
                    }
                }
                self.output.query_error(&error);
                if self.transaction == Transaction::Open {
                    self.transaction = Transaction::Failed;
                }
                Ok(true)
            }
        }
    }

    /// Outside a transaction nothing outlives its Sync but cursors that were declared to.
    fn end_implicit_transaction(&mut self) {
        if self.transaction == Transaction::Idle {
            self.portals.retain(|_, portal| portal.holds());
        }
    }

    /// Starts a statement of the engine. A client that hangs up ends it.
    async fn start(&mut self, sql: &str, parameters: Vec<Parameter>) -> Result<Running, Failure> {
        let request = self.request(sql, parameters);
        let queries = self.app.queries()?;
        let id = request.query_id.clone().unwrap_or_default();
        let _mark = self.backend.query.mark(&id);
        let answer: Answer = tokio::select! {
            answer = queries.ask_as(&self.principal, request) => answer?,
            () = self.input.hung_up() => return Err(Failure::Session(Ended::Gone)),
        };
        Ok(Running::new(answer))
    }

    /// A statement of this session.
    fn request(&self, sql: &str, parameters: Vec<Parameter>) -> SqlRequest {
        SqlRequest {
            sql: command::full_text(sql),
            params: serde_json::Value::Null,
            parameters: None,
            at: At::Latest,
            timeout: self.settings.statement_timeout(),
            max_rows: None,
            query_id: Some(uuid::Uuid::now_v7().simple().to_string()),
            reads: ReadScope::Nothing,
            postgres: Some(PostgresStatement {
                user: self.user.clone(),
                backend: self.backend.number,
                settings: self.settings.changed(),
                parameters,
            }),
        }
    }
}
