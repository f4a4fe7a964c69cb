//! What the front asks of an SQL engine, and what it is given.

use std::pin::Pin;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::Stream;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::ReadScope;
use crate::error::QueryError;
use crate::start_times::StartTimes;

pub mod postgres;

pub use postgres::{Description, Parameter, ParameterKind, ParameterValue, PostgresStatement};

/// The longest statement accepted, in bytes.
pub const MAX_SQL_BYTES: usize = 1 << 20;

/// One statement with all that decides its answer.
#[derive(Debug, Clone)]
pub struct SqlRequest {
    /// One statement that reads.
    pub sql: String,
    /// An array, an object or null.
    pub params: Value,
    /// Typed values of `$1`, `$2`, …, which stand in place of `params`.
    pub parameters: Option<Vec<Parameter>>,
    /// Which state of the tables.
    pub at: At,
    /// How long it may run; the configured time when it is `None` or longer.
    pub timeout: Option<Duration>,
    /// An answer with more rows is an error.
    pub max_rows: Option<usize>,
    /// The client's own name for the query.
    pub query_id: Option<String>,
    /// What of the tables its caller may read. [`QueryService`](crate::QueryService) sets it, and a
    /// request without it reads nothing.
    pub reads: ReadScope,
    /// What a statement of a PostgreSQL session carries besides; its parameters go before `params`.
    pub postgres: Option<PostgresStatement>,
}

/// Which state of the tables is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// The newest.
    Latest,
    /// This version of the table.
    Version(u64),
    /// The version that was the newest at this time, in microseconds since 1970.
    Time(i64),
}

/// How much of a stream an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The stream.
    pub stream: &'static str,
    /// The version of the raw table that was read; `None` for whoever may not see all its rows, who
    /// is told no number that counts them.
    pub version: Option<u64>,
    /// Every row through this sequence is in the answer; `None` when the stream has never had one.
    pub through: Option<i64>,
    /// The last sequence JetStream had acknowledged when the query began; `None` for an answer of
    /// the past or when it is unknown.
    pub acknowledged: Option<i64>,
    /// Whether everything acknowledged is in the answer; `None` for an answer of the past, which is
    /// not asked that.
    pub complete: Option<bool>,
    /// Why it is not complete.
    pub reason: Option<String>,
}

/// Batches of one schema while they are made. Dropping the stream ends the work behind it.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, QueryError>> + Send>>;

/// A statement that was planned and runs.
pub struct Execution {
    /// The columns; two may have the same name.
    pub schema: SchemaRef,
    /// What is read: one entry a stream.
    pub coverage: Vec<Coverage>,
    /// What it waited for until it ran.
    pub times: StartTimes,
    /// The rows.
    pub batches: BatchStream,
}

/// Plans and runs statements.
///
/// [`QueryService`](crate::QueryService) stands before it and keeps slots, time, rows and cancels.
/// An engine has none of them: it ends a statement when the future or the stream is dropped.
///
/// Futures are boxed by hand: `async_trait` adds bounds under which the compiler proves of every
/// type of DataFusion that it may be sent, anew for each implementation: five seconds each.
pub trait SqlEngine: Send + Sync {
    /// Starts a statement. `timeout` is what is left of its time, and `query_id` is always set.
    fn execute<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Execution, QueryError>>;

    /// What statements wait for now that nothing but time may bring, where that is known.
    fn waits_for(&self) -> Option<&'static str> {
        None
    }

    /// Plans a statement without running it.
    fn describe<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Description, QueryError>>;
}
