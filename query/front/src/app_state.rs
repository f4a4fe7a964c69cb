//! What the handlers of the routes share.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;

use crate::access::WalletLogin;
use crate::access::accounts::Accounts;
use crate::access::oidc::OidcLogin;
use crate::answer_cache::AnswerCache;
use crate::chain_monitor::ChainMonitor;
use crate::compliance::Compliance;
use crate::config::QueryConfig;
use crate::encoded_json::EncodedJson;
use crate::error::{ErrorCode, QueryError};
use crate::fee_adjustments::FeeAdjustments;
use crate::format::memory::AnswerMemory;
use crate::host_usage::HostMonitor;
use crate::live::Subscriptions;
use crate::long_polls::LongPolls;
use crate::payment_service::PaymentService;
use crate::photo_store::Photos;
use crate::pool_block::PoolBlock;
use crate::pool_metrics::PoolMetrics;
use crate::pool_terms::PoolTerms;
use crate::probe::SharedProbe;
use crate::registry::Registry;
use crate::reports::{Reports, TimeSeries};
use crate::request_log::RequestLog;
use crate::service::QueryService;
use crate::services::Services;
use crate::signature_checks::SignatureChecks;

/// Bytes of rows that a client may send at once where no ingest says otherwise.
const DEFAULT_INGEST_BYTES: usize = 4 << 20;

/// How old the answer about all pools may be.
const POOL_MAX_AGE: Duration = Duration::from_secs(2);

/// How old an answer about the past may be that every open page polls.
const PAGE_MAX_AGE: Duration = Duration::from_secs(10);

/// Answers about what visitors named that are kept at most; each may have hundreds of kilobytes.
const VISITOR_ANSWERS: usize = 64;

/// What the handlers of the routes share.
pub(crate) struct AppState {
    pub(crate) config: QueryConfig,
    /// Another one at each start.
    pub(crate) instance: String,
    pub(crate) queries: Option<QueryService>,
    pub(crate) reports: Option<Arc<dyn Reports>>,
    pub(crate) subscriptions: Option<Subscriptions>,
    pub(crate) answers: AnswerMemory,
    pub(crate) health: Vec<SharedProbe>,
    pub(crate) ready: Vec<SharedProbe>,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) host_monitor: Option<Arc<dyn HostMonitor>>,
    pub(crate) chain_monitor: Option<Arc<dyn ChainMonitor>>,
    pub(crate) pool_metrics: PoolMetrics,
    /// The answer about all pools, under one name.
    pool_cache: AnswerCache<EncodedJson>,
    pub(crate) series_cache: AnswerCache<Arc<TimeSeries>>,
    /// The same drawn, by its size as well.
    pub(crate) drawing_cache: AnswerCache<Bytes>,
    /// Answers about a pool that pages poll, by route and parameters.
    pub(crate) page_cache: AnswerCache<EncodedJson>,
    /// The same by what a visitor named, so that many of those push nothing else out.
    pub(crate) visitor_cache: AnswerCache<EncodedJson>,
    /// Hashrate of each worker of the miners that visitors look at.
    pub(crate) worker_hashrate_cache: AnswerCache<Arc<Vec<(String, TimeSeries)>>>,
    /// The blocks of the configured pool.
    pub(crate) block_cache: AnswerCache<Arc<Vec<PoolBlock>>>,
    pub(crate) pool_terms: Option<PoolTerms>,
    pub(crate) payout_key: Option<String>,
    pub(crate) payment_service: Option<Arc<dyn PaymentService>>,
    pub(crate) fee_adjustments: FeeAdjustments,
    pub(crate) registry: Option<Arc<dyn Registry>>,
    pub(crate) photos: Option<Photos>,
    pub(crate) compliance: Option<Arc<dyn Compliance>>,
    pub(crate) signature_checks: SignatureChecks,
    /// Bytes of rows that a client may send at once.
    pub(crate) max_ingest_bytes: usize,
    pub(crate) request_log: Option<RequestLog>,
    pub(crate) long_polls: LongPolls,
    accounts: Option<Accounts>,
    wallet_login: Option<WalletLogin>,
    oidc: Option<Arc<OidcLogin>>,
}

impl AppState {
    /// The state of a new server.
    pub(crate) fn new(
        config: QueryConfig,
        services: Services,
        wallet_login: Option<WalletLogin>,
        oidc: Option<Arc<OidcLogin>>,
    ) -> Self {
        let (queries, reports, subscriptions) = match services.engines {
            Some(engines) => (
                Some(QueryService::new(&config, engines.sql.clone())),
                Some(engines.reports),
                Some(Subscriptions::new(
                    &config,
                    services.live_tails,
                    services.place_key,
                    engines.sql,
                )),
            ),
            None => (None, None, None),
        };
        Self {
            answers: AnswerMemory::new(&config),
            config,
            instance: uuid::Uuid::new_v4().simple().to_string(),
            queries,
            reports,
            subscriptions,
            health: services.health.into_iter().map(SharedProbe::new).collect(),
            ready: services.ready.into_iter().map(SharedProbe::new).collect(),
            metrics: services.metrics,
            host_monitor: services.host_monitor,
            chain_monitor: services.chain_monitor,
            pool_metrics: PoolMetrics::new(),
            pool_cache: AnswerCache::new(POOL_MAX_AGE),
            series_cache: AnswerCache::new(PAGE_MAX_AGE),
            drawing_cache: AnswerCache::new(PAGE_MAX_AGE).with_capacity(VISITOR_ANSWERS),
            page_cache: AnswerCache::new(PAGE_MAX_AGE),
            visitor_cache: AnswerCache::new(PAGE_MAX_AGE).with_capacity(VISITOR_ANSWERS),
            worker_hashrate_cache: AnswerCache::new(PAGE_MAX_AGE).with_capacity(VISITOR_ANSWERS),
            block_cache: AnswerCache::new(PAGE_MAX_AGE),
            pool_terms: services.pool_terms,
            payout_key: services.payout_key,
            payment_service: services.payment_service,
            fee_adjustments: FeeAdjustments::default(),
            registry: services.registry,
            photos: services.photos.map(Photos::new),
            compliance: services.compliance,
            signature_checks: SignatureChecks::default(),
            max_ingest_bytes: services.max_ingest_bytes.unwrap_or(DEFAULT_INGEST_BYTES),
            request_log: services.request_log,
            long_polls: LongPolls::new(),
            accounts: services.accounts,
            wallet_login,
            oidc,
        }
    }

    /// Each pool now, as `GET /api/v1/pool` has it: every page polls it.
    pub(crate) async fn pools(&self) -> Result<EncodedJson, QueryError> {
        let reports = self.reports()?;
        let make = async || EncodedJson::new(&reports.pools().await?);
        self.pool_cache.get("pools".to_owned(), make).await
    }

    /// An answer about a pool that pages poll, made at most every ten seconds.
    pub(crate) async fn page_answer(
        &self,
        name: String,
        make: impl AsyncFnOnce() -> Result<Value, QueryError>,
    ) -> Result<EncodedJson, QueryError> {
        let make = async || EncodedJson::new(&make().await?);
        self.page_cache.get(name, make).await
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

    /// What miners sign in with by wallet.
    pub(crate) fn wallet_login(&self) -> Result<&WalletLogin, QueryError> {
        self.wallet_login.as_ref().ok_or_else(|| {
            QueryError::new(
                ErrorCode::NotFound,
                "nobody signs in by wallet at this process",
                "ask one that runs the role query",
            )
        })
    }

    /// The identity provider.
    pub(crate) fn oidc(&self) -> Result<&OidcLogin, QueryError> {
        self.oidc.as_deref().ok_or_else(|| {
            QueryError::new(
                ErrorCode::NotFound,
                "nobody signs in with an identity provider here",
                "name one in access.oidc",
            )
        })
    }

    /// The terms of the pool.
    pub(crate) fn pool_terms(&self) -> Result<&PoolTerms, QueryError> {
        self.pool_terms.as_ref().ok_or_else(|| {
            QueryError::new(
                ErrorCode::NotFound,
                "this process knows no pool",
                "ask one whose configuration names stratum.wallet",
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
