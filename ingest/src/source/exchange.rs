//! Asks a device over HTTP, TCP, Modbus or SNMP: bounded in bytes here, and in time by the caller.
//!
//! Polling goes through [`Exchange::ask`]. What writes to devices, as the site controller does,
//! uses the single requests: [`Exchange::http`], [`Exchange::send`], [`Exchange::plain_get`],
//! [`Exchange::modbus`] and [`SnmpLink::ask`].

use std::collections::{HashMap, VecDeque};
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::HeaderMap;
pub use tokio_modbus::{Request as ModbusRequest, Response as ModbusResponse};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_modbus::Slave;
use tokio_modbus::client::{Client, tcp};

use super::config::Target;
use super::configured::ConfiguredSource;
use super::credentials::Credentials;
use super::snmp_message::{self, Version};
use super::{Query, Request, SnmpObjects};

mod login;
mod mqtt;
mod snmp;

pub use snmp::SnmpLink;

use mqtt::{SessionPlan, SessionSlot};

/// The longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No whole answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// HTTP, but no success.
    #[error("the device answers HTTP {0}")]
    Status(u16),
    /// HTTP 429 or 503, and it wants to be left alone for this long.
    #[error("the device answers HTTP {0} and wants a pause of {1:?}")]
    Busy(u16, Duration),
    /// The device says that it cannot.
    #[error("{0}")]
    Refused(String),
    /// More bytes than it may send.
    #[error("the answer is longer than max_body_bytes, {0}")]
    TooLong(usize),
    /// It answers, but not in a way that can be read.
    #[error("{0}")]
    Malformed(String),
}

impl Failure {
    /// As it stands in the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) | Self::Busy(..) | Self::Refused(_) => "refused",
            Self::TooLong(_) => "too_long",
            Self::Malformed(_) => "malformed",
        }
    }
}

fn unreachable(error: &std::io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}

/// The sessions of sources that subscribe, by site and name.
type Sessions = HashMap<(String, String), Arc<SessionSlot>>;

/// Asks devices; clones share what they connect with.
#[derive(Clone)]
pub struct Exchange {
    http: reqwest::Client,
    sessions: Arc<Mutex<Sessions>>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Exchange")
    }
}

impl Exchange {
    /// Nothing of the environment redirects a request: no proxy, and no redirection is followed, so
    /// that a device cannot send us elsewhere. A connection is closed after its answer, because
    /// small devices have few.
    pub fn new() -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .http1_only()
            .build()
            .map_err(|error| format!("no HTTP client can be made: {error}"))?;
        Ok(Self {
            http,
            sessions: Arc::default(),
        })
    }

    /// The answers to the requests of one poll.
    pub async fn ask(&self, source: &ConfiguredSource) -> Result<Vec<Option<Bytes>>, Failure> {
        let mut answers = Vec::new();
        let mut requests = VecDeque::from(source.device.requests());
        while let Some(request) = requests.pop_front() {
            let Request { query, optional } = request;
            match Box::pin(self.answer(source, query)).await {
                Ok(answer) => answers.push(Some(answer)),
                Err(_) if optional => answers.push(None),
                Err(failure) => return Err(failure),
            }
            if requests.is_empty() {
                requests.extend(source.next_request(&answers));
            }
        }
        Ok(answers)
    }

    async fn answer(&self, source: &ConfiguredSource, query: Query) -> Result<Bytes, Failure> {
        let most = source.config.max_body_bytes;
        match (&source.target, query) {
            (Target::Http(url), Query::Get(path)) => self.get(source, url, &path).await,
            (Target::Host(host), Query::Send(bytes)) => send(host, &bytes, most, Some(0)).await,
            (Target::Host(host), Query::PlainGet(path)) => {
                let request = plain_get(host, &path, &source.credentials);
                send(host, request.as_bytes(), most, None).await
            }
            (
                Target::Host(host),
                Query::Registers {
                    unit,
                    input,
                    address,
                    count,
                },
            ) => registers(host, unit, input, address, count).await,
            (Target::Host(host), Query::Snmp(version, objects)) => {
                snmp_objects(host, version, &objects, source).await
            }
            (Target::Broker(broker), Query::Messages(subscription)) => {
                let plan = SessionPlan {
                    broker,
                    credentials: &source.credentials,
                    subscription: &subscription,
                    most,
                };
                self.session(source).messages(&plan).await
            }
            _ => Err(Failure::Refused(
                "its kind and its address do not fit together".to_owned(),
            )),
        }
    }

    /// The session of a source, which lasts from poll to poll.
    fn session(&self, source: &ConfiguredSource) -> Arc<SessionSlot> {
        let key = (source.config.site.clone(), source.config.name.clone());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(key).or_default().clone()
    }

    async fn get(
        &self,
        source: &ConfiguredSource,
        base: &url::Url,
        path: &str,
    ) -> Result<Bytes, Failure> {
        let request = HttpRequest {
            credentials: &source.credentials,
            most: source.config.max_body_bytes,
            ..HttpRequest::get(format!("{}{path}", base.as_str().trim_end_matches('/')))
        };
        let answer = match source.is_login_by_challenge() {
            true => self.http_by_challenge(request).await?,
            false => self.http(request).await?,
        };
        match answer.status {
            200..300 => Ok(answer.body),
            429 | 503 => match retry_after(&answer.headers) {
                Some(pause) => Err(Failure::Busy(answer.status, pause)),
                None => Err(Failure::Status(answer.status)),
            },
            status => Err(Failure::Status(status)),
        }
    }

    /// One HTTP request; an answer of any status is one. No redirection is followed.
    pub async fn http(&self, request: HttpRequest<'_>) -> Result<HttpAnswer, Failure> {
        let mut builder = self.http.request(request.method, &request.url);
        builder = match request.credentials {
            Credentials::None => builder,
            Credentials::Basic { user, password } => builder.basic_auth(user, Some(password)),
            Credentials::Token { scheme, token } => {
                builder.header("Authorization", format!("{scheme} {token}"))
            }
        };
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let mut answer = builder.send().await.map_err(|error| http_failure(&error))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| http_failure(&error))? {
            if body.len() + chunk.len() > request.most {
                return Err(Failure::TooLong(request.most));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer {
            status: answer.status().as_u16(),
            headers: std::mem::take(answer.headers_mut()),
            body: body.freeze(),
        })
    }

    /// Sends bytes to `host:port` and takes what comes until the end, or until a chunk with the
    /// byte `end`.
    pub async fn send(
        &self,
        host: &str,
        bytes: &[u8],
        most: usize,
        end: Option<u8>,
    ) -> Result<Bytes, Failure> {
        send(host, bytes, most, end).await
    }

    /// An HTTP GET of a device that may answer without headers: all that comes until the end.
    pub async fn plain_get(
        &self,
        host: &str,
        path: &str,
        credentials: &Credentials,
        most: usize,
    ) -> Result<Bytes, Failure> {
        let request = plain_get(host, path, credentials);
        send(host, request.as_bytes(), most, None).await
    }

    /// One Modbus request to the unit behind `host:port`.
    pub async fn modbus(
        &self,
        host: &str,
        unit: u8,
        request: ModbusRequest<'static>,
    ) -> Result<ModbusResponse, Failure> {
        modbus(host, unit, request).await
    }
}

/// One HTTP request.
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    /// GET, POST and so on.
    pub method: Method,
    /// The whole address.
    pub url: String,
    /// How it proves who asks.
    pub credentials: &'a Credentials,
    /// Headers beside that.
    pub headers: &'a [(&'static str, String)],
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// Bytes that the answer may have.
    pub most: usize,
}

impl HttpRequest<'_> {
    /// A GET without anything else, whose answer may have 256 KiB.
    pub fn get(url: String) -> Self {
        Self {
            method: Method::GET,
            url,
            credentials: &Credentials::None,
            headers: &[],
            body: None,
            most: 256 * 1024,
        }
    }
}

/// The answer to it.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// 200 and so on.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, bounded.
    pub body: Bytes,
}

/// Seconds in the header `Retry-After`, at most an hour; its other form, a date, is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds = seconds.parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The innermost reason; the outer ones repeat the address.
fn http_failure(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // The address of a request never stands in the innermost reason, a password in it neither.
    match error.source().is_some() {
        true => Failure::Unreachable(cause.to_string()),
        false => Failure::Unreachable("the request failed".to_owned()),
    }
}

fn plain_get(host: &str, path: &str, credentials: &Credentials) -> String {
    let login = match credentials {
        Credentials::Basic { user, password } => {
            let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("Authorization: Basic {login}\r\n")
        }
        _ => String::new(),
    };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n")
}

/// Sends bytes and takes what comes until the end or this byte.
async fn send(host: &str, bytes: &[u8], most: usize, end: Option<u8>) -> Result<Bytes, Failure> {
    let mut stream = TcpStream::connect(host)
        .await
        .map_err(|error| unreachable(&error))?;
    stream
        .write_all(bytes)
        .await
        .map_err(|error| unreachable(&error))?;
    let mut answer = BytesMut::with_capacity(4096);
    loop {
        let before = answer.len();
        let read = stream
            .read_buf(&mut answer)
            .await
            .map_err(|error| unreachable(&error))?;
        if answer.len() > most {
            return Err(Failure::TooLong(most));
        }
        if read == 0 || end.is_some_and(|end| answer[before..].contains(&end)) {
            break;
        }
    }
    match answer.is_empty() {
        true => Err(Failure::Unreachable(
            "the device closed the connection without an answer".to_owned(),
        )),
        false => Ok(answer.freeze()),
    }
}

/// Reads objects.
async fn snmp_objects(
    host: &str,
    version: Version,
    objects: &SnmpObjects,
    source: &ConfiguredSource,
) -> Result<Bytes, Failure> {
    let community = match &source.credentials {
        Credentials::None => "public",
        Credentials::Token { token, .. } => token,
        Credentials::Basic { .. } => {
            let text = "the community is the secret; remove user";
            return Err(Failure::Refused(text.to_owned()));
        }
    };
    let link = SnmpLink {
        host,
        version,
        community,
    };
    let found = match objects {
        SnmpObjects::Single(oids) => link.get(oids).await?,
        SnmpObjects::Below(prefix, most) => link.walk(prefix, *most).await?,
    };
    let bytes = snmp_message::bindings_bytes(&found);
    match bytes.len() <= source.config.max_body_bytes {
        true => Ok(bytes.into()),
        false => Err(Failure::TooLong(source.config.max_body_bytes)),
    }
}

/// Reads registers: two bytes each, the high one first.
async fn registers(
    host: &str,
    unit: u8,
    input: bool,
    address: u16,
    count: u16,
) -> Result<Bytes, Failure> {
    let request = match input {
        true => ModbusRequest::ReadInputRegisters(address, count),
        false => ModbusRequest::ReadHoldingRegisters(address, count),
    };
    match modbus(host, unit, request).await? {
        ModbusResponse::ReadInputRegisters(words) | ModbusResponse::ReadHoldingRegisters(words) => {
            Ok(words.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        _ => Err(Failure::Malformed(
            "the answer is of another function than was asked for".to_owned(),
        )),
    }
}

/// Calls a unit. Not by the library's methods for single functions: in a debug build they panic at
/// an answer of another length, which the caller refuses.
async fn modbus(
    host: &str,
    unit: u8,
    request: ModbusRequest<'static>,
) -> Result<ModbusResponse, Failure> {
    let stream = TcpStream::connect(host)
        .await
        .map_err(|error| unreachable(&error))?;
    let mut device = tcp::attach_slave(stream, Slave(unit));
    let shown = format!("{request:?}");
    match device.call(request).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(exception)) => Err(Failure::Refused(format!(
            "the device refuses {shown}: {exception}"
        ))),
        Err(tokio_modbus::Error::Transport(error)) => Err(unreachable(&error)),
        Err(tokio_modbus::Error::Protocol(error)) => Err(Failure::Malformed(format!(
            "the answer is not the one of Modbus: {error}"
        ))),
    }
}
