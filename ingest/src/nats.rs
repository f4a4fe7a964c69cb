//! One connection to NATS, with TLS and credentials, that reconnects for ever and tells when it
//! did.
//!
//! Secrets come from files or from the environment, never from the configuration file itself.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub mod provision;
pub mod server;

/// Environment variable with the password, used when no password file is named.
pub const PASSWORD_ENV: &str = "HEADFRAME_NATS_PASSWORD";
/// Environment variable with a token, used when neither user nor credentials are named.
pub const TOKEN_ENV: &str = "HEADFRAME_NATS_TOKEN";

/// Where NATS is and how to get in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// `nats://host:port`, `tls://host:port`, or several separated by commas.
    pub url: String,
    /// The name the server shows for this connection.
    pub name: String,
    /// A file with the seed of an nkey, as a managed server's folder holds them.
    pub nkey_file: Option<PathBuf>,
    /// A `.creds` file (JWT and nkey seed).
    pub credentials_file: Option<PathBuf>,
    /// User name; the password comes from `password_file` or from [`PASSWORD_ENV`].
    pub user: Option<String>,
    /// A file with the password; its trailing newline is ignored.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate, when it is not a public one.
    pub tls_ca: Option<PathBuf>,
    /// PEM file of our certificate, for mutual TLS.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of our key, for mutual TLS.
    pub tls_key: Option<PathBuf>,
    /// Whether a connection without TLS is refused.
    pub tls_required: bool,
    /// How long the first connection may take, in seconds.
    pub connect_timeout_s: u64,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            name: "headframe".to_owned(),
            nkey_file: None,
            credentials_file: None,
            user: None,
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_required: false,
            connect_timeout_s: 5,
        }
    }
}

impl NatsConfig {
    /// Refuses what could only fail while connecting. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        for url in self.url.split(',').map(str::trim) {
            let address: ServerAddr = url.parse().map_err(|error| {
                format!("nats.url names {url:?}: {error}; write nats://host:port")
            })?;
            if address.has_user_pass() {
                return Err(format!(
                    "nats.url carries a password; set nats.user, and nats.password_file or \
                     {PASSWORD_ENV}"
                ));
            }
        }
        let files = [
            ("nkey_file", &self.nkey_file),
            ("credentials_file", &self.credentials_file),
            ("password_file", &self.password_file),
            ("tls_ca", &self.tls_ca),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
        ];
        for (key, path) in files
            .into_iter()
            .filter_map(|(key, path)| Some((key, path.as_ref()?)))
        {
            std::fs::read(path).map_err(|error| {
                format!(
                    "nats.{key} is {}, which cannot be read: {error}",
                    path.display()
                )
            })?;
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(
                "nats.tls_cert and nats.tls_key belong together; give both or neither".to_owned(),
            );
        }
        if self.nkey_file.is_some() && (self.credentials_file.is_some() || self.user.is_some()) {
            return Err(
                "nats.nkey_file is one way to log in, nats.credentials_file and nats.user are \
                 others; give one of them"
                    .to_owned(),
            );
        }
        if self.credentials_file.is_some() && self.user.is_some() {
            return Err(
                "nats.credentials_file and nats.user are two ways to log in; give one of them"
                    .to_owned(),
            );
        }
        if self.user.is_some()
            && self.password_file.is_none()
            && std::env::var_os(PASSWORD_ENV).is_none()
        {
            return Err(format!(
                "nats.user is set but no password: set nats.password_file or {PASSWORD_ENV}"
            ));
        }
        if self.user.is_none() && self.password_file.is_some() {
            return Err(
                "nats.password_file is set but nats.user is not; whose password is it".to_owned(),
            );
        }
        if self.connect_timeout_s == 0 {
            return Err("nats.connect_timeout_s is 0; it must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// A file named in the configuration cannot be read.
    #[error("cannot read {what} {path}: {source}; check the path and its permissions")]
    File {
        /// What the file is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration contradicts itself.
    #[error("nats configuration: {0}")]
    Config(String),
    /// The server cannot be reached or refuses us.
    #[error(
        "cannot connect to NATS at {url}: {source}; check that the server runs and the credentials \
         are right"
    )]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        source: async_nats::ConnectError,
    },
}

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Nats {
    /// The plain client.
    pub client: Client,
    /// JetStream on that client.
    pub js: Context,
    connected: watch::Receiver<u64>,
    denied: Arc<Mutex<Option<String>>>,
}

impl Nats {
    /// Connects. Later disconnections are repaired in the background, for ever.
    pub async fn connect(config: &NatsConfig) -> Result<Self, NatsError> {
        Self::connect_with(config, options(config).await?).await
    }

    /// Begins to connect, and goes on until it succeeds: for whoever works without NATS, too.
    pub async fn connect_in_background(config: &NatsConfig) -> Result<Self, NatsError> {
        let options = options(config).await?.retry_on_initial_connect();
        Self::connect_with(config, options).await
    }

    async fn connect_with(config: &NatsConfig, options: ConnectOptions) -> Result<Self, NatsError> {
        // More than one provider is linked into the product and rustls will not choose; an earlier
        // choice of the process stands.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (connects, connected) = watch::channel(0_u64);
        let denied = Arc::new(Mutex::new(None));
        let denials = denied.clone();
        let options = options.event_callback(move |event| {
            note(&event, &connects, &denials);
            async {}
        });
        let servers: Vec<String> = config
            .url
            .split(',')
            .map(|url| url.trim().to_owned())
            .collect();
        let client = options
            .connect(servers)
            .await
            .map_err(|source| NatsError::Connect {
                url: config.url.clone(),
                source,
            })?;
        let js = ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .ack_timeout(Duration::from_secs(5))
            .build(client.clone());
        Ok(Self {
            client,
            js,
            connected,
            denied,
        })
    }

    /// How often this client has connected so far. It rises before the first byte of the new
    /// connection is handed to anyone, so whoever sees the same number before and after has read
    /// from one connection.
    pub fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Whether there is a connection at this moment; without one the client is trying to get it
    /// back.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Changes after every connect; for waking up, while [`Nats::connects`] is for deciding.
    pub fn connected(&self) -> watch::Receiver<u64> {
        self.connected.clone()
    }

    /// Bytes of rows that one message takes.
    pub fn max_message_bytes(&self) -> usize {
        // Before the first connection the client does not know the limit; ours and the server's
        // headers need some of it.
        match self.client.max_payload() {
            0 => 1024 * 1024 - 4096,
            bytes => bytes.saturating_sub(4096).max(1024),
        }
    }

    /// Sends a message once and waits for JetStream's answer.
    pub(crate) async fn publish_once(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<PublishAck, PublishError> {
        self.js.send_publish(subject, message).await?.await
    }

    /// The server's last complaint about missing permissions, taken away by the call.
    pub fn take_denied(&self) -> Option<String> {
        self.denied
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }
}

fn note(event: &Event, connects: &watch::Sender<u64>, denied: &Mutex<Option<String>>) {
    match event {
        Event::Connected => {
            connects.send_modify(|count| *count += 1);
            tracing::info!("connected to nats");
        }
        Event::Disconnected => tracing::warn!("disconnected from nats; reconnecting"),
        Event::ServerError(error) => {
            let text = error.to_string();
            tracing::warn!(error = %text, "nats server reports an error");
            if text.to_ascii_lowercase().contains("permissions violation") {
                *denied
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(text);
            }
        }
        Event::SlowConsumer(sid) => {
            tracing::warn!(sid, "nats client dropped messages of a slow subscription")
        }
        other => tracing::debug!(event = %other, "nats event"),
    }
    metrics::counter!("headframe_nats_events_total", "event" => kind(event)).increment(1);
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::SlowConsumer(_) => "slow_consumer",
        Event::ServerError(_) => "server_error",
        _ => "other",
    }
}

async fn options(config: &NatsConfig) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(Duration::from_secs(config.connect_timeout_s.max(1)))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis((20_u64 << attempts.min(6)).min(1_000))
        });
    if let Some(path) = &config.nkey_file {
        let seed = read("nkey file", path).await?;
        options = options.nkey(seed.trim().to_owned());
    } else if let Some(path) = &config.credentials_file {
        let text = read("credentials file", path).await?;
        options = options
            .credentials(&text)
            .map_err(|source| NatsError::File {
                what: "credentials file",
                path: path.clone(),
                source,
            })?;
    } else if let Some(user) = &config.user {
        options = options.user_and_password(user.clone(), password(config).await?);
    } else if let Ok(token) = std::env::var(TOKEN_ENV) {
        options = options.token(token);
    }
    if let Some(path) = &config.tls_ca {
        read("TLS authority", path).await?;
        options = options.add_root_certificates(path.clone());
    }
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            read("TLS certificate", cert).await?;
            read("TLS key", key).await?;
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        (None, None) => {}
        _ => {
            return Err(NatsError::Config(
                "tls_cert and tls_key belong together; give both or neither".to_owned(),
            ));
        }
    }
    Ok(if config.tls_required {
        options.require_tls(true)
    } else {
        options
    })
}

async fn password(config: &NatsConfig) -> Result<String, NatsError> {
    match &config.password_file {
        Some(path) => Ok(read("password file", path)
            .await?
            .trim_end_matches(['\r', '\n'])
            .to_owned()),
        None => std::env::var(PASSWORD_ENV).map_err(|_| {
            NatsError::Config(format!(
                "a user is set but no password: set password_file or {PASSWORD_ENV}"
            ))
        }),
    }
}

async fn read(what: &'static str, path: &PathBuf) -> Result<String, NatsError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| NatsError::File {
            what,
            path: path.clone(),
            source,
        })
}
