//! The server: routes, the guard before them, limits around them.
//!
//! It binds first and answers later, so that a port in use ends the start and not the run. One file
//! a route in `http/`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::auth::{self, Guard, TokenError};
use crate::config::{ConfigError, QueryConfig};
use crate::error::{ErrorCode, QueryError};
use crate::format::memory::AnswerMemory;
use crate::host_usage::HostMonitor;
use crate::payment_service::PaymentService;
use crate::pool_metrics::PoolMetrics;
use crate::probe::Probe;
use crate::reports::Reports;
use crate::service::QueryService;
use crate::sql::{MAX_SQL_BYTES, SqlEngine};

mod blocks;
mod cancel;
mod fee_adjustments;
mod health;
mod instructions;
mod live;
mod metrics_page;
mod miner;
mod payments;
mod payouts;
mod pool;
mod query_params;
mod ready;
mod sql;
mod threshold;
mod workers;

use query_params::QueryParams;

/// How long requests may go on after the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What the root gives the server.
#[derive(Default)]
pub struct Services {
    /// What answers questions. Without it the server tells of health and metrics only.
    pub engines: Option<Engines>,
    /// What must be well for `/health`.
    pub health: Vec<Arc<dyn Probe>>,
    /// What must be there for `/ready`, beside all of `health`.
    pub ready: Vec<Arc<dyn Probe>>,
    /// What `/metrics` shows; without it the page is not there.
    pub metrics: Option<PrometheusHandle>,
    /// Where instructions about payments are handed in; without it the routes about payments answer
    /// that they know nothing.
    pub payment_service: Option<Arc<dyn PaymentService>>,
    /// Who tells how busy the machine is, for `/metrics`.
    pub host_monitor: Option<Arc<dyn HostMonitor>>,
    /// The public half of the key that signs payouts, where this process has it.
    pub payout_key: Option<String>,
    /// Other doors on the same port and behind the same guard. Their own body limits hold.
    pub routes: Router,
}

/// What answers questions: statements that somebody typed, and the fixed ones of the pages.
pub struct Engines {
    /// Runs typed statements.
    pub sql: Arc<dyn SqlEngine>,
    /// Answers the pages.
    pub reports: Arc<dyn Reports>,
}

/// What handlers share.
pub(crate) struct AppState {
    config: QueryConfig,
    queries: Option<QueryService>,
    reports: Option<Arc<dyn Reports>>,
    answers: AnswerMemory,
    health: Vec<Arc<dyn Probe>>,
    ready: Vec<Arc<dyn Probe>>,
    metrics: Option<PrometheusHandle>,
    host_monitor: Option<Arc<dyn HostMonitor>>,
    pool_metrics: PoolMetrics,
    pool_cache: pool::PoolAnswerCache,
    payout_key: Option<String>,
    payment_service: Option<Arc<dyn PaymentService>>,
    fee_adjustments: fee_adjustments::FeeAdjustments,
}

impl AppState {
    /// What runs typed statements.
    fn queries(&self) -> Result<&QueryService, QueryError> {
        self.queries.as_ref().ok_or_else(no_engine)
    }

    /// What answers the pages.
    fn reports(&self) -> Result<&dyn Reports, QueryError> {
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

/// A path and what answers there.
pub(crate) struct Route {
    path: &'static str,
    methods: MethodRouter<Arc<AppState>>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; set query.listen to another address, or stop what listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Makes servers.
pub struct Server;

/// A server that listens but does not answer yet.
pub struct BoundServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    app: Arc<AppState>,
}

impl Server {
    /// Checks the configuration, then listens.
    pub async fn bind(config: QueryConfig, services: Services) -> Result<BoundServer, BindError> {
        config.validate()?;
        let guard = Guard::from_config(&config)?;
        let address = config.listen;
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let Services {
            engines,
            health,
            ready,
            metrics,
            host_monitor,
            payout_key,
            payment_service,
            routes,
        } = services;
        let answers = engines.is_some();
        let (queries, reports) = match engines {
            Some(engines) => (
                Some(QueryService::new(&config, engines.sql)),
                Some(engines.reports),
            ),
            None => (None, None),
        };
        let (pool_metrics, pool_cache, fee_adjustments) = (
            PoolMetrics::new(),
            pool::PoolAnswerCache::default(),
            fee_adjustments::FeeAdjustments::default(),
        );
        let app = Arc::new(AppState {
            answers: AnswerMemory::new(&config),
            config,
            queries,
            reports,
            health,
            ready,
            metrics,
            host_monitor,
            pool_metrics,
            pool_cache,
            payout_key,
            payment_service,
            fee_adjustments,
        });
        let router = router(app.clone(), answers, routes, guard);
        Ok(BoundServer {
            listener,
            address,
            router,
            app,
        })
    }
}

impl BoundServer {
    /// Where it listens; the port is known even when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All routes, for calling without a socket.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Answers until `stop`, then lets requests end, cancels the queries that still run, and
    /// returns.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        tracing::info!(address = %self.address, "sql server listens");
        let app = self.app;
        let pool_metrics = async {
            match (&app.reports, &app.metrics) {
                (Some(reports), Some(_)) => {
                    let host_monitor = app.host_monitor.as_deref();
                    app.pool_metrics
                        .run(reports.as_ref(), host_monitor, &app.config)
                        .await
                }
                _ => std::future::pending().await,
            }
        };
        let asked = stop.clone();
        let serve = axum::serve(self.listener, self.router)
            .with_graceful_shutdown(async move { asked.cancelled().await });
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN / 2).await;
            if let Some(queries) = &app.queries {
                queries.running().cancel_all();
            }
            tokio::time::sleep(DRAIN / 2).await;
        };
        tokio::select! {
            ended = serve.into_future() => ended,
            () = late => Ok(()),
            () = pool_metrics => Ok(()),
        }
    }
}

fn router(app: Arc<AppState>, answers: bool, others: Router, guard: Guard) -> Router {
    let told = [
        health::route(),
        ready::route(),
        live::route(),
        metrics_page::route(),
    ];
    let paid = [payouts::of_miner(), payouts::of_block(), payouts::key()];
    let facts = [
        pool::route(),
        miner::route(),
        workers::route(),
        blocks::route(),
    ]
    .into_iter()
    .chain(paid)
    .chain(payments::routes())
    .chain([instructions::route(), threshold::route()]);
    let asked = if answers {
        [sql::route(), cancel::route()]
            .into_iter()
            .chain(facts)
            .collect()
    } else {
        Vec::new()
    };
    let mut router = Router::new();
    for route in told.into_iter().chain(asked) {
        router = router.route(route.path, route.methods);
    }
    // Compressed formats gain nothing by being compressed again.
    let worth = DefaultPredicate::new().and(NotForContentType::const_new(
        "application/vnd.apache.parquet",
    ));
    router
        .layer(DefaultBodyLimit::max(2 * MAX_SQL_BYTES))
        .with_state(app)
        .layer(CompressionLayer::new().compress_when(worth))
        .merge(others)
        .fallback(move |method, uri| no_such_path(answers, method, uri))
        .layer(axum::middleware::from_fn_with_state(
            guard,
            auth::require_permission,
        ))
}

async fn no_such_path(answers: bool, method: Method, uri: Uri) -> Response {
    let message = format!("there is nothing at {method} {}", uri.path());
    let hint = if answers {
        "SQL is at /api/v1/sql, pools at /api/v1/pool"
    } else {
        "this process tells of its health only; ask one that runs the role query"
    };
    QueryError::new(ErrorCode::NotFound, message, hint).into_response()
}

/// Microseconds since 1970.
fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
