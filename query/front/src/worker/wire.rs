//! The messages between front and worker, and how they stand on a socket.
//!
//! A connection carries one request and its answer; closing it cancels the statement. Each message
//! is a frame: one byte that says what it is, its length in four bytes, and its bytes, which are
//! JSON or a part of an Arrow IPC stream. Arrow Flight, which clients are spoken to with, would put
//! HTTP/2 between two processes of one machine. Only this file and its two users, `client.rs` here
//! and `serve.rs` in the engine, know the difference.

use std::io;
use std::time::Duration;

use headframe_schemas::stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::access::ReadScope;
use crate::error::{ErrorCode, QueryError};
use crate::sql::{At, Coverage, Parameter, ParameterKind, PostgresStatement, SqlRequest};
use crate::sqlstate::SqlState;
use crate::start_times::StartTimes;

/// The largest frame either side takes: a row of an answer must fit into one.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Request`] as JSON.
    Request,
    /// What is known before the first row, as JSON.
    Head,
    /// A part of an Arrow IPC stream.
    Rows,
    /// [`QueryError`] as JSON; nothing follows.
    Error,
    /// The answer is whole; nothing follows.
    End,
}

/// A frame.
pub type Frame = (Kind, Vec<u8>);

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Request,
        Kind::Head,
        Kind::Rows,
        Kind::Error,
        Kind::End,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Writes a frame and sends it off.
pub async fn write_frame(
    socket: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| too_long(body.len()))?;
    let mut head = [0_u8; 5];
    head[0] = kind as u8;
    head[1..].copy_from_slice(&length.to_le_bytes());
    socket.write_all(&head).await?;
    socket.write_all(body).await?;
    socket.flush().await
}

/// Reads a frame; a connection that ends before or inside one is an error.
pub async fn read_frame(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0_u8; 5];
    socket.read_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let kind = Kind::from_byte(kind).ok_or_else(|| io::Error::other("a frame of no known kind"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(too_long(length));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// A message as JSON.
pub fn to_json(message: &impl Serialize) -> Result<Vec<u8>, QueryError> {
    serde_json::to_vec(message).map_err(|error| QueryError::internal(error.to_string()))
}

/// A message from JSON.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, QueryError> {
    let failed = |error| QueryError::internal(format!("a message cannot be read: {error}"));
    serde_json::from_slice(bytes).map_err(failed)
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!(
        "a frame of {length} bytes, more than {MAX_FRAME_BYTES}"
    ))
}

/// What a worker and its front call a statement between them, from 0 on. What its user calls it may
/// come again while one that was dropped still ends.
pub type StatementId = u64;

/// What a worker is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// To run a statement: a head, rows, and an end.
    Statement(StatementRequest),
    /// To plan a statement: a head, the columns without rows, and an end.
    Describe(StatementRequest),
    /// Which statements run: a head with their ids, and an end.
    Running,
}

/// A statement on its way to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatementRequest {
    sql: String,
    params: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Vec<Parameter>>,
    at: At,
    timeout_ms: Option<u64>,
    id: StatementId,
    #[serde(default)]
    reads: ReadScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    postgres: Option<PostgresStatement>,
}

impl StatementRequest {
    /// The statement, and what the worker is to call it.
    pub fn new(request: &SqlRequest, id: StatementId) -> Self {
        let timeout_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            sql: request.sql.clone(),
            params: request.params.clone(),
            parameters: request.parameters.clone(),
            at: request.at,
            timeout_ms: request.timeout.map(timeout_ms),
            id,
            reads: request.reads.clone(),
            postgres: request.postgres.clone(),
        }
    }

    /// What the front calls the statement.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// The request as the worker's engine takes it. Rows are counted by the front, which alone
    /// knows what its user calls the statement.
    pub fn into_request(self) -> SqlRequest {
        SqlRequest {
            sql: self.sql,
            params: self.params,
            parameters: self.parameters,
            at: self.at,
            timeout: self.timeout_ms.map(Duration::from_millis),
            max_rows: None,
            query_id: None,
            reads: self.reads,
            postgres: self.postgres,
        }
    }
}

/// What a statement takes, which goes before its columns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DescriptionHead {
    /// The types of `$1`, `$2`, ….
    pub parameters: Vec<ParameterKind>,
}

/// What is known of an answer before its first row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AnswerHead {
    coverage: Vec<StreamCoverage>,
    times: StartTimes,
}

#[derive(Debug, Serialize, Deserialize)]
struct StreamCoverage {
    stream: String,
    version: Option<u64>,
    through: Option<i64>,
    acknowledged: Option<i64>,
    complete: Option<bool>,
    reason: Option<String>,
}

impl AnswerHead {
    /// The head of an answer that reads this, after these times.
    pub fn new(coverage: &[Coverage], times: StartTimes) -> Self {
        let one = |read: &Coverage| StreamCoverage {
            stream: read.stream.to_owned(),
            version: read.version,
            through: read.through,
            acknowledged: read.acknowledged,
            complete: read.complete,
            reason: read.reason.clone(),
        };
        Self {
            coverage: coverage.iter().map(one).collect(),
            times,
        }
    }

    /// What the statement waited for on the worker.
    pub fn times(&self) -> StartTimes {
        self.times
    }

    /// What is read; a stream that this program does not know is left out.
    pub fn into_coverage(self) -> Vec<Coverage> {
        let one = |read: StreamCoverage| {
            Some(Coverage {
                stream: stream::find(&read.stream)?.name(),
                version: read.version,
                through: read.through,
                acknowledged: read.acknowledged,
                complete: read.complete,
                reason: read.reason,
            })
        };
        self.coverage.into_iter().filter_map(one).collect()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ErrorMessage {
    code: String,
    message: String,
    hint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
}

/// A typed error as a frame.
pub fn error_frame(error: &QueryError) -> Frame {
    let message = ErrorMessage {
        code: error.code.parts().0.to_owned(),
        message: error.message.clone(),
        hint: error.hint.clone(),
        sqlstate: error.sqlstate.map(|state| state.as_str().to_owned()),
    };
    // Strings always become JSON.
    (
        Kind::Error,
        serde_json::to_vec(&message).unwrap_or_default(),
    )
}

/// The typed error of a frame.
pub fn read_error(body: &[u8]) -> QueryError {
    let message: ErrorMessage = match from_json(body) {
        Ok(message) => message,
        Err(error) => return error,
    };
    let code = ErrorCode::ALL.iter().copied();
    let code = code.into_iter().find(|code| code.parts().0 == message.code);
    QueryError {
        code: code.unwrap_or(ErrorCode::Internal),
        message: message.message,
        hint: message.hint,
        sqlstate: message.sqlstate.as_deref().and_then(SqlState::find),
        fields: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn every_error_arrives_as_it_was_sent() {
        for code in ErrorCode::ALL {
            let sent = QueryError::new(*code, "what\nwent wrong: 矿机", "what to do");
            let (kind, body) = error_frame(&sent);
            assert_eq!((kind, read_error(&body)), (Kind::Error, sent));
        }
        let sent = QueryError::internal("what").with_sqlstate(SqlState::UndefinedTable);
        assert_eq!(read_error(&error_frame(&sent).1), sent);
        assert_eq!(read_error(b"no JSON").code, ErrorCode::Internal);
    }

    #[test]
    fn coverage_of_known_streams_and_times_arrive() {
        let sent = vec![Coverage {
            stream: "shares",
            version: Some(7),
            through: Some(12),
            acknowledged: None,
            complete: Some(false),
            reason: Some("late".to_owned()),
        }];
        let times = StartTimes {
            tail: Duration::from_micros(1_234_567),
            files: 40,
            ..StartTimes::default()
        };
        let head = to_json(&AnswerHead::new(&sent, times)).unwrap();
        let head: AnswerHead = from_json(&head).unwrap();
        assert_eq!(head.times(), times);
        assert_eq!(head.into_coverage(), sent);
    }

    #[test]
    fn a_statement_without_a_reader_reads_nothing() {
        let statement = json!({"sql": "SELECT 1", "params": null, "at": "Latest",
            "timeout_ms": null, "id": 7});
        let read = |statement: &Value| {
            let bytes = to_json(statement).unwrap();
            from_json::<StatementRequest>(&bytes)
                .unwrap()
                .into_request()
        };
        assert_eq!(read(&statement).reads, ReadScope::Nothing);
        for reads in [
            ReadScope::Readers,
            ReadScope::Everything,
            ReadScope::Miner("4A".to_owned()),
        ] {
            let sent = SqlRequest {
                reads: reads.clone(),
                ..read(&statement)
            };
            let sent = serde_json::to_value(StatementRequest::new(&sent, 7)).unwrap();
            assert_eq!(read(&sent).reads, reads);
        }
    }

    #[tokio::test]
    async fn frames_arrive_whole_or_not_at_all() {
        let (mut near, mut far) = tokio::io::duplex(16);
        let body = vec![7_u8; 1_000];
        let sent = tokio::spawn(async move {
            for kind in Kind::ALL {
                write_frame(&mut near, kind, &body).await.unwrap();
            }
            near.write_all(&[1, 200, 0, 0, 0, 5]).await.unwrap();
        });
        for kind in Kind::ALL {
            assert_eq!(read_frame(&mut far).await.unwrap(), (kind, vec![7; 1_000]));
        }
        sent.await.unwrap();
        assert!(read_frame(&mut far).await.is_err(), "it was cut");
        let mut long: &[u8] = &[1, 0, 0, 0, 255];
        assert!(read_frame(&mut long).await.is_err(), "it is too long");
        let mut unknown: &[u8] = &[99, 0, 0, 0, 0];
        assert!(read_frame(&mut unknown).await.is_err(), "it is of no kind");
    }
}
