//! What a session keeps: prepared statements, portals and cursors.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::{ErrorCode, QueryError};
use crate::sql::{Description, Parameter};
use crate::sqlstate::SqlState;
use crate::wire::postgres::command::Command;
use crate::wire::postgres::running::Running;

/// A prepared statement.
pub(super) struct Prepared {
    pub(super) sql: String,
    pub(super) command: Command,
    /// The types of its parameters as far as the client declared them; 0 for the others.
    pub(super) oids: Vec<u32>,
    pub(super) description: OnceCell<Description>,
}

/// A statement with its parameters, or a cursor.
pub(super) struct Portal {
    /// None of a cursor.
    pub(super) statement: Option<Arc<Prepared>>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) formats: Vec<i16>,
    pub(super) state: PortalState,
    pub(super) holds: bool,
}

/// How far a portal has come.
pub(super) enum PortalState {
    /// It has not run yet.
    New,
    /// Its rows are on the way.
    Running(Box<Running>),
    /// It gives nothing more.
    Ended,
    /// Its time ended before its rows were taken.
    Expired,
}

impl Portal {
    /// A cursor over these rows. One that holds outlives its transaction.
    pub(super) fn cursor(running: Running, holds: bool) -> Self {
        Self {
            statement: None,
            parameters: Vec::new(),
            formats: Vec::new(),
            state: PortalState::Running(Box::new(running)),
            holds,
        }
    }

    /// Its rows, while there are some.
    pub(super) fn running(&self) -> Option<&Running> {
        match &self.state {
            PortalState::Running(running) => Some(running),
            _ => None,
        }
    }

    /// The same, to take some; an error when its time is over.
    pub(super) fn running_mut(&mut self) -> Result<Option<&mut Running>, QueryError> {
        match &mut self.state {
            PortalState::Running(running) => Ok(Some(running)),
            PortalState::Expired => Err(QueryError::new(
                ErrorCode::TimeLimit,
                "the time of the query ended before all its rows were taken",
                "take them sooner, or raise query.timeout_s",
            )),
            PortalState::New | PortalState::Ended => Ok(None),
        }
    }

    /// Whether it outlives its transaction.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// Whether it was declared in SQL.
    pub(super) fn is_cursor(&self) -> bool {
        self.statement.is_none()
    }

    /// Ends its statement.
    pub(super) fn expire(&mut self) {
        self.state = PortalState::Expired;
    }
}

/// The error of a prepared statement that is not there.
pub(super) fn no_statement(name: &str) -> QueryError {
    let message = format!("the prepared statement \"{name}\" does not exist");
    QueryError::bad_request(message, "prepare it first").with_sqlstate(SqlState::UndefinedStatement)
}

/// The error of a cursor that is not there.
pub(super) fn no_cursor(name: &str) -> QueryError {
    let message = format!("the cursor \"{name}\" does not exist");
    QueryError::bad_request(message, "DECLARE it first").with_sqlstate(SqlState::UndefinedCursor)
}
