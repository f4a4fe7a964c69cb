//! An engine that knows a few statements, and pages that know nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use headframe_query_front::access::{Principal, ReadScope};
use headframe_query_front::reports::{
    AnomaliesPage, BlocksPage, ChartSpan, EnergyWindows, HashrateOf, LedgerPage, PastResources,
    PaymentsPage, PayoutsPage, PoolHistory, Row, SignalWindow, TimeSeries, WorkersPage,
};
use headframe_query_front::{
    Description, Engines, ErrorCode, Execution, QueryError, Reports, SqlEngine, SqlRequest,
};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::resource::ResourceVersion;
use headframe_schemas::sql_view::energy::Subject;
use headframe_schemas::stream::violations::Violation;
use serde_json::Value;
use tokio::sync::Semaphore;

/// One row at once.
pub const GOOD: &str = "SELECT 1";
/// A row that is made only when [`Scripted::go_on`] has a permit.
pub const SLOW: &str = "SELECT slow";

/// A statement that waits for ever.
pub const STUCK: &str = "SELECT stuck";

/// What answers [`GOOD`] and [`SLOW`], and refuses everything else.
pub struct Scripted {
    /// A permit for each [`SLOW`] that has begun.
    pub started: Semaphore,
    pub go_on: Semaphore,
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Semaphore::new(0),
            go_on: Semaphore::new(0),
        })
    }

    pub fn engines(self: &Arc<Self>) -> Engines {
        Engines {
            sql: self.clone(),
            reports: Arc::new(NoReports::default()),
        }
    }
}

impl SqlEngine for Scripted {
    fn execute<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Execution, QueryError>> {
        Box::pin(async move {
            match request.sql.as_str() {
                GOOD => {}
                SLOW => {
                    self.started.add_permits(1);
                    self.go_on.acquire().await.unwrap().forget();
                }
                STUCK => std::future::pending().await,
                _ => {
                    let message = "there is no such table";
                    return Err(QueryError::new(ErrorCode::SqlPlan, message, "SHOW TABLES"));
                }
            }
            let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
            let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
            Ok(Execution {
                schema: batch.schema(),
                coverage: Vec::new(),
                times: Default::default(),
                batches: stream::iter([Ok(batch)]).boxed(),
            })
        })
    }

    fn describe<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Description, QueryError>> {
        Box::pin(async move {
            let schema = self.execute(request).await?.schema;
            Ok(Description {
                schema,
                parameters: Vec::new(),
            })
        })
    }

    fn waits_for(&self) -> Option<&'static str> {
        Some("somebody who never comes")
    }
}

/// Pages that know nothing, but the lists that they were given.
#[derive(Default)]
pub struct NoReports {
    pub blocks: Mutex<Option<Value>>,
    /// Those of every miner.
    pub payouts: Mutex<Option<Value>>,
    /// How often it was asked for them.
    pub statements: AtomicUsize,
}

fn none<T>() -> Result<T, QueryError> {
    Err(QueryError::new(ErrorCode::NotFound, "no page", "ask SQL"))
}

#[async_trait]
impl Reports for NoReports {
    async fn pools(&self) -> Result<Value, QueryError> {
        none()
    }

    async fn top_miners(&self, _: usize) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn miner(&self, _: &str) -> Result<Value, QueryError> {
        none()
    }

    async fn workers(&self, _: &str, _: &WorkersPage) -> Result<Value, QueryError> {
        none()
    }

    async fn blocks(&self, _: &BlocksPage) -> Result<Value, QueryError> {
        self.statements.fetch_add(1, Ordering::SeqCst);
        let blocks = self.blocks.lock().unwrap().clone();
        blocks.map_or_else(none, Ok)
    }

    async fn hashrate(&self, _: &HashrateOf, _: &ChartSpan) -> Result<TimeSeries, QueryError> {
        none()
    }

    async fn streams(&self, _: &ReadScope) -> Result<Value, QueryError> {
        none()
    }

    async fn worker_hashrates(&self, _: &str) -> Result<Vec<(String, TimeSeries)>, QueryError> {
        none()
    }

    async fn pool_history(&self, _: &str) -> Result<PoolHistory, QueryError> {
        none()
    }

    async fn worker_totals(&self, _: &str) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn work_since(&self, _: &str, _: &str, _: i64) -> Result<f64, QueryError> {
        none()
    }

    async fn efforts(&self, _: Option<&str>) -> Result<Value, QueryError> {
        none()
    }

    async fn sent_payments(&self, _: &str, _: &PayoutsPage) -> Result<Value, QueryError> {
        none()
    }

    async fn payouts_of_miner(&self, _: &str, _: &PayoutsPage) -> Result<Value, QueryError> {
        let payouts = self.payouts.lock().unwrap().clone();
        payouts.map_or_else(none, Ok)
    }

    async fn payouts_of_block(&self, _: &str, _: &PayoutsPage) -> Result<Value, QueryError> {
        none()
    }

    async fn payout_key(&self, _: Option<&str>) -> Result<Value, QueryError> {
        none()
    }

    async fn payments(&self, _: &str, _: &PaymentsPage) -> Result<Value, QueryError> {
        none()
    }

    async fn ledger(&self, _: &str, _: &LedgerPage) -> Result<Value, QueryError> {
        none()
    }

    async fn payments_of_miner(
        &self,
        _: &PaymentRules,
        _: Option<&PayerStatus>,
        _: &str,
        _: &PaymentsPage,
        _: &Principal,
    ) -> Result<Value, QueryError> {
        none()
    }

    async fn balance(&self, _: &str, _: &str) -> Result<Option<i128>, QueryError> {
        none()
    }

    async fn has_account(&self, _: &str, _: &str) -> Result<bool, QueryError> {
        none()
    }

    async fn payment_steps(&self, _: &str, _: &str) -> Result<Vec<String>, QueryError> {
        none()
    }

    async fn adjustments(&self, _: &str, _: &str, _: i64) -> Result<Vec<(i64, i128)>, QueryError> {
        none()
    }

    async fn has_proof(&self, _: &str) -> Result<bool, QueryError> {
        none()
    }

    async fn power_now(&self, _: &Subject, _: Option<&str>) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn energy(&self, _: &EnergyWindows) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn power(&self, _: &Subject, _: &str, _: &ChartSpan) -> Result<TimeSeries, QueryError> {
        none()
    }

    async fn readings(&self, _: &SignalWindow) -> Result<TimeSeries, QueryError> {
        none()
    }

    async fn allocation_usage(&self) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn anomalies(&self, _: &AnomaliesPage) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn violation_history(&self, _: &str) -> Result<Vec<Row>, QueryError> {
        none()
    }

    async fn violations_over(
        &self,
        _: &[(&'static str, String)],
    ) -> Result<Vec<Violation>, QueryError> {
        none()
    }

    async fn data_completeness(&self, _: &str, _: &str) -> Result<Option<f64>, QueryError> {
        none()
    }

    async fn past_resources(&self, _: &PastResources) -> Result<Vec<ResourceVersion>, QueryError> {
        none()
    }
}
