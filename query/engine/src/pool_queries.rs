//! The fixed questions about pools, miners and blocks, which the REST routes and the metrics page
//! answer.
//!
//! They are statements to the engine like anybody's, over the same tables and live tail, so there
//! is no second truth. Each has a time and a row limit of its own. Now is measured over the raw
//! shares of ten minutes, everything longer over rollups.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use serde_json::Value;

use async_trait::async_trait;
use headframe_query_front::access::{Principal, ReadScope};
use headframe_query_front::answers::pool::Verdicts;
use headframe_query_front::format::ndjson;
use headframe_query_front::reports::{
    AnomaliesPage, BlocksPage, ChartSpan, EnergyWindows, HashrateOf, LedgerPage, PastResources,
    PaymentsPage, PayoutsPage, PoolHistory, Reports, Row, SignalWindow, TimeSeries, WorkersPage,
};
use headframe_query_front::{At, QueryConfig, QueryError, QueryService, SqlEngine, SqlRequest};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::resource::ResourceVersion;
use headframe_schemas::sql_view::energy::Subject;
use headframe_schemas::stream::violations::Violation;

use crate::source::Source;

pub mod anomalies;
pub mod blocks;
pub mod efforts;
pub mod energy;
pub mod hashrate;
pub mod history;
pub mod ledger;
pub mod miner;
pub mod payments;
pub mod payouts;
pub mod pools;
pub mod registry;
pub mod span;
pub mod streams;
pub mod top;
pub mod violations;
pub mod workers;

/// Seconds of shares that tell the hashrate of now; a miner without an accepted one among them
/// counts as gone.
pub const NOW_S: i64 = 600;
/// The longest a statement may run.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More rows than any answer has.
const MAX_ROWS: usize = 10_000;

/// The fixed questions as statements to an engine in this process, with slots of their own.
pub struct SqlReports {
    service: QueryService,
    /// What is looked at without a statement.
    sources: Vec<Arc<dyn Source>>,
}

impl SqlReports {
    /// Over this engine.
    pub fn new(config: &QueryConfig, engine: Arc<dyn SqlEngine>) -> Self {
        Self {
            service: QueryService::for_pages(config, engine),
            sources: Vec::new(),
        }
    }

    /// The same with the streams that `/api/v1/streams` lists.
    pub fn with_sources(self, sources: Vec<Arc<dyn Source>>) -> Self {
        Self { sources, ..self }
    }
}

#[async_trait]
impl Reports for SqlReports {
    async fn pools(&self) -> Result<Value, QueryError> {
        pools::answer(&self.service).await
    }

    async fn top_miners(&self, limit: usize) -> Result<Vec<Row>, QueryError> {
        top::miners(&self.service, limit).await
    }

    async fn miner(&self, miner: &str) -> Result<Value, QueryError> {
        miner::answer(&self.service, miner).await
    }

    async fn workers(&self, miner: &str, page: &WorkersPage) -> Result<Value, QueryError> {
        workers::answer(&self.service, miner, page).await
    }

    async fn blocks(&self, page: &BlocksPage) -> Result<Value, QueryError> {
        blocks::answer(&self.service, page).await
    }

    async fn hashrate(&self, of: &HashrateOf, span: &ChartSpan) -> Result<TimeSeries, QueryError> {
        hashrate::series(&self.service, of, span).await
    }

    async fn worker_hashrates(&self, miner: &str) -> Result<Vec<(String, TimeSeries)>, QueryError> {
        history::of_each_worker(&self.service, miner).await
    }

    async fn pool_history(&self, pool: &str) -> Result<PoolHistory, QueryError> {
        history::of_pool(&self.service, pool).await
    }

    async fn worker_totals(&self, miner: &str) -> Result<Vec<Row>, QueryError> {
        history::of_workers(&self.service, miner).await
    }

    async fn work_since(&self, pool: &str, miner: &str, since_s: i64) -> Result<f64, QueryError> {
        history::work_since(&self.service, pool, miner, since_s).await
    }

    async fn streams(&self, reads: &ReadScope) -> Result<Value, QueryError> {
        Ok(streams::answer(&self.sources, reads, streams::PATIENCE).await)
    }

    async fn efforts(&self, pool: Option<&str>) -> Result<Value, QueryError> {
        efforts::answer(&self.service, pool).await
    }

    async fn sent_payments(&self, pool: &str, page: &PayoutsPage) -> Result<Value, QueryError> {
        payments::sent(&self.service, pool, page).await
    }

    async fn payouts_of_miner(&self, miner: &str, page: &PayoutsPage) -> Result<Value, QueryError> {
        payouts::of_miner(&self.service, miner, page).await
    }

    async fn payouts_of_block(&self, hash: &str, page: &PayoutsPage) -> Result<Value, QueryError> {
        payouts::of_block(&self.service, hash, page).await
    }

    async fn payout_key(&self, own: Option<&str>) -> Result<Value, QueryError> {
        payouts::key(&self.service, own).await
    }

    async fn payments(&self, pool: &str, page: &PaymentsPage) -> Result<Value, QueryError> {
        payments::list(&self.service, pool, page).await
    }

    async fn ledger(&self, pool: &str, page: &LedgerPage) -> Result<Value, QueryError> {
        ledger::answer(&self.service, pool, page).await
    }

    async fn payments_of_miner(
        &self,
        rules: &PaymentRules,
        payer: Option<&PayerStatus>,
        miner: &str,
        page: &PaymentsPage,
        principal: &Principal,
    ) -> Result<Value, QueryError> {
        payments::miner(&self.service, rules, payer, miner, page, principal).await
    }

    async fn balance(&self, pool: &str, account: &str) -> Result<Option<i128>, QueryError> {
        payments::balance(&self.service, pool, account).await
    }

    async fn has_account(&self, pool: &str, miner: &str) -> Result<bool, QueryError> {
        payments::known(&self.service, pool, miner).await
    }

    async fn payment_steps(&self, pool: &str, payment: &str) -> Result<Vec<String>, QueryError> {
        payments::steps(&self.service, pool, payment).await
    }

    async fn adjustments(
        &self,
        pool: &str,
        account: &str,
        since: i64,
    ) -> Result<Vec<(i64, i128)>, QueryError> {
        payments::adjusted(&self.service, pool, account, since).await
    }

    async fn has_proof(&self, proof: &str) -> Result<bool, QueryError> {
        payments::used(&self.service, proof).await
    }

    async fn power_now(&self, of: &Subject, id: Option<&str>) -> Result<Vec<Row>, QueryError> {
        energy::power_now(&self.service, of, id).await
    }

    async fn energy(&self, windows: &EnergyWindows) -> Result<Vec<Row>, QueryError> {
        energy::energy(&self.service, windows).await
    }

    async fn power(
        &self,
        of: &Subject,
        id: &str,
        span: &ChartSpan,
    ) -> Result<TimeSeries, QueryError> {
        energy::power(&self.service, of, id, span).await
    }

    async fn readings(&self, window: &SignalWindow) -> Result<TimeSeries, QueryError> {
        anomalies::readings(&self.service, window).await
    }

    async fn allocation_usage(&self) -> Result<Vec<Row>, QueryError> {
        energy::allocation_usage(&self.service).await
    }

    async fn anomalies(&self, page: &AnomaliesPage) -> Result<Vec<Row>, QueryError> {
        anomalies::page(&self.service, page).await
    }

    async fn violation_history(&self, id: &str) -> Result<Vec<Row>, QueryError> {
        violations::history(&self.service, id).await
    }

    async fn violations_over(
        &self,
        subjects: &[(&'static str, String)],
    ) -> Result<Vec<Violation>, QueryError> {
        violations::over(&self.service, subjects).await
    }

    async fn data_completeness(
        &self,
        subject_kind: &str,
        subject: &str,
    ) -> Result<Option<f64>, QueryError> {
        violations::completeness(&self.service, subject_kind, subject).await
    }

    async fn past_resources(
        &self,
        page: &PastResources,
    ) -> Result<Vec<ResourceVersion>, QueryError> {
        registry::past(&self.service, page).await
    }
}

/// The rows of one statement. Exact amounts are to be cast to text in it, because readers of JSON
/// round large numbers.
async fn rows(service: &QueryService, sql: String, params: Value) -> Result<Vec<Row>, QueryError> {
    let request = SqlRequest {
        sql,
        params,
        parameters: None,
        at: At::Latest,
        timeout: Some(TIMEOUT),
        max_rows: Some(MAX_ROWS),
        query_id: None,
        reads: ReadScope::Nothing,
        postgres: None,
    };
    let mut answer = service.ask(request).await?;
    let mut rows = Vec::new();
    while let Some(batch) = answer.rows.next().await.transpose()? {
        rows.extend(rows_of(&batch)?);
    }
    Ok(rows)
}

/// The rows of a batch.
fn rows_of(batch: &RecordBatch) -> Result<Vec<Row>, QueryError> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let lines = ndjson::lines(batch)?;
    let lines = lines.split(|byte| *byte == b'\n');
    let row = |line: &[u8]| {
        serde_json::from_slice(line)
            .map_err(|error| QueryError::internal(format!("a row is not JSON: {error}")))
    };
    lines.filter(|line| !line.is_empty()).map(row).collect()
}

/// A number of a row; 0 where there is none, as sums over nothing give.
fn number(row: Option<&Row>, name: &str) -> f64 {
    row.and_then(|row| row.get(name))
        .and_then(Value::as_f64)
        .unwrap_or(0.0)
}

/// A count of a row; 0 where there is none.
fn count(row: Option<&Row>, name: &str) -> i64 {
    row.and_then(|row| row.get(name))
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// A value of a row; null where there is none.
fn value(row: Option<&Row>, name: &str) -> Value {
    row.and_then(|row| row.get(name))
        .cloned()
        .unwrap_or(Value::Null)
}

/// A text of a row, where there is one.
fn text(row: Option<&Row>, name: &str) -> Option<String> {
    row?.get(name)?.as_str().map(str::to_owned)
}

/// A page of rows of which one more than wanted was selected, and the cursor of the next page.
fn cut(mut rows: Vec<Row>, limit: usize) -> (Vec<Row>, Option<i64>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.and_then(|last| last.get("cursor")?.as_i64());
    (rows, next)
}

/// The verdicts of a row with the columns `accepted`, `stale` and `rejected`.
fn verdicts(row: Option<&Row>) -> Verdicts {
    Verdicts {
        accepted: count(row, "accepted"),
        stale: count(row, "stale"),
        rejected: count(row, "rejected"),
    }
}

/// The columns that add up raw shares.
fn share_sums() -> &'static str {
    "sum(CASE WHEN outcome = 'accepted' THEN 1 ELSE 0 END) AS accepted, sum(CASE WHEN outcome = \
     'stale' THEN 1 ELSE 0 END) AS stale, sum(CASE WHEN outcome IN ('accepted', 'stale') THEN 0 \
     ELSE 1 END) AS rejected, sum(CASE WHEN outcome = 'accepted' THEN CAST(difficulty AS DOUBLE) \
     ELSE 0 END) AS work, sum(CASE WHEN outcome = 'accepted' AND solo THEN CAST(difficulty AS \
     DOUBLE) ELSE 0 END) AS solo_work, max(CASE WHEN outcome = 'accepted' THEN event_time END) AS \
     last_share_at"
}

/// The columns that add up windows.
fn window_sums() -> &'static str {
    "sum(accepted_shares) AS accepted, sum(stale_shares) AS stale, sum(rejected_shares) AS \
     rejected, CAST(sum(accepted_difficulty) AS DOUBLE) AS work, CAST(sum(solo_difficulty) AS \
     DOUBLE) AS solo_work, CAST(sum(accepted_difficulty) AS \
     VARCHAR) AS work_hashes"
}

/// The raw shares of now.
fn recent() -> String {
    format!("shares WHERE event_time > now() - INTERVAL '{NOW_S} seconds'")
}
