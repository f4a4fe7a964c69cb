//! Who may ask: everyone on this machine, or whoever carries a token.
//!
//! Without a token the server listens on loopback only. Even there a web page the user happens to
//! visit could send requests, so a request that names a foreign host or origin is refused. To read
//! and to give orders are two things, with a token each: whoever may see the figures may not move
//! money. The pool's pages can be opened to everybody.

use std::net::IpAddr;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::permission::Permission;
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

mod permission;

/// The environment variable with the operator's token.
pub const OPERATOR_VARIABLE: &str = "HEADFRAME_OPERATOR_TOKEN";

/// Who asks, for answers that do not tell everybody the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Somebody without a token, to whom the pool's pages or the probes are open.
    Anonymous,
    /// Whoever may read everything.
    Reader,
}

/// What requests must carry.
#[derive(Clone, Default)]
pub struct Guard {
    /// The token to read with; without one, requests must come from this machine's own programs.
    reader: Option<String>,
    /// The token to change something with; it reads as well.
    operator: Option<String>,
    /// Whether the pool's pages are for everybody.
    public: bool,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(
        "{key}: cannot read the bearer token from {path}: {source}; put a token of at least 16 characters into its first line"
    )]
    Read {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// It can be guessed.
    #[error(
        "{key}: the token has {length} characters; a bearer token needs at least 16, none of them blank"
    )]
    Weak {
        /// The configuration's key, or the variable.
        key: &'static str,
        /// Characters in it.
        length: usize,
    },
    /// Then every reader would be an operator.
    #[error(
        "query.token_file and query.operator_token_file (or {OPERATOR_VARIABLE}) hold the same token; make another one for operators"
    )]
    Same,
}

impl Guard {
    /// The guard that the configuration and the environment ask for.
    pub fn from_config(config: &QueryConfig) -> Result<Self, TokenError> {
        Self::from_config_and_token(config, std::env::var(OPERATOR_VARIABLE).ok())
    }

    /// The same with the operator's token of another environment.
    pub fn from_config_and_token(
        config: &QueryConfig,
        operator: Option<String>,
    ) -> Result<Self, TokenError> {
        let reader = config
            .token_file
            .as_deref()
            .map(|path| token_from_file("query.token_file", path))
            .transpose()?;
        let operator = match (operator, config.operator_token_file.as_deref()) {
            (Some(token), _) => Some(check_strength(OPERATOR_VARIABLE, &token)?),
            (None, Some(path)) => Some(token_from_file("query.operator_token_file", path)?),
            (None, None) => None,
        };
        if reader.is_some() && reader == operator {
            return Err(TokenError::Same);
        }
        Ok(Self {
            reader,
            operator,
            public: config.public_pages,
        })
    }

    /// Whether a request may pass, and whose it is.
    pub fn authorize(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Principal, QueryError> {
        let permission = permission::required(method, uri.path());
        let carries = |token: &Option<String>| match (token, bearer(headers)) {
            (Some(token), Some(given)) => {
                equal_in_constant_time(given.as_bytes(), token.as_bytes())
            }
            _ => false,
        };
        let operator = carries(&self.operator);
        if permission == Permission::Page && self.public {
            // Behind a proxy the host tells nothing about who asks.
            return Ok(if operator || carries(&self.reader) {
                Principal::Reader
            } else {
                Principal::Anonymous
            });
        }
        match &self.reader {
            None => check_loopback_names(headers, uri)?,
            Some(_) if permission == Permission::Probe => return Ok(Principal::Anonymous),
            Some(_) => {}
        }
        let allowed = match permission {
            Permission::Operator if self.operator.is_none() => self.reader.is_none(),
            Permission::Operator => operator,
            _ => self.reader.is_none() || operator || carries(&self.reader),
        };
        let refused = |code, message: &str, hint: &str| Err(QueryError::new(code, message, hint));
        match permission {
            _ if allowed => Ok(Principal::Reader),
            Permission::Operator if self.operator.is_none() => refused(
                ErrorCode::NoOperator,
                "this server takes no orders: it has no operator's token",
                "write a token of its own into a file, name it as query.operator_token_file (or set HEADFRAME_OPERATOR_TOKEN), and start again",
            ),
            Permission::Operator => refused(
                ErrorCode::Unauthorized,
                "the operator's bearer token is needed",
                "send Authorization: Bearer <token>, the first line of query.operator_token_file",
            ),
            _ if bearer(headers).is_some() => refused(
                ErrorCode::Unauthorized,
                "the bearer token is wrong",
                "send Authorization: Bearer <token>, the first line of query.token_file",
            ),
            _ => refused(
                ErrorCode::Unauthorized,
                "a bearer token is needed",
                "send Authorization: Bearer <token>, the first line of query.token_file",
            ),
        }
    }
}

fn token_from_file(key: &'static str, path: &Path) -> Result<String, TokenError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read {
        key,
        path: path.display().to_string(),
        source,
    })?;
    check_strength(key, text.lines().next().unwrap_or_default())
}

fn check_strength(key: &'static str, token: &str) -> Result<String, TokenError> {
    let token = token.trim();
    if token.len() < 16 || token.contains(char::is_whitespace) {
        return Err(TokenError::Weak {
            key,
            length: token.len(),
        });
    }
    Ok(token.to_owned())
}

/// The middleware that asks the guard.
pub async fn require_permission(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.authorize(request.method(), request.uri(), request.headers()) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the lengths only.
fn equal_in_constant_time(given: &[u8], token: &[u8]) -> bool {
    let mut differ = u8::from(given.len() != token.len());
    for (index, byte) in token.iter().enumerate() {
        differ |= byte ^ given.get(index).copied().unwrap_or(0);
        differ = std::hint::black_box(differ);
    }
    differ == 0
}

fn check_loopback_names(headers: &HeaderMap, uri: &Uri) -> Result<(), QueryError> {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| uri.host());
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|value| value.to_str().ok());
    let foreign = match (host, origin) {
        (Some(host), _) if !is_loopback(host) => Some(host),
        (_, Some(origin)) => origin.split_once("://").map_or(Some(origin), |(_, host)| {
            (!is_loopback(host)).then_some(host)
        }),
        _ => None,
    };
    let Some(foreign) = foreign else {
        return Ok(());
    };
    let message = format!(
        "this server answers programs on its own machine only, and the request names {foreign}"
    );
    Err(QueryError::new(
        ErrorCode::ForeignOrigin,
        message,
        "ask 127.0.0.1 directly, or set query.token_file",
    ))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{equal_in_constant_time, is_loopback};

    #[test]
    fn tokens_are_equal_only_when_they_are() {
        assert!(equal_in_constant_time(
            b"0123456789abcdef",
            b"0123456789abcdef"
        ));
        for wrong in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789abcdef0",
            b"1123456789abcdef",
            b"0123456789abcdeF",
        ] {
            assert!(
                !equal_in_constant_time(wrong, b"0123456789abcdef"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn only_loopback_names_are_this_machine() {
        for name in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "example.org",
            "10.0.0.1:8080",
            "localhost.example.org",
            "[fe80::1]:80",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
