//! What the handlers of the routes share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::access::accounts::Accounts;
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::fee_adjustments::FeeAdjustments;
use crate::format::memory::AnswerMemory;
use crate::host_usage::HostMonitor;
use crate::live::Subscriptions;
use crate::payment_service::PaymentService;
use crate::pool_cache::PoolAnswerCache;
use crate::pool_metrics::PoolMetrics;
use crate::probe::Probe;
use crate::reports::Reports;
use crate::request_log::RequestLog;
use crate::service::QueryService;
use crate::services::Services;
use crate::signature_checks::SignatureChecks;

/// Bytes of rows that a client may send at once where no ingest says otherwise.
const DEFAULT_INGEST_BYTES: usize = 4 << 20;

/// What the handlers of the routes share.
pub(crate) struct AppState {
    pub(crate) config: QueryConfig,
    pub(crate) queries: Option<QueryService>,
    pub(crate) reports: Option<Arc<dyn Reports>>,
    pub(crate) subscriptions: Option<Subscriptions>,
    pub(crate) answers: AnswerMemory,
    pub(crate) health: Vec<Arc<dyn Probe>>,
    pub(crate) ready: Vec<Arc<dyn Probe>>,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) host_monitor: Option<Arc<dyn HostMonitor>>,
    pub(crate) pool_metrics: PoolMetrics,
    pub(crate) pool_cache: PoolAnswerCache,
    pub(crate) payout_key: Option<String>,
    pub(crate) payment_service: Option<Arc<dyn PaymentService>>,
    pub(crate) fee_adjustments: FeeAdjustments,
    pub(crate) signature_checks: SignatureChecks,
    /// Bytes of rows that a client may send at once.
    pub(crate) max_ingest_bytes: usize,
    pub(crate) request_log: Option<RequestLog>,
    accounts: Option<Accounts>,
}

impl AppState {
    /// The state of a new server.
    pub(crate) fn new(config: QueryConfig, services: Services) -> Self {
        let (queries, reports, subscriptions) = match services.engines {
            Some(engines) => (
                Some(QueryService::new(&config, engines.sql.clone())),
                Some(engines.reports),
                Some(Subscriptions::new(
                    &config,
                    services.live_tails,
                    engines.sql,
                )),
            ),
            None => (None, None, None),
        };
        Self {
            answers: AnswerMemory::new(&config),
            config,
            queries,
            reports,
            subscriptions,
            health: services.health,
            ready: services.ready,
            metrics: services.metrics,
            host_monitor: services.host_monitor,
            pool_metrics: PoolMetrics::new(),
            pool_cache: PoolAnswerCache::default(),
            payout_key: services.payout_key,
            payment_service: services.payment_service,
            fee_adjustments: FeeAdjustments::default(),
            signature_checks: SignatureChecks::default(),
            max_ingest_bytes: services.max_ingest_bytes.unwrap_or(DEFAULT_INGEST_BYTES),
            request_log: services.request_log,
            accounts: services.accounts,
        }
    }

    /// What runs typed statements.
    pub(crate) fn queries(&self) -> Result<&QueryService, QueryError> {
        self.queries.as_ref().ok_or_else(no_engine)
    }

    /// What sends rows as they come.
    pub(crate) fn subscriptions(&self) -> Result<&Subscriptions, QueryError> {
        self.subscriptions.as_ref().ok_or_else(no_engine)
    }

    /// The users.
    pub(crate) fn accounts(&self) -> Result<&Accounts, QueryError> {
        self.accounts.as_ref().ok_or_else(|| {
            QueryError::new(
                ErrorCode::NotFound,
                "this process knows no users",
                "ask one that `headframe up` started",
            )
        })
    }

    /// What answers the pages.
    pub(crate) fn reports(&self) -> Result<&dyn Reports, QueryError> {
        self.reports.as_deref().ok_or_else(no_engine)
    }
}

fn no_engine() -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        "this process answers no questions about tables",
        "ask one that runs the role query",
    )
}
