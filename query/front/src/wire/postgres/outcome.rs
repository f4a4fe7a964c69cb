//! Both sides of a connection, and why a statement or a session came to nothing.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::QueryError;
use crate::sqlstate::SqlState;
use crate::wire::postgres::reader::{MessageReader, ReadError};
use crate::wire::postgres::reply::Replies;

/// What is read.
pub(super) type Input = MessageReader<Box<dyn AsyncRead + Send + Unpin>>;
/// What is written.
pub(super) type Output = Replies<Box<dyn AsyncWrite + Send + Unpin>>;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client is gone, or said so.
    Gone,
    /// It did not log in in time.
    Silent,
    /// The server ends it, with these words.
    Refused(SqlState, String),
}

/// Why a statement was not answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement is wrong.
    Statement(QueryError),
    /// The session ends.
    Session(Ended),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Session(Ended::Gone)
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(_) => Self::Gone,
            ReadError::Idle => Self::Refused(SqlState::IdleSessionTimeout, error.to_string()),
            other => Self::Refused(SqlState::ProtocolViolation, other.to_string()),
        }
    }
}
