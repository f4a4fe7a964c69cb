//! The PostgreSQL wire: what psql, Grafana and every driver of PostgreSQL speak.
//!
//! `pgwire` gives the types, SCRAM and what a message is called. Its own server reads messages of a
//! gigabyte, panics at short ones, keeps whole answers in memory and does not notice a client that
//! hangs up, so that connections, messages and statements are handled here. A statement goes the
//! way of every other: the same engine, slots, limits, list of running queries, and live rows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use crate::access::accounts::Standing;
use crate::access::{Guard, Proof};
use crate::app_state::AppState;
use crate::config::PostgresConfig;
use crate::connection::limits::ConnectionLimits;
use crate::held_refusals::RefusalDelays;
use crate::peer::network_of;
use crate::sqlstate::SqlState;
use crate::tls::TlsCertificate;
use crate::wire::postgres::backends::{Backends, RunningQuery};
use crate::wire::postgres::login::{Admitted, Caller, Login};
use crate::wire::postgres::message::Startup;
use crate::wire::postgres::outcome::{Ended, Input, Output};
use crate::wire::postgres::reply::{Replies, Severity};
use crate::wire::postgres::session::{Entered, Session, SessionRefusals};
use crate::wire::postgres::settings::SessionSettings;
use crate::wire::postgres::transport::{Transport, Transports};

mod backends;
mod column_types;
mod command;
mod copy;
mod encode;
pub(super) mod lexer;
mod login;
pub mod message;
mod outcome;
pub mod parameter;
mod reader;
mod reply;
mod running;
mod session;
pub mod settings;
mod transport;
mod words;

pub(crate) use transport::ALPN;

/// Pause after the system refused a connection, as it does when descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection over a limit may take to hear of it.
const REFUSAL: Duration = Duration::from_secs(1);

/// The wire of one server.
pub(crate) struct PostgresWire {
    app: Arc<AppState>,
    config: PostgresConfig,
    login: Login,
    transports: Transports,
    backends: Arc<Backends>,
    refusals: Arc<RefusalDelays>,
}

/// A connection that asks to come in.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    peer: SocketAddr,
    /// What TLS is spoken with, where it is.
    certificate: Option<&'a CertificateDer<'static>>,
    /// When the log-in has to be done.
    deadline: Instant,
}

impl PostgresWire {
    /// Over the statements of this server. With a certificate TLS is spoken as well.
    pub(crate) fn new(
        app: Arc<AppState>,
        config: PostgresConfig,
        guard: Guard,
        certificate: Option<Arc<TlsCertificate>>,
    ) -> Self {
        let transports = Transports {
            certificate,
            max_bytes: config.max_message_kib << 10,
            message_timeout: Duration::from_millis(app.config.body_timeout_ms),
            write_timeout: Duration::from_millis(app.config.write_timeout_ms),
        };
        Self {
            app,
            login: Login::new(guard, &config),
            config,
            transports,
            backends: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// Accepts connections until `stop`, then waits until all have ended.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let wire = Arc::new(self);
        let limits = ConnectionLimits::new(
            wire.config.max_connections,
            wire.config.max_connections_per_address,
            "headframe_postgres_connections",
        );
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (wire, stop) = (wire.clone(), stop.clone());
            match limits.admit(peer.ip()) {
                Ok(permit) => tasks.spawn(async move {
                    let _permit = permit;
                    wire.handle(stream, peer, &stop).await;
                }),
                Err(_) => {
                    metrics::counter!("headframe_postgres_connections_refused_total").increment(1);
                    tasks.spawn(async move {
                        let refused = refuse_connection(stream);
                        let _ = tokio::time::timeout(REFUSAL, refused).await;
                    })
                }
            };
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    async fn handle(&self, stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) {
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + Duration::from_millis(self.config.login_timeout_ms);
        let opened = tokio::select! {
            opened = self.transports.open(stream, deadline) => opened,
            () = stop.cancelled() => None,
        };
        let Some(Transport {
            mut input,
            mut output,
            certificate,
        }) = opened
        else {
            return;
        };
        let incoming = Incoming {
            peer,
            certificate: certificate.as_ref(),
            deadline,
        };
        let entered = tokio::select! {
            entered = self.enter(incoming, &mut input, &mut output) => entered,
            () = stop.cancelled() => Err(Ended::Gone),
        };
        match entered {
            Ok(Some((entered, standing))) => {
                let idle = Duration::from_secs(self.config.idle_timeout_s);
                let (app, backend) = (self.app.clone(), self.backends.register());
                let query = backend.query.clone();
                let session = Session::new(app, (input, output), entered, backend, idle);
                let stop = stop.child_token();
                let revoked = self.end_when_revoked(standing, &stop, query);
                // A session is large, and most connections are none yet.
                let run = Box::pin(session.run(&stop));
                tokio::select! {
                    () = run => {}
                    () = revoked => {}
                }
            }
            Err(Ended::Refused(state, message)) => {
                output.error(Severity::Fatal, state, &message, "");
                // The client may be gone as well.
                let _ = output.shutdown().await;
            }
            Ok(None) | Err(Ended::Gone | Ended::Silent) => {}
        }
    }

    /// From the first packet to the end of the log-in; `None` where no session was asked for.
    async fn enter(
        &self,
        incoming: Incoming<'_>,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Option<(Entered, Option<Standing>)>, Ended> {
        match input.startup(incoming.deadline).await? {
            Startup::Tls | Startup::Gss => {
                let message = "a session begins with a start-up packet".to_owned();
                Err(Ended::Refused(SqlState::ProtocolViolation, message))
            }
            // Older clients cancel in clear what they do in TLS. The key is worth nothing else.
            Startup::Cancel { backend, key } => {
                self.cancel(backend, &key);
                Ok(None)
            }
            Startup::Session { minor, parameters } => self
                .log_in(incoming, input, output, minor, parameters)
                .await
                .map(Some),
        }
    }

    /// Returns some time after the rights that a session rests on ended: until then it may tell its
    /// client why it ends.
    async fn end_when_revoked(
        &self,
        standing: Option<Standing>,
        stop: &CancellationToken,
        query: RunningQuery,
    ) {
        let Some(standing) = standing else {
            return std::future::pending().await;
        };
        standing.ended().await;
        stop.cancel();
        if let (Some(id), Ok(queries)) = (query.id(), self.app.queries()) {
            queries.running().cancel(&id);
        }
        tokio::time::sleep(REFUSAL).await;
    }

    /// Ends what a session does, for whoever knows its key. The answer is the same either way.
    fn cancel(&self, backend: i32, key: &[u8]) {
        if let (Some(id), Ok(queries)) = (self.backends.query_of(backend, key), self.app.queries())
        {
            queries.running().cancel(&id);
        }
    }

    async fn log_in(
        &self,
        incoming: Incoming<'_>,
        input: &mut Input,
        output: &mut Output,
        minor: u16,
        parameters: Vec<(String, String)>,
    ) -> Result<(Entered, Option<Standing>), Ended> {
        let extensions = parameters.iter().map(|(name, _)| name.as_str());
        let extensions: Vec<&str> = extensions
            .filter(|name| name.starts_with("_pq_."))
            .collect();
        if minor > 0 || !extensions.is_empty() {
            output.negotiate_version(&extensions);
        }
        let value = |wanted: &str| {
            let mut parameters = parameters.iter();
            parameters
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let Some(user) = value("user").filter(|user| !user.is_empty()) else {
            let message = "the start-up packet names no user".to_owned();
            return Err(Ended::Refused(SqlState::InvalidAuthorization, message));
        };
        if value("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0"))
        {
            let message = "this server has no replication".to_owned();
            return Err(Ended::Refused(SqlState::FeatureNotSupported, message));
        }
        let caller = Caller {
            user,
            peer: incoming.peer.ip(),
            certificate: incoming.certificate,
        };
        if self.config.require_tls && incoming.certificate.is_none() {
            return Err(self.login.refuse_plain(caller).await);
        }
        let Admitted {
            principal,
            standing,
        } = self
            .login
            .admit(caller, input, output, incoming.deadline)
            .await?;
        let mut settings = SessionSettings::new(user);
        for (name, value) in settings_of(&parameters) {
            settings
                .set(&name.to_lowercase(), Some(value.to_owned()))
                .map_err(|error| Ended::Refused(error.sqlstate(), error.message))?;
        }
        let user = match principal.proof {
            Proof::Token | Proof::Jwt => principal.name.to_string(),
            _ => user.to_owned(),
        };
        let entered = Entered {
            principal,
            settings,
            user,
            refusals: SessionRefusals {
                delays: self.refusals.clone(),
                address: network_of(incoming.peer.ip()),
            },
        };
        Ok((entered, standing))
    }
}

/// The settings in a start-up packet: every name that is none of the protocol's, and those in
/// `options`, written as `-c name=value`.
fn settings_of(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut settings = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                let words = value.split_whitespace();
                let words =
                    words.map(|word| word.trim_start_matches("-c").trim_start_matches("--"));
                settings.extend(words.filter_map(|word| word.split_once('=')));
            }
            name if name.starts_with("_pq_.") => {}
            name => settings.push((name, value.as_str())),
        }
    }
    settings
}

async fn refuse_connection(stream: TcpStream) -> std::io::Result<()> {
    let mut output = Replies::new(stream, REFUSAL);
    let hint = "close some, or raise postgres.max_connections";
    let message = "sorry, too many clients already";
    output.error(Severity::Fatal, SqlState::TooManyConnections, message, hint);
    output.shutdown().await
}
