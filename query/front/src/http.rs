//! The server: routes, the guard before them, limits around them.
//!
//! It binds first and answers later, so that a port in use ends the start and not the run. One file
//! a route in `http/`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
use crate::desk::Desk;
use crate::error::{Code, QueryError};
use crate::figures::Figures;
use crate::format::memory::AnswerMemory;
use crate::machine::Machine;
use crate::probe::Probe;
use crate::reports::Reports;
use crate::service::QueryService;
use crate::sql::{MAX_SQL_BYTES, SqlEngine};

mod asked;
mod blocks;
mod cancel;
mod health;
mod live;
mod metrics_page;
mod miner;
mod orders;
mod payments;
mod payouts;
mod pool;
mod ready;
mod sql;
mod workers;

use asked::Asked;

/// How long requests may go on after the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What the root gives the server.
#[derive(Default)]
pub struct Wiring {
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
    pub desk: Option<Arc<dyn Desk>>,
    /// Who tells how busy the machine is, for `/metrics`.
    pub machine: Option<Arc<dyn Machine>>,
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
pub(crate) struct App {
    config: QueryConfig,
    queries: Option<QueryService>,
    reports: Option<Arc<dyn Reports>>,
    answers: AnswerMemory,
    health: Vec<Arc<dyn Probe>>,
    ready: Vec<Arc<dyn Probe>>,
    metrics: Option<PrometheusHandle>,
    machine: Option<Arc<dyn Machine>>,
    figures: Figures,
    pools: pool::Kept,
    payout_key: Option<String>,
    desk: Option<Arc<dyn Desk>>,
    orders: orders::Orders,
}

impl App {
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
        Code::NotFound,
        "this process answers no questions about tables",
        "ask one that runs the role query",
    )
}

/// A path and what answers there.
pub(crate) struct Route {
    path: &'static str,
    methods: MethodRouter<Arc<App>>,
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
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    app: Arc<App>,
}

impl Server {
    /// Checks the configuration, then listens.
    pub async fn bind(config: QueryConfig, wiring: Wiring) -> Result<Bound, BindError> {
        config.validate()?;
        let guard = Guard::of(&config)?;
        let address = config.listen;
        let listen = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let Wiring {
            engines,
            health,
            ready,
            metrics,
            machine,
            payout_key,
            desk,
            routes,
        } = wiring;
        let answers = engines.is_some();
        let (queries, reports) = match engines {
            Some(engines) => (
                Some(QueryService::new(&config, engines.sql)),
                Some(engines.reports),
            ),
            None => (None, None),
        };
        let (figures, pools, orders) = (
            Figures::new(),
            pool::Kept::default(),
            orders::Orders::default(),
        );
        let app = Arc::new(App {
            answers: AnswerMemory::new(&config),
            config,
            queries,
            reports,
            health,
            ready,
            metrics,
            machine,
            figures,
            pools,
            payout_key,
            desk,
            orders,
        });
        let router = router(app.clone(), answers, routes, guard);
        Ok(Bound {
            listener,
            address,
            router,
            app,
        })
    }
}

impl Bound {
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
        let figures = async {
            match (&app.reports, &app.metrics) {
                (Some(reports), Some(_)) => {
                    let machine = app.machine.as_deref();
                    app.figures
                        .run(reports.as_ref(), machine, &app.config)
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
            () = figures => Ok(()),
        }
    }
}

fn router(app: Arc<App>, answers: bool, others: Router, guard: Guard) -> Router {
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
    .chain(payments::routes());
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
        .layer(axum::middleware::from_fn_with_state(guard, auth::layer))
}

async fn no_such_path(answers: bool, method: Method, uri: Uri) -> Response {
    let message = format!("there is nothing at {method} {}", uri.path());
    let hint = if answers {
        "SQL is at /api/v1/sql, pools at /api/v1/pool"
    } else {
        "this process tells of its health only; ask one that runs the role query"
    };
    QueryError::new(Code::NotFound, message, hint).into_response()
}
