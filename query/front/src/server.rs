//! The server: it binds first and answers later, so that a port in use ends the start and not the
//! run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::Guard;
use crate::access::token::TokenError;
use crate::app_state::AppState;
use crate::config::{ConfigError, PostgresConfigError, QueryConfig};
use crate::connection;
use crate::route;
use crate::router;
use crate::services::{RouteHandler, Services};
use crate::tls::{TlsCertificate, TlsError};
use crate::wire::postgres::PostgresWire;

/// How long requests may go on after the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The configuration of the PostgreSQL wire is refused.
    #[error(transparent)]
    Postgres(#[from] PostgresConfigError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; set {key} to another address, or stop what \
         listens there"
    )]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A handler would answer where no guard was decided.
    #[error("{method} {path} is not in the list of routes; add it there with its permission")]
    UnlistedRoute {
        /// The handler's method.
        method: String,
        /// The handler's path.
        path: &'static str,
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
    tls: Option<Arc<TlsCertificate>>,
    postgres: Option<(TcpListener, PostgresWire)>,
}

impl Server {
    /// Checks the configuration, then listens.
    pub async fn bind(
        config: QueryConfig,
        mut services: Services,
    ) -> Result<BoundServer, BindError> {
        config.validate()?;
        let guard = Guard::from_config(&config)?
            .with_payments(services.moves_money)
            .with_accounts(services.accounts.clone());
        let handlers = std::mem::take(&mut services.handlers);
        check_listed(&handlers)?;
        let postgres = services.postgres.clone();
        postgres.validate(guard.has_reader_token())?;
        let tls = load_certificate(&config)?;
        let (listener, address) = listen("query.listen", config.listen).await?;
        let app = Arc::new(AppState::new(config, services));
        let router = router::build(&app, &guard, &handlers);
        let postgres = match postgres.listen {
            Some(address) => {
                let (listener, _) = listen("postgres.listen", address).await?;
                Some((listener, PostgresWire::new(app.clone(), postgres, guard)))
            }
            None => None,
        };
        Ok(BoundServer {
            listener,
            address,
            router,
            app,
            tls,
            postgres,
        })
    }
}

/// The certificate of `query.tls`, where it names one.
pub fn load_certificate(config: &QueryConfig) -> Result<Option<Arc<TlsCertificate>>, TlsError> {
    TlsCertificate::load("query.tls", &config.tls, &[b"h2", b"http/1.1"])
}

async fn listen(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen {
        key,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn check_listed(handlers: &[RouteHandler]) -> Result<(), BindError> {
    let listed = |handler: &RouteHandler| {
        route::ALL.iter().any(|route| {
            route.is_of_another_crate()
                && route.method == handler.method
                && route.path == handler.path
        })
    };
    match handlers.iter().find(|handler| !listed(handler)) {
        Some(handler) => Err(BindError::UnlistedRoute {
            method: handler.method.to_string(),
            path: handler.path,
        }),
        None => Ok(()),
    }
}

impl BoundServer {
    /// Where it listens; the port is known even when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as programs write it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where the PostgreSQL wire listens, when it does.
    pub fn postgres_address(&self) -> Option<SocketAddr> {
        let (listener, _) = self.postgres.as_ref()?;
        listener.local_addr().ok()
    }

    /// All routes, for calling without a socket.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Answers until `stop`, then lets requests end, cancels the queries that still run, and
    /// returns.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let tls = self.tls;
        tracing::info!(address = %self.address, tls = tls.is_some(), "sql server listens");
        let app = self.app;
        let certificate = async {
            match &tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
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
        let serve = async {
            let (listener, router) = (self.listener, self.router);
            let http = connection::serve(listener, router, &app.config, tls.clone(), stop.clone());
            let postgres = async {
                if let Some((listener, wire)) = self.postgres {
                    wire.serve(listener, stop.clone()).await;
                }
            };
            tokio::join!(http, postgres);
        };
        let drained = async {
            stop.cancelled().await;
            // They would go on for ever: each is told, and ends before anything is waited for.
            if let Some(subscriptions) = &app.subscriptions {
                subscriptions.drain();
            }
            tokio::time::sleep(DRAIN / 2).await;
            if let Some(queries) = &app.queries {
                queries.running().cancel_all();
            }
            tokio::time::sleep(DRAIN / 2).await;
        };
        tokio::select! {
            () = serve => Ok(()),
            () = drained => Ok(()),
            () = pool_metrics => Ok(()),
            () = certificate => Ok(()),
        }
    }
}
