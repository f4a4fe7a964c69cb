//! What a front sends to a worker, and how it reads the answer.
//!
//! A connection that breaks is a loss, which another worker may make good; an error that the worker
//! says is the statement's own.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::error::QueryError;
use crate::sql::{Description, SqlRequest};
use crate::worker::wire::{
    self, AnswerHead, DescriptionHead, Kind, Request, StatementId, StatementRequest,
};

/// How a statement failed.
pub enum Failure {
    /// The worker said what is wrong.
    Told(QueryError),
    /// The connection ended without a word.
    Lost,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Told(error)
    }
}

/// Speaks to one worker.
#[derive(Debug, Clone)]
pub struct WorkerClient {
    socket: PathBuf,
}

impl WorkerClient {
    /// Of the worker that listens there.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The ids of the statements that the worker still works on.
    pub async fn running(&self) -> Result<Vec<StatementId>, Failure> {
        let mut answer = self.send(&Request::Running).await?;
        let (_, body) = wire::read_frame(&mut answer).await?;
        Ok(wire::from_json(&body)?)
    }

    /// Sends a statement and waits until its first rows are there, so that up to then it can be
    /// sent to another worker instead.
    pub async fn begin(
        &self,
        request: &SqlRequest,
        id: StatementId,
    ) -> Result<(AnswerHead, Answer), Failure> {
        let statement = Request::Statement(StatementRequest::new(request, id));
        let mut answer = Answer::new(self.send(&statement).await?);
        let head = answer.head().await?;
        answer.fill().await?;
        Ok((head, answer))
    }

    /// Has a statement planned.
    pub async fn describe(
        &self,
        request: &SqlRequest,
        id: StatementId,
    ) -> Result<Description, Failure> {
        let statement = Request::Describe(StatementRequest::new(request, id));
        let mut answer = Answer::new(self.send(&statement).await?);
        let head: DescriptionHead = answer.head().await?;
        answer.fill().await?;
        Ok(Description {
            schema: answer.schema().ok_or(Failure::Lost)?,
            parameters: head.parameters,
        })
    }

    async fn send(&self, request: &Request) -> Result<BufReader<UnixStream>, Failure> {
        let mut socket = UnixStream::connect(&self.socket).await?;
        wire::write_frame(&mut socket, Kind::Request, &wire::to_json(request)?).await?;
        Ok(BufReader::new(socket))
    }
}

/// An answer while it is read.
pub struct Answer {
    socket: BufReader<UnixStream>,
    decoder: StreamDecoder,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

impl Answer {
    /// The answer to a request that was sent.
    pub fn new(socket: BufReader<UnixStream>) -> Self {
        Self {
            socket,
            decoder: StreamDecoder::new(),
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// What is said before the first row.
    pub async fn head<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        match wire::read_frame(&mut self.socket).await? {
            (Kind::Head, body) => Ok(wire::from_json(&body)?),
            (Kind::Error, body) => Err(Failure::Told(wire::read_error(&body))),
            _ => Err(Failure::Lost),
        }
    }

    /// The connection, on which more may be asked when the answer was read to its end.
    pub fn into_socket(self) -> BufReader<UnixStream> {
        self.socket
    }

    /// The columns, once the first rows were read.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    /// The next rows; `None` when the answer is whole.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        self.fill().await?;
        Ok(self.ready.pop_front())
    }

    /// Reads until rows are there or the answer ends. The columns are known after it.
    async fn fill(&mut self) -> Result<(), Failure> {
        while self.ready.is_empty() && !self.ended {
            match wire::read_frame(&mut self.socket).await? {
                (Kind::Rows, body) => self.decode(body)?,
                (Kind::End, _) => self.ended = true,
                (Kind::Error, body) => return Err(Failure::Told(wire::read_error(&body))),
                (Kind::Head | Kind::Request, _) => return Err(Failure::Lost),
            }
        }
        Ok(())
    }

    fn decode(&mut self, body: Vec<u8>) -> Result<(), QueryError> {
        let failed = |error: arrow::error::ArrowError| {
            QueryError::internal(format!("the rows of a worker cannot be read: {error}"))
        };
        let mut bytes = Buffer::from(body);
        while !bytes.is_empty() {
            match self.decoder.decode(&mut bytes).map_err(failed)? {
                Some(batch) => self.ready.push_back(batch),
                None => break,
            }
        }
        Ok(())
    }
}
