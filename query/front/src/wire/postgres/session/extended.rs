//! The extended protocol: statements that are prepared, bound to parameters, described and run,
//! each in a message of its own.
//!
//! A prepared statement is its text. It is planned anew for every run, over the tables as they are
//! then, and by itself only when a client asks what it takes and gives.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::{ErrorCode, QueryError};
use crate::sql::{Description, Parameter, ParameterKind, ParameterValue};
use crate::sqlstate::SqlState;
use crate::wire::postgres::column_types;
use crate::wire::postgres::command::{self, Command};
use crate::wire::postgres::lexer;
use crate::wire::postgres::message::{Bind, Target};
use crate::wire::postgres::outcome::{Ended, Failure};
use crate::wire::postgres::parameter;
use crate::wire::postgres::running::{self, RowForm, Running};
use crate::wire::postgres::session::Session;
use crate::wire::postgres::session::local::LocalAnswer;
use crate::wire::postgres::session::portal::{
    Portal, PortalState, Prepared, no_cursor, no_statement,
};
use crate::wire::postgres::words;

/// Prepared statements that a session may have.
const MAX_STATEMENTS: usize = 1_024;
/// Bytes that their texts may have together.
const MAX_STATEMENT_BYTES: usize = 8 << 20;
/// Parameters that a statement may have: as many as a message can count.
const MAX_PARAMETERS: usize = u16::MAX as usize;

impl Session {
    /// Keeps a statement.
    pub(super) fn parse(
        &mut self,
        name: String,
        sql: String,
        mut oids: Vec<u32>,
    ) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("the prepared statement \"{name}\" exists already");
            let error = QueryError::bad_request(message, "close it first");
            return Err(error.with_sqlstate(SqlState::DuplicateStatement).into());
        }
        let mut texts = lexer::statements(&sql);
        if texts.len() > 1 {
            let message = "a prepared statement is one statement";
            return Err(words::syntax(message).into());
        }
        let sql = texts.pop().unwrap_or_default().to_owned();
        let command = command::parse(&sql)?;
        self.check_transaction(&command)?;
        let count = lexer::parameters(&sql).max(oids.len());
        let bytes: usize = self.statements.values().map(|kept| kept.sql.len()).sum();
        if count > MAX_PARAMETERS
            || self.statements.len() >= MAX_STATEMENTS
            || bytes + sql.len() > MAX_STATEMENT_BYTES
        {
            let message = "the session has as many prepared statements or parameters as it may";
            let error = QueryError::new(ErrorCode::ConcurrencyLimit, message, "close some");
            return Err(error.with_sqlstate(SqlState::LimitExceeded).into());
        }
        oids.resize(count, 0);
        let prepared = Prepared {
            sql,
            command,
            oids,
            description: OnceCell::new(),
        };
        self.statements.insert(name, Arc::new(prepared));
        self.output.plain(b'1');
        Ok(())
    }

    /// Makes a portal.
    pub(super) async fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let statement = self.statement(&bind.statement)?;
        self.check_transaction(&statement.command)?;
        if bind.portal.is_empty() {
            self.portals.remove("");
        }
        self.check_new_portal(&bind.portal)?;
        if bind.values.len() != statement.oids.len() {
            let message = format!(
                "the message has {} parameters, but the statement has {}",
                bind.values.len(),
                statement.oids.len()
            );
            let error = QueryError::bad_request(message, "give each of $1, $2, … a value");
            return Err(error.with_sqlstate(SqlState::ProtocolViolation).into());
        }
        let mut parameters = Vec::with_capacity(bind.values.len());
        for (index, value) in bind.values.iter().enumerate() {
            let format = match bind.formats.as_slice() {
                [all] => Some(all),
                formats => formats.get(index),
            };
            let binary = format == Some(&1);
            parameters.push(
                self.parameter(&statement, index, value.as_deref(), binary)
                    .await?,
            );
        }
        let portal = Portal {
            statement: Some(statement),
            parameters,
            formats: bind.result_formats,
            state: PortalState::New,
            holds: false,
        };
        self.portals.insert(bind.portal, portal);
        self.output.plain(b'2');
        Ok(())
    }

    async fn parameter(
        &mut self,
        statement: &Prepared,
        index: usize,
        value: Option<&[u8]>,
        binary: bool,
    ) -> Result<Parameter, Failure> {
        let oid = statement.oids[index];
        let mut kind = column_types::kind_of(oid);
        // Bytes mean nothing without a type, so that the engine must say which it is.
        if kind.is_none() && (binary || statement.description.initialized()) {
            let description = self.description(statement).await?;
            kind = description.parameters.get(index).cloned();
        }
        let value = match (value, &kind) {
            (None, _) => ParameterValue::Null,
            (Some(bytes), Some(kind)) if binary => parameter::of_binary(kind, oid, bytes)?,
            (Some(bytes), kind) => parameter::of_text(kind.as_ref(), bytes)?,
        };
        Ok(Parameter { kind, value })
    }

    /// What a statement takes and gives, planned when it is asked for the first time.
    async fn description<'a>(
        &mut self,
        statement: &'a Prepared,
    ) -> Result<&'a Description, Failure> {
        if let Some(description) = statement.description.get() {
            return Ok(description);
        }
        let parameter = |oid: &u32| Parameter {
            kind: column_types::kind_of(*oid),
            value: ParameterValue::Null,
        };
        let sql = match &statement.command {
            Command::Copy { sql, .. } | Command::Declare { sql, .. } => sql,
            _ => &statement.sql,
        };
        let request = self.request(sql, statement.oids.iter().map(parameter).collect());
        let queries = self.app.queries()?;
        let id = request.query_id.clone().unwrap_or_default();
        let _mark = self.backend.query.mark(&id);
        let described = tokio::select! {
            described = queries.describe_as(&self.principal, request) => described?,
            () = self.input.hung_up() => return Err(Failure::Session(Ended::Gone)),
        };
        Ok(statement.description.get_or_init(async || described).await)
    }

    /// Tells what a statement or a portal gives.
    pub(super) async fn describe(&mut self, target: Target) -> Result<(), Failure> {
        match target {
            Target::Statement(name) => {
                let statement = self.statement(&name)?;
                self.check_transaction(&statement.command)?;
                self.describe_statement(&statement).await
            }
            Target::Portal(name) => self.describe_portal(&name).await,
        }
    }

    async fn describe_statement(&mut self, statement: &Prepared) -> Result<(), Failure> {
        let kinds: Vec<ParameterKind> = match statement.command {
            Command::Query | Command::Copy { .. } | Command::Declare { .. }
                if !statement.oids.is_empty() || matches!(statement.command, Command::Query) =>
            {
                self.description(statement).await?.parameters.clone()
            }
            _ => Vec::new(),
        };
        let oids =
            statement
                .oids
                .iter()
                .enumerate()
                .map(|(index, oid)| match (oid, kinds.get(index)) {
                    (0, Some(kind)) => column_types::type_of_kind(kind).oid(),
                    (0, None) => pgwire::api::Type::TEXT.oid(),
                    (oid, _) => *oid,
                });
        self.output.parameter_description(oids);
        match &statement.command {
            Command::Query => {
                let schema = self.description(statement).await?.schema.clone();
                running::describe(&schema, &[], &mut self.output);
            }
            command => self.describe_local(command, &[])?,
        }
        Ok(())
    }

    /// The columns of what the front answers itself, or that there are none.
    fn describe_local(&mut self, command: &Command, formats: &[i16]) -> Result<(), Failure> {
        match command {
            Command::Fetch {
                cursor, send: true, ..
            } => {
                match self
                    .cursor(cursor)?
                    .running()
                    .map(|running| running.schema().clone())
                {
                    Some(schema) => running::describe(&schema, formats, &mut self.output),
                    None => self.output.plain(b'n'),
                }
            }
            Command::Show(name) => {
                let columns = match name.as_str() {
                    "all" => ["name", "setting", "description"].map(str::to_owned).into(),
                    name => vec![name.to_owned()],
                };
                let answer = LocalAnswer {
                    columns,
                    ..LocalAnswer::default()
                };
                answer.describe(&mut self.output);
            }
            _ => self.output.plain(b'n'),
        }
        Ok(())
    }

    /// A query is started here, so that its columns are those of the very rows that follow.
    async fn describe_portal(&mut self, name: &str) -> Result<(), Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let described = self.describe_taken(&mut portal).await;
        self.portals.insert(name.to_owned(), portal);
        described
    }

    async fn describe_taken(&mut self, portal: &mut Portal) -> Result<(), Failure> {
        let command = portal
            .statement
            .as_ref()
            .map(|statement| statement.command.clone());
        match command {
            None | Some(Command::Query) => {
                self.start_portal(portal).await?;
                match portal.running() {
                    Some(running) => {
                        running::describe(running.schema(), &portal.formats, &mut self.output);
                    }
                    None => self.output.plain(b'n'),
                }
                Ok(())
            }
            Some(command) => self.describe_local(&command, &portal.formats),
        }
    }

    async fn start_portal(&mut self, portal: &mut Portal) -> Result<(), Failure> {
        let (PortalState::New, Some(statement)) = (&portal.state, &portal.statement) else {
            return Ok(());
        };
        let parameters = std::mem::take(&mut portal.parameters);
        // What fails here fails once; the portal gives nothing more.
        portal.state = PortalState::Ended;
        let running = self.start(&statement.sql.clone(), parameters).await?;
        portal.state = PortalState::Running(Box::new(running));
        Ok(())
    }

    /// Runs a portal, or goes on with it.
    pub(super) async fn execute(&mut self, name: &str, max_rows: i32) -> Result<(), Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let statement = portal.statement.as_ref();
        let begun = self.begin(statement.map_or("FETCH", |statement| statement.command.name()));
        let executed = self.execute_taken(&mut portal, max_rows).await;
        self.note(begun, &executed);
        let ended = executed.is_err() || portal.running().is_none_or(Running::has_ended);
        if ended && !matches!(portal.state, PortalState::Expired) {
            // Its slot is free for others from now on.
            portal.state = PortalState::Ended;
        }
        self.portals.insert(name.to_owned(), portal);
        executed
    }

    async fn execute_taken(&mut self, portal: &mut Portal, max_rows: i32) -> Result<(), Failure> {
        let command = portal
            .statement
            .as_ref()
            .map(|statement| statement.command.clone());
        let command = command.unwrap_or(Command::Query);
        self.check_transaction(&command)?;
        match command {
            Command::Query => self.execute_query(portal, max_rows).await,
            Command::Copy { sql, form } => {
                let parameters = std::mem::take(&mut portal.parameters);
                self.copy(&sql, &form, parameters).await
            }
            Command::Fetch {
                cursor,
                count,
                send,
            } => {
                let formats = portal.formats.clone();
                self.fetch(&cursor, count, send, &formats).await
            }
            command => {
                let parameters = std::mem::take(&mut portal.parameters);
                let answer = self.run_local(command, parameters).await?;
                answer.send(&mut self.output);
                Ok(())
            }
        }
    }

    /// Up to `max_rows` rows, all of them when it is not positive. However large it is, nothing is
    /// reserved for it.
    async fn execute_query(&mut self, portal: &mut Portal, max_rows: i32) -> Result<(), Failure> {
        self.start_portal(portal).await?;
        let formats = portal.formats.clone();
        let max = match u64::try_from(max_rows) {
            Ok(0) | Err(_) => u64::MAX,
            Ok(max) => max,
        };
        let Some(running) = portal.running_mut()? else {
            self.output.command_complete("SELECT 0");
            return Ok(());
        };
        let rows = self.send(running, max, &RowForm::Data(&formats)).await?;
        match running.has_ended() {
            true => self.output.command_complete(&format!("SELECT {rows}")),
            false => self.output.plain(b's'),
        }
        Ok(())
    }

    /// Forgets a statement or a portal; one that is not there is no error.
    pub(super) fn close(&mut self, target: Target) {
        match target {
            Target::Statement(name) => {
                self.statements.remove(&name);
            }
            Target::Portal(name) => {
                self.portals.remove(&name);
            }
        }
        self.output.plain(b'3');
    }

    fn statement(&self, name: &str) -> Result<Arc<Prepared>, QueryError> {
        self.statements
            .get(name)
            .cloned()
            .ok_or_else(|| no_statement(name))
    }
}
