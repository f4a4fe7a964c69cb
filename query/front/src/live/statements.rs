//! Statements that subscriptions need: a few at the same time, and the others wait.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::access::{Principal, ReadScope};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::service::{Answer, QueryService};
use crate::slot_quotas::HeldSlot;
use crate::sql::{At, SqlEngine, SqlRequest};

/// Statements of an engine, in slots of their own.
pub(super) struct Statements {
    queries: QueryService,
    slots: Arc<Semaphore>,
    /// What all miners together may have of them, since an address is free.
    miner_slots: Arc<Semaphore>,
    timeout: Option<Duration>,
}

impl Statements {
    /// No statement runs. Each may take `timeout` where that is less than what the configuration
    /// allows.
    pub(super) fn new(
        config: &QueryConfig,
        engine: Arc<dyn SqlEngine>,
        timeout: Option<Duration>,
    ) -> Self {
        Self {
            queries: QueryService::for_subscribers(config, engine),
            slots: Arc::new(Semaphore::new(config.live_slots)),
            miner_slots: Arc::new(Semaphore::new((config.live_slots / 2).max(1))),
            timeout,
        }
    }

    /// Starts a statement when there is a slot, which its answer is to be kept together with.
    pub(super) async fn ask(
        &self,
        principal: &Principal,
        reads: ReadScope,
        sql: String,
        max_rows: Option<usize>,
    ) -> Result<(Answer, HeldSlot), QueryError> {
        let slot = self.slot(&reads).await?;
        let request = self.request(sql, max_rows);
        let answer = self.queries.ask_within(reads, principal, request).await?;
        Ok((answer, slot))
    }

    /// Refuses a statement that cannot be planned for this caller.
    pub(super) async fn check(
        &self,
        principal: &Principal,
        reads: ReadScope,
        sql: String,
    ) -> Result<(), QueryError> {
        let _slot = self.slot(&reads).await?;
        let request = self.request(sql, None);
        self.queries
            .describe_within(reads, principal, request)
            .await?;
        Ok(())
    }

    /// Ends every statement that runs.
    pub(super) fn cancel_all(&self) {
        self.queries.running().cancel_all();
    }

    fn request(&self, sql: String, max_rows: Option<usize>) -> SqlRequest {
        SqlRequest {
            sql,
            params: Value::Null,
            parameters: None,
            at: At::Latest,
            timeout: self.timeout,
            max_rows,
            query_id: None,
            reads: ReadScope::Nothing,
            postgres: None,
        }
    }

    async fn slot(&self, reads: &ReadScope) -> Result<HeldSlot, QueryError> {
        let closed = |_| QueryError::internal("the slots of subscribers are closed");
        let mut quotas = Vec::new();
        if reads.miner().is_some() {
            let permit = self.miner_slots.clone().acquire_owned().await;
            quotas.push(permit.map_err(closed)?);
        }
        let slot = self.slots.clone().acquire_owned().await;
        Ok(HeldSlot::new(quotas, slot.map_err(closed)?))
    }
}

/// Whether the same statement may succeed a little later.
pub(super) fn may_come(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::WorkerLost | ErrorCode::ConcurrencyLimit | ErrorCode::Storage
    )
}
