//! Who may ask: everyone on this machine, or whoever carries the token.
//!
//! Without a token the server listens on loopback only. Even there a web page the user happens to visit could send requests, so
//! a request that names a foreign host or origin is refused.

use std::net::IpAddr;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{Code, QueryError};

/// Paths that answer without a token, so that probes need none; they tell nothing about the data.
const OPEN_PATHS: &[&str] = &["/live", "/ready", "/health"];

/// What a request must carry.
#[derive(Clone)]
pub enum Guard {
    /// Nothing, but it must come from this machine's own programs.
    Loopback,
    /// This bearer token.
    Token(String),
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the bearer token from {path}: {source}; put a token of at least 16 characters into its first line")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Its token can be guessed.
    #[error("the first line of {path} has {length} characters; a bearer token needs at least 16, none of them blank")]
    Weak {
        /// The file.
        path: String,
        /// Characters in its first line.
        length: usize,
    },
}

impl Guard {
    /// The guard for a token file, or for loopback without one.
    pub fn from_file(path: Option<&Path>) -> Result<Self, TokenError> {
        let Some(path) = path else { return Ok(Guard::Loopback) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read { path: name.clone(), source })?;
        let token = text.lines().next().unwrap_or_default().trim().to_owned();
        if token.len() < 16 || token.contains(char::is_whitespace) {
            return Err(TokenError::Weak { path: name, length: token.len() });
        }
        Ok(Guard::Token(token))
    }

    /// Whether a request may pass.
    pub fn check(&self, path: &str, headers: &HeaderMap, uri: &Uri) -> Result<(), QueryError> {
        match self {
            Guard::Loopback => from_this_machine(headers, uri),
            Guard::Token(_) if OPEN_PATHS.contains(&path) => Ok(()),
            Guard::Token(token) => match bearer(headers) {
                Some(given) if same(given.as_bytes(), token.as_bytes()) => Ok(()),
                given => {
                    let what = if given.is_some() { "the bearer token is wrong" } else { "a bearer token is needed" };
                    Err(QueryError::new(Code::Unauthorized, what, "send Authorization: Bearer <token>, the first line of query.token_file"))
                }
            },
        }
    }
}

/// The middleware that asks the guard.
pub async fn layer(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the lengths only.
fn same(given: &[u8], token: &[u8]) -> bool {
    let mut differ = u8::from(given.len() != token.len());
    for (index, byte) in token.iter().enumerate() {
        differ |= byte ^ given.get(index).copied().unwrap_or(0);
        differ = std::hint::black_box(differ);
    }
    differ == 0
}

fn from_this_machine(headers: &HeaderMap, uri: &Uri) -> Result<(), QueryError> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).or_else(|| uri.host());
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let foreign = match (host, origin) {
        (Some(host), _) if !is_loopback(host) => Some(host),
        (_, Some(origin)) => origin.split_once("://").map_or(Some(origin), |(_, host)| (!is_loopback(host)).then_some(host)),
        _ => None,
    };
    let Some(foreign) = foreign else { return Ok(()) };
    let message = format!("this server answers programs on its own machine only, and the request names {foreign}");
    Err(QueryError::new(Code::ForeignOrigin, message, "ask 127.0.0.1 directly, or set query.token_file"))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, same};

    #[test]
    fn tokens_are_equal_only_when_they_are() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"1123456789abcdef", b"0123456789abcdeF"] {
            assert!(!same(wrong, b"0123456789abcdef"), "{wrong:?}");
        }
    }

    #[test]
    fn only_loopback_names_are_this_machine() {
        for name in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["example.org", "10.0.0.1:8080", "localhost.example.org", "[fe80::1]:80", "127.0.0.1.example.org", ""] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
