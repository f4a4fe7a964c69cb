//! The server: it binds first and answers later, so that a port in use ends the start and not the
//! run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::jwt::{JwtVerifier, KeySetError, SigningKeyError};
use crate::access::oidc::{self, OidcLogin, OidcSetupError};
use crate::access::process_accounts::ProcessAccounts;
use crate::access::token::TokenError;
use crate::access::{Guard, GuardedAccounts, WalletLogin};
use crate::app_state::AppState;
use crate::config::{
    AccessConfig, AccessConfigError, ConfigError, PostgresConfig, PostgresConfigError, QueryConfig,
};
use crate::connection;
use crate::route;
use crate::router;
use crate::services::{RouteHandler, Services};
use crate::tls::{TlsCertificate, TlsError};
use crate::wire::postgres::{self, PostgresWire};

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
    /// The configuration of who is taken at whose word is refused.
    #[error(transparent)]
    Access(#[from] AccessConfigError),
    /// The keys of an issuer cannot be used.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The key of our own tokens cannot be used.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// The identity provider cannot be asked.
    #[error(transparent)]
    Oidc(#[from] OidcSetupError),
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
    accounts: Arc<GuardedAccounts>,
    tls: Option<Arc<TlsCertificate>>,
    postgres: Option<(TcpListener, PostgresWire)>,
    postgres_tls: Option<Arc<TlsCertificate>>,
    jwt: Option<Arc<JwtVerifier>>,
}

impl Server {
    /// Checks the configuration, then listens.
    pub async fn bind(
        config: QueryConfig,
        mut services: Services,
    ) -> Result<BoundServer, BindError> {
        config.validate()?;
        services.access.validate()?;
        let jwt = JwtVerifier::load(&services.access.jwt)?;
        let secret = std::env::var(oidc::SECRET_VARIABLE).ok();
        let oidc = OidcLogin::open(&services.access.oidc, secret)?;
        let key_file = services.token_key_file.take();
        let wallet_login = key_file.map(WalletLogin::open).transpose()?;
        let guard = Guard::from_config(&config)?
            .with_payments(services.moves_money)
            .with_jwt(jwt.clone())
            .with_own_tokens(wallet_login.as_ref().map(|login| login.tokens.clone()))
            .with_accounts(services.accounts.clone());
        let handlers = std::mem::take(&mut services.handlers);
        check_listed(&handlers)?;
        let postgres = services.postgres.clone();
        postgres.validate(guard.has_reader_token())?;
        let tls = load_certificate(&config)?;
        let postgres_tls = load_postgres_certificate(&postgres)?;
        let (listener, address) = listen("query.listen", config.listen).await?;
        let app = Arc::new(AppState::new(config, services, wallet_login, oidc));
        let router = router::build(&app, &guard, &handlers);
        let accounts = Arc::new(GuardedAccounts(guard.clone()));
        let postgres = match postgres.listen {
            Some(address) => {
                let (listener, _) = listen("postgres.listen", address).await?;
                let wire = PostgresWire::new(app.clone(), postgres, guard, postgres_tls.clone());
                Some((listener, wire))
            }
            None => None,
        };
        Ok(BoundServer {
            listener,
            address,
            router,
            app,
            accounts,
            tls,
            postgres,
            postgres_tls,
            jwt,
        })
    }
}

/// The certificate of `query.tls`, where it names one.
pub fn load_certificate(config: &QueryConfig) -> Result<Option<Arc<TlsCertificate>>, TlsError> {
    TlsCertificate::load("query.tls", &config.tls, &[b"h2", b"http/1.1"])
}

/// The certificate of `postgres.tls`, where it names one.
pub fn load_postgres_certificate(
    config: &PostgresConfig,
) -> Result<Option<Arc<TlsCertificate>>, TlsError> {
    TlsCertificate::load("postgres.tls", &config.tls, &[postgres::ALPN])
}

/// Whether the keys of the issuer of `access.jwt` can be used, where it names one.
pub fn load_issuer_keys(config: &AccessConfig) -> Result<(), KeySetError> {
    JwtVerifier::load(&config.jwt).map(|_| ())
}

/// Whether the files of `access.oidc` can be used, where it names a provider.
pub fn load_oidc_files(config: &AccessConfig) -> Result<(), OidcSetupError> {
    let secret = std::env::var(oidc::SECRET_VARIABLE).ok();
    OidcLogin::open(&config.oidc, secret).map(|_| ())
}

/// Looks at the files of a certificate for as long as it is served.
async fn follow(certificate: Option<Arc<TlsCertificate>>) {
    match certificate {
        Some(certificate) => certificate.follow().await,
        None => std::future::pending().await,
    }
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

    /// Its users, tokens and sessions, for another server of this process.
    pub fn process_accounts(&self) -> Arc<dyn ProcessAccounts> {
        self.accounts.clone()
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
        let issuer_keys = async {
            match self.jwt {
                Some(jwt) => jwt.follow().await,
                None => std::future::pending().await,
            }
        };
        let certificates = futures::future::join(follow(tls.clone()), follow(self.postgres_tls));
        let pool_metrics = async {
            match (&app.reports, &app.metrics) {
                (Some(reports), Some(_)) => {
                    let host_monitor = app.host_monitor.as_deref();
                    app.pool_metrics
                        .run(
                            reports.as_ref(),
                            app.registry.as_deref(),
                            host_monitor,
                            &app.config,
                        )
                        .await
                }
                _ => std::future::pending().await,
            }
        };
        let serve = async {
            let (listener, router) = (self.listener, self.router);
            let settings = app.config.connections();
            let acceptor = tls.clone().map(|tls| {
                let make: Arc<connection::MakeAcceptor> = Arc::new(move || tls.acceptor());
                make
            });
            let http = connection::serve(listener, router, settings, acceptor, stop.clone());
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
            _ = certificates => Ok(()),
            () = issuer_keys => Ok(()),
        }
    }
}
