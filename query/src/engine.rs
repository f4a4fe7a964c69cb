//! Runs one statement within its limits and gives its rows as a stream.
//!
//! Whatever ends a query early (time, memory, rows, a cancel, a client that hung up), dropping
//! [`Rows`] ends its work and frees its slot.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use futures::{Stream, StreamExt};
use object_store::ObjectStore;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::catalog::{CATALOG, Catalog, Moment, SCHEMA, with_runtime};
use crate::config::QueryConfig;
use crate::date_trunc;
use crate::error::{Code, QueryError};
use crate::growth;
use crate::intern;
use crate::memory::QueryPool;
use crate::params;
use crate::running::{Registry, Ticket};
use crate::shadow;
use crate::source::{At, Coverage, Source};
use crate::statement;

const MIB: usize = 1 << 20;

/// Answers statements.
pub struct Engine {
    config: QueryConfig,
    base: SessionState,
    runtime: Arc<RuntimeEnv>,
    pool: Arc<dyn MemoryPool>,
    catalog: Catalog,
    slots: Arc<Semaphore>,
    running: Arc<Registry>,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Ask {
    /// One statement that reads.
    pub sql: String,
    /// An array, an object or null.
    pub params: Value,
    /// Which state of the tables.
    pub at: At,
    /// At most the configured time.
    pub timeout: Option<Duration>,
    /// An answer with more rows is an error.
    pub max_rows: Option<usize>,
    /// The client's own name for the query.
    pub query_id: Option<String>,
}

/// An answer whose rows are still being made.
pub struct Answer {
    /// The query's id.
    pub id: String,
    /// The columns; their names are unique.
    pub schema: SchemaRef,
    /// What was read.
    pub coverage: Vec<Coverage>,
    /// The rows.
    pub rows: Rows,
    /// Where memory for the answer itself is to be counted.
    pub pool: Arc<dyn MemoryPool>,
}

impl Engine {
    /// An engine over these streams whose files lie in these stores.
    pub fn new(
        config: QueryConfig,
        sources: Vec<Arc<dyn Source>>,
        stores: Vec<(ObjectStoreUrl, Arc<dyn ObjectStore>)>,
    ) -> Result<Self, QueryError> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(config.memory_mib * MIB));
        let disk =
            DiskManagerBuilder::default().with_max_temp_directory_size(config.spill_mib << 20);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool.clone())
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(config.metadata_cache_mib * MIB)
            .build_arc()?;
        for (url, store) in stores {
            runtime.register_object_store(url.as_ref(), store);
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let session = SessionConfig::new()
            .with_target_partitions(cores)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        let mut base = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime.clone())
            .with_default_features()
            .build();
        base.register_udf(Arc::new(date_trunc::udf()))?;
        growth::bound(&mut base)?;
        base.add_analyzer_rule(Arc::new(shadow::NameInputs));
        let slots = Arc::new(Semaphore::new(config.max_concurrent));
        let catalog = Catalog::new(sources)?;
        Ok(Self {
            config,
            base,
            runtime,
            pool,
            catalog,
            slots,
            running: Arc::new(Registry::default()),
        })
    }

    /// The queries that run now.
    pub fn running(&self) -> &Arc<Registry> {
        &self.running
    }

    /// The configuration.
    pub fn config(&self) -> &QueryConfig {
        &self.config
    }

    /// Starts a statement. Dropping the future or the answer ends it.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, QueryError> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} queries run already, which is the limit",
                self.config.max_concurrent
            );
            QueryError::new(
                Code::ConcurrencyLimit,
                message,
                "try again in a second, or raise query.max_concurrent",
            )
        })?;
        let limit = self.config.timeout();
        let timeout = ask.timeout.map_or(limit, |asked| asked.min(limit));
        let deadline = tokio::time::Instant::now() + timeout;
        let ticket = self
            .running
            .enter(ask.query_id.as_deref(), &ask.sql, slot)?;
        let cancelled = ticket.cancelled();
        let started = tokio::select! {
            biased;
            () = cancelled => Err(cancel_error(ticket.id())),
            () = sleep_until(deadline) => Err(time_error(timeout)),
            started = self.start(&ask) => started,
        };
        let (stream, coverage, pool) = started.inspect_err(|error| ticket.failed(error.code))?;
        let schema = unique_names(&stream.schema());
        let rows = Rows {
            inner: Some(stream),
            schema: schema.clone(),
            deadline: Box::pin(sleep_until(deadline)),
            timeout,
            cancelled: Box::pin(ticket.cancelled()),
            max_rows: ask.max_rows.unwrap_or(usize::MAX),
            seen: 0,
            ticket,
        };
        Ok(Answer {
            id: rows.ticket.id().to_owned(),
            schema,
            coverage,
            rows,
            pool,
        })
    }

    async fn start(
        &self,
        ask: &Ask,
    ) -> Result<
        (
            SendableRecordBatchStream,
            Vec<Coverage>,
            Arc<dyn MemoryPool>,
        ),
        QueryError,
    > {
        let begun = Instant::now();
        let statement = statement::parse(&self.base, &ask.sql)?;
        let references = self.base.resolve_table_references(&statement)?;
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(
            self.pool.clone(),
            self.config.query_memory_mib * MIB,
        ));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(pool.clone())
            .build_arc()?;
        let moment = Moment {
            at: ask.at,
            now_us: now_us(),
            wait: self.config.freshness_wait(),
        };
        let prepared = self
            .catalog
            .prepare(&with_runtime(&self.base, runtime), &references, moment)
            .await?;
        let mut plan = prepared.state.statement_to_plan(statement).await?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only
            .verify_plan(&plan)
            .map_err(|error| statement::read_only(error.strip_backtrace()))?;
        let parameters = |error: String| {
            QueryError::new(
                Code::Parameters,
                error,
                "give every placeholder a value in params",
            )
        };
        match params::from_json(&ask.params)? {
            Some(values) => {
                plan = plan
                    .with_param_values(values)
                    .map_err(|error| parameters(error.strip_backtrace()))?
            }
            None => {
                if let Some(name) = plan.get_parameter_names()?.iter().min() {
                    return Err(parameters(format!("placeholder {name} has no value")));
                }
            }
        }
        let mut state = prepared.state;
        let plan = state.optimize(&plan)?;
        if let Some(rows) = growth::batch_rows(&plan, state.config().batch_size())? {
            state = SessionStateBuilder::new_from_existing(state.clone())
                .with_config(state.config().clone().with_batch_size(rows))
                .build();
        }
        let physical = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await?;
        let stream = execute_stream(intern::groups(physical, &pool)?, state.task_ctx())?;
        metrics::histogram!("headframe_query_start_seconds").record(begun.elapsed());
        Ok((stream, prepared.coverage, pool))
    }
}

/// The rows of a running query.
pub struct Rows {
    inner: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    max_rows: usize,
    seen: usize,
    ticket: Ticket,
}

impl Rows {
    fn end(&mut self, error: QueryError) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        self.inner = None;
        self.ticket.failed(error.code);
        Poll::Ready(Some(Err(error)))
    }

    fn count(&mut self, batch: RecordBatch) -> Result<RecordBatch, QueryError> {
        self.seen += batch.num_rows();
        self.ticket.saw(batch.num_rows());
        if self.seen > self.max_rows {
            let message = format!(
                "the answer has more than {} rows, which is the limit",
                self.max_rows
            );
            let hint = "add a LIMIT or a WHERE, raise max_rows, or ask for ndjson, csv, arrow or parquet, which have no limit of their own";
            return Err(QueryError::new(Code::RowLimit, message, hint));
        }
        // The row count is given because a batch without columns has no other way to know it.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)
            .map_err(|error| QueryError::internal(error.to_string()))
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if this.cancelled.as_mut().poll(cx).is_ready() {
            let error = cancel_error(this.ticket.id());
            return this.end(error);
        }
        if this.deadline.as_mut().poll(cx).is_ready() {
            let error = time_error(this.timeout);
            return this.end(error);
        }
        match inner.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.inner = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.end(QueryError::from_engine(error)),
            Poll::Ready(Some(Ok(batch))) => match this.count(batch) {
                Ok(batch) => Poll::Ready(Some(Ok(batch))),
                Err(error) => this.end(error),
            },
        }
    }
}

fn cancel_error(id: &str) -> QueryError {
    QueryError::new(
        Code::Cancelled,
        format!("query {id} was cancelled"),
        "someone sent DELETE /api/v1/sql/{id}, or the server is stopping",
    )
}

fn time_error(timeout: Duration) -> QueryError {
    let message = format!(
        "the query ran longer than {} ms, which is the limit",
        timeout.as_millis()
    );
    QueryError::new(
        Code::TimeLimit,
        message,
        "read a shorter time or a coarser rollup, or raise timeout_ms or query.timeout_s",
    )
}

fn now_us() -> i64 {
    // A clock before 1970 or after the year 292,000 would be wrong anyway.
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The same schema with a number after each name that was there before: `a, a` becomes `a, a_2`.
fn unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: std::collections::HashSet<String> = std::collections::HashSet::new();
    let mut fields: Vec<Arc<Field>> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        fields.push(if name == *field.name() {
            field.clone()
        } else {
            Arc::new(field.as_ref().clone().with_name(name))
        });
    }
    Arc::new(Schema::new(fields))
}
