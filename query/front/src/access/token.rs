//! The bearer tokens of readers and operators.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};

use crate::access::Principal;
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

/// The environment variable with the operator's token.
pub const OPERATOR_VARIABLE: &str = "HEADFRAME_OPERATOR_TOKEN";

/// The tokens that requests may carry.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    /// The token to read with; without one, requests must come from this machine's own programs.
    reader: Option<String>,
    /// The token to change something with; it reads as well.
    operator: Option<String>,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(
        "{key}: cannot read the bearer token from {path}: {source}; put a token of at least 16 \
         characters into its first line"
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
        "{key}: the token has {length} characters; a bearer token needs at least 16, none of them \
         blank"
    )]
    Weak {
        /// The configuration's key, or the variable.
        key: &'static str,
        /// Characters in it.
        length: usize,
    },
    /// Then every reader would be an operator.
    #[error(
        "query.token_file and query.operator_token_file (or {OPERATOR_VARIABLE}) hold the same \
         token; make another one for operators"
    )]
    Same,
}

impl Tokens {
    /// The tokens that the configuration names. `operator` is that of the environment, which goes
    /// before the file's.
    pub(super) fn load(config: &QueryConfig, operator: Option<String>) -> Result<Self, TokenError> {
        let reader = config
            .token_file
            .as_deref()
            .map(|path| read_token("query.token_file", path))
            .transpose()?;
        let operator = match (operator, config.operator_token_file.as_deref()) {
            (Some(token), _) => Some(check_strength(OPERATOR_VARIABLE, &token)?),
            (None, Some(path)) => Some(read_token("query.operator_token_file", path)?),
            (None, None) => None,
        };
        if reader.is_some() && reader == operator {
            return Err(TokenError::Same);
        }
        Ok(Self { reader, operator })
    }

    /// Whether reading needs no token, because the server answers its own machine only.
    pub(super) fn need_none_to_read(&self) -> bool {
        self.reader.is_none()
    }

    /// Whether there is an operator's token to ask for.
    pub(super) fn has_operator(&self) -> bool {
        self.operator.is_some()
    }

    /// The token of a user, where there is one.
    pub(super) fn of_user(&self, user: &str) -> Option<(Principal, String)> {
        let (principal, token) = match user {
            "reader" => (Principal::reader(), &self.reader),
            "operator" => (Principal::operator(), &self.operator),
            _ => return None,
        };
        Some((principal, token.clone()?))
    }

    /// Whose token the request carries, if it is one of the two.
    pub(super) fn principal(&self, headers: &HeaderMap) -> Option<Principal> {
        self.holder(bearer(headers)?)
    }

    /// Whose token this is, if it is one of the two.
    pub(super) fn holder(&self, given: &str) -> Option<Principal> {
        let given = given.as_bytes();
        let is_given = |token: &Option<String>| {
            let token = token.as_ref().map(String::as_bytes);
            token.is_some_and(|token| equal_in_constant_time(given, token))
        };
        if is_given(&self.operator) {
            Some(Principal::operator())
        } else if is_given(&self.reader) {
            Some(Principal::reader())
        } else {
            None
        }
    }

    /// The error of a request without the reader's token.
    pub(super) fn reader_missing(&self, headers: &HeaderMap) -> QueryError {
        let message = match bearer(headers) {
            Some(_) => "the bearer token is wrong",
            None => "a bearer token is needed",
        };
        QueryError::new(
            ErrorCode::Unauthorized,
            message,
            "send Authorization: Bearer <token>, the first line of query.token_file or a token of \
             `headframe users token`",
        )
    }
}

fn read_token(key: &'static str, path: &Path) -> Result<String, TokenError> {
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

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the lengths only.
fn equal_in_constant_time(given: &[u8], token: &[u8]) -> bool {
    verify_slices_are_equal(given, token).is_ok()
}

#[cfg(test)]
mod tests {
    use super::equal_in_constant_time;

    #[test]
    fn tokens_are_equal_only_when_they_are() {
        let token = b"0123456789abcdef";
        assert!(equal_in_constant_time(token, token));
        for wrong in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789abcdef0",
            b"1123456789abcdef",
            b"0123456789abcdeF",
        ] {
            assert!(!equal_in_constant_time(wrong, token), "{wrong:?}");
        }
    }
}
