//! Asks a device over HTTP, TCP or Modbus: bounded in bytes here, and in time by the caller.

use std::error::Error as _;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_modbus::client::{Client, tcp};
use tokio_modbus::{Request as ModbusRequest, Response, Slave};

use super::config::Target;
use super::configured::ConfiguredSource;
use super::credentials::Credentials;
use super::{Query, Request};

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
            Self::Status(_) | Self::Refused(_) => "refused",
            Self::TooLong(_) => "too_long",
            Self::Malformed(_) => "malformed",
        }
    }
}

fn unreachable(error: &std::io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}

/// Asks devices; clones share what they connect with.
#[derive(Debug, Clone)]
pub struct Exchange {
    http: reqwest::Client,
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
        Ok(Self { http })
    }

    /// The answers to the requests of one poll.
    pub async fn ask(&self, source: &ConfiguredSource) -> Result<Vec<Option<Bytes>>, Failure> {
        let mut answers = Vec::new();
        for request in source.device.requests() {
            let Request { query, optional } = request;
            match Box::pin(self.answer(source, query)).await {
                Ok(answer) => answers.push(Some(answer)),
                Err(_) if optional => answers.push(None),
                Err(failure) => return Err(failure),
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
            _ => Err(Failure::Refused(
                "its kind and its address do not fit together".to_owned(),
            )),
        }
    }

    async fn get(
        &self,
        source: &ConfiguredSource,
        base: &url::Url,
        path: &str,
    ) -> Result<Bytes, Failure> {
        let most = source.config.max_body_bytes;
        let url = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let mut request = self.http.get(url);
        request = match &source.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Token { scheme, token } => {
                request.header("Authorization", format!("{scheme} {token}"))
            }
        };
        let mut answer = request.send().await.map_err(|error| http_failure(&error))?;
        if !answer.status().is_success() {
            return Err(Failure::Status(answer.status().as_u16()));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| http_failure(&error))? {
            if body.len() + chunk.len() > most {
                return Err(Failure::TooLong(most));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
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

/// Reads registers: two bytes each, the high one first.
async fn registers(
    host: &str,
    unit: u8,
    input: bool,
    address: u16,
    count: u16,
) -> Result<Bytes, Failure> {
    let stream = TcpStream::connect(host)
        .await
        .map_err(|error| unreachable(&error))?;
    let mut device = tcp::attach_slave(stream, Slave(unit));
    // Not by the library's methods for it: in a debug build they panic at an answer of another
    // length, which the parser refuses.
    let request = match input {
        true => ModbusRequest::ReadInputRegisters(address, count),
        false => ModbusRequest::ReadHoldingRegisters(address, count),
    };
    match device.call(request).await {
        Ok(Ok(Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words))) => {
            Ok(words.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        Ok(Ok(_)) => Err(Failure::Malformed(
            "the answer is of another function than was asked for".to_owned(),
        )),
        Ok(Err(exception)) => Err(Failure::Refused(format!(
            "the device refuses to read {count} registers from {address}: {exception}"
        ))),
        Err(tokio_modbus::Error::Transport(error)) => Err(unreachable(&error)),
        Err(tokio_modbus::Error::Protocol(error)) => Err(Failure::Malformed(format!(
            "the answer is not the one of Modbus: {error}"
        ))),
    }
}
