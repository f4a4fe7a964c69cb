//! Runs statements of one engine within slots, a deadline and a number of rows.
//!
//! Whatever ends a query early (time, rows, a cancel, a client that hung up), dropping [`Rows`]
//! ends its work and frees its slot.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::access::{OngoingAccess, Principal, Proof, ReadScope, Role};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::running::{Registry, Ticket};
use crate::slot_quotas::{HeldSlot, SlotQuotas};
use crate::sql::{BatchStream, Coverage, Description, SqlEngine, SqlRequest};
use crate::start_times::StartTimes;

/// An engine with its limits.
pub struct QueryService {
    engine: Arc<dyn SqlEngine>,
    max_concurrent: usize,
    timeout: Duration,
    slots: Arc<Semaphore>,
    /// What one caller may have of them, where anybody asks.
    quotas: Option<SlotQuotas<Arc<str>>>,
    /// What all miners together may have of them: an address is free, so that quotas of one caller
    /// do not hold them.
    miner_slots: Arc<Semaphore>,
    /// Beside those of everybody.
    operator_slots: Arc<Semaphore>,
    running: Arc<Registry>,
}

/// An answer whose rows are still being made.
pub struct Answer {
    /// The query's id.
    pub id: String,
    /// The columns; over PostgreSQL's wire two may have the same name.
    pub schema: SchemaRef,
    /// What was read.
    pub coverage: Vec<Coverage>,
    /// When its request came.
    pub received_at: Instant,
    /// What it waited for until it ran.
    pub times: StartTimes,
    /// The rows.
    pub rows: Rows,
}

impl QueryService {
    /// A service for typed statements, with slots of its own.
    pub fn new(config: &QueryConfig, engine: Arc<dyn SqlEngine>) -> Self {
        Self {
            quotas: Some(SlotQuotas::new(config.max_concurrent_per_principal())),
            miner_slots: Arc::new(Semaphore::new((config.max_concurrent / 2).max(1))),
            ..Self::with_slots(config, engine, config.max_concurrent)
        }
    }

    /// A service for the statements of pages. As many run as pages may be answered at once.
    pub fn for_pages(config: &QueryConfig, engine: Arc<dyn SqlEngine>) -> Self {
        Self::with_slots(config, engine, config.page_slots())
    }

    /// A service for what subscribers need, with slots of its own.
    pub(crate) fn for_subscribers(config: &QueryConfig, engine: Arc<dyn SqlEngine>) -> Self {
        Self::with_slots(config, engine, config.live_slots)
    }

    fn with_slots(config: &QueryConfig, engine: Arc<dyn SqlEngine>, slots: usize) -> Self {
        Self {
            engine,
            max_concurrent: slots,
            timeout: config.timeout(),
            slots: Arc::new(Semaphore::new(slots)),
            quotas: None,
            miner_slots: Arc::new(Semaphore::new(slots)),
            operator_slots: Arc::new(Semaphore::new(config.operator_slots)),
            running: Arc::new(Registry::default()),
        }
    }

    /// The queries that run now.
    pub fn running(&self) -> &Arc<Registry> {
        &self.running
    }

    /// Starts a statement of this program's own, which reads everything. Dropping the future or the
    /// answer ends it.
    pub async fn ask(&self, request: SqlRequest) -> Result<Answer, QueryError> {
        self.ask_within(ReadScope::Everything, &Principal::reader(), request)
            .await
    }

    /// The same for this caller, who reads what he may: operators have slots of their own.
    pub async fn ask_as(
        &self,
        principal: &Principal,
        request: SqlRequest,
    ) -> Result<Answer, QueryError> {
        self.ask_within(principal.read_scope(), principal, request)
            .await
    }

    /// The same for as long as this caller would still be let in.
    pub(crate) async fn ask_while(
        &self,
        access: &Arc<OngoingAccess>,
        principal: &Principal,
        request: SqlRequest,
    ) -> Result<Answer, QueryError> {
        let mut revoked = access.revoked();
        let mut answer = tokio::select! {
            answer = self.ask_as(principal, request) => answer?,
            refusal = &mut revoked => return Err(refusal),
        };
        answer.rows.revoked = revoked;
        Ok(answer)
    }

    /// The same for this caller with what is read given beside it.
    pub(crate) async fn ask_within(
        &self,
        reads: ReadScope,
        principal: &Principal,
        mut request: SqlRequest,
    ) -> Result<Answer, QueryError> {
        request.reads = reads;
        let admitted = self.admit(principal, &mut request)?;
        let execution = admitted
            .wait_for(self.engine.as_ref(), self.engine.execute(&request))
            .await?;
        execution.times.log_slow_start(admitted.ticket.id());
        metrics::counter!("headframe_query_files_total").increment(execution.times.files as u64);
        let schema = named(&execution.schema, &request);
        let Admitted {
            received_at,
            ticket,
            timeout,
            deadline,
        } = admitted;
        let rows = Rows {
            batches: Some(execution.batches),
            schema: schema.clone(),
            deadline: Box::pin(sleep_until(deadline)),
            timeout,
            cancelled: Box::pin(ticket.cancelled()),
            revoked: Box::pin(std::future::pending()),
            max_rows: request.max_rows.unwrap_or(usize::MAX),
            seen: 0,
            ticket,
        };
        Ok(Answer {
            id: rows.ticket.id().to_owned(),
            schema,
            coverage: execution.coverage,
            received_at,
            times: execution.times,
            rows,
        })
    }

    /// Plans a statement for this caller without running it, within the limits of one that runs.
    pub async fn describe_as(
        &self,
        principal: &Principal,
        request: SqlRequest,
    ) -> Result<Description, QueryError> {
        self.describe_within(principal.read_scope(), principal, request)
            .await
    }

    /// The same for this caller with what is read given beside it.
    pub(crate) async fn describe_within(
        &self,
        reads: ReadScope,
        principal: &Principal,
        mut request: SqlRequest,
    ) -> Result<Description, QueryError> {
        request.reads = reads;
        let admitted = self.admit(principal, &mut request)?;
        let described = admitted
            .wait_for(self.engine.as_ref(), self.engine.describe(&request))
            .await?;
        Ok(Description {
            schema: named(&described.schema, &request),
            ..described
        })
    }

    /// Takes a slot and a ticket; the request is given its id and its time.
    fn admit(
        &self,
        principal: &Principal,
        request: &mut SqlRequest,
    ) -> Result<Admitted, QueryError> {
        let slot = self.slot(principal)?;
        let timeout = request
            .timeout
            .map_or(self.timeout, |wanted| wanted.min(self.timeout));
        let received_at = Instant::now();
        let deadline = received_at + timeout;
        let ticket = self.running.enter(
            request.query_id.as_deref(),
            &request.sql,
            &request.reads,
            slot,
        )?;
        request.query_id = Some(ticket.id().to_owned());
        request.timeout = Some(timeout);
        Ok(Admitted {
            received_at,
            ticket,
            timeout,
            deadline,
        })
    }

    /// The refusal of a statement that would find no slot now.
    pub fn check_slot(&self, principal: &Principal) -> Result<(), QueryError> {
        self.slot(principal).map(drop)
    }

    fn slot(&self, principal: &Principal) -> Result<HeldSlot, QueryError> {
        if principal.is_operator()
            && let Ok(slot) = self.operator_slots.clone().try_acquire_owned()
        {
            return Ok(HeldSlot::new(Vec::new(), slot));
        }
        let mut held = Vec::new();
        if matches!(principal.role, Some(Role::Miner(_))) {
            let permit = self.miner_slots.clone().try_acquire_owned();
            held.push(permit.map_err(|_| full_of_miners())?);
        }
        // Programs of a machine that is trusted share one name.
        let quotas = self.quotas.as_ref();
        let quotas = quotas.filter(|_| principal.proof != Proof::LocalProgram);
        if let Some(quotas) = quotas {
            let quota = quotas.quota_of(principal.name.clone()).try_acquire_owned();
            held.push(quota.map_err(|_| over_quota(&principal.name, quotas.size()))?);
        }
        let slot = self.slots.clone().try_acquire_owned();
        let slot = slot.map_err(|_| self.full())?;
        Ok(HeldSlot::new(held, slot))
    }

    fn full(&self) -> QueryError {
        let message = format!(
            "{} queries run already, which is the limit",
            self.max_concurrent
        );
        QueryError::new(
            ErrorCode::ConcurrencyLimit,
            message,
            "try again in a second, or raise query.max_concurrent",
        )
    }
}

/// The error of a caller that has all the slots that one may have.
fn over_quota(name: &str, quota: usize) -> QueryError {
    QueryError::new(
        ErrorCode::ConcurrencyLimit,
        format!("{quota} queries of {name} run already, which is the limit of one caller"),
        "try again in a second, or raise query.max_concurrent_per_principal",
    )
}

/// The error of a miner when others of them have all the slots that they may have.
fn full_of_miners() -> QueryError {
    QueryError::new(
        ErrorCode::ConcurrencyLimit,
        "as many queries of miners run already as may",
        "try again in a second, or raise query.max_concurrent",
    )
}

/// A statement with a slot, before it has an answer.
struct Admitted {
    received_at: Instant,
    ticket: Ticket,
    timeout: Duration,
    deadline: Instant,
}

impl Admitted {
    /// The error of a statement whose time ended before it ran.
    fn late_start(&self, engine: &dyn SqlEngine) -> QueryError {
        let mut error = time_error(self.timeout);
        if let Some(waits_for) = engine.waits_for() {
            error.message.push_str("; it waited for ");
            error.message.push_str(waits_for);
            tracing::warn!(
                query_id = self.ticket.id(),
                waits_for,
                "the time of a statement ended before it ran"
            );
        }
        error
    }

    /// What the engine answers, unless the statement is cancelled or its time ends before.
    async fn wait_for<T>(
        &self,
        engine: &dyn SqlEngine,
        answer: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let answered = tokio::select! {
            biased;
            () = self.ticket.cancelled() => Err(cancel_error(self.ticket.id())),
            () = sleep_until(self.deadline) => Err(self.late_start(engine)),
            answered = answer => answered,
        };
        answered.inspect_err(|error| self.ticket.failed(error.code))
    }
}

/// The rows of a running query.
pub struct Rows {
    batches: Option<BatchStream>,
    schema: SchemaRef,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Gives the refusal of a caller who would not be let in any more.
    revoked: BoxFuture<'static, QueryError>,
    max_rows: usize,
    seen: usize,
    ticket: Ticket,
}

impl Rows {
    /// When the time of the query ends.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline.deadline()
    }

    fn end(&mut self, error: QueryError) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        self.batches = None;
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
            let hint = "add a LIMIT or a WHERE, raise max_rows, or ask for ndjson, csv, arrow or \
                        parquet, which have no limit of their own";
            return Err(QueryError::new(ErrorCode::RowLimit, message, hint));
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
        let Some(batches) = &mut this.batches else {
            return Poll::Ready(None);
        };
        if this.cancelled.as_mut().poll(cx).is_ready() {
            let error = cancel_error(this.ticket.id());
            return this.end(error);
        }
        if let Poll::Ready(refusal) = this.revoked.as_mut().poll(cx) {
            return this.end(refusal);
        }
        if this.deadline.as_mut().poll(cx).is_ready() {
            let error = time_error(this.timeout);
            return this.end(error);
        }
        match batches.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.batches = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.end(error),
            Poll::Ready(Some(Ok(batch))) => match this.count(batch) {
                Ok(batch) => Poll::Ready(Some(Ok(batch))),
                Err(error) => this.end(error),
            },
        }
    }
}

fn cancel_error(id: &str) -> QueryError {
    QueryError::new(
        ErrorCode::Cancelled,
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
        ErrorCode::TimeLimit,
        message,
        "read a shorter time or a coarser rollup, or raise timeout_ms or query.timeout_s",
    )
}

/// The columns as they are told. PostgreSQL's clients count columns and take names that repeat.
fn named(schema: &SchemaRef, request: &SqlRequest) -> SchemaRef {
    match request.postgres {
        Some(_) => schema.clone(),
        None => unique_names(schema),
    }
}

/// The same schema with a number after each name that was there before: `a, a` becomes `a, a_2`.
fn unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken: HashSet<String> = HashSet::new();
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
