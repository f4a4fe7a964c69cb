//! The cookie with a session's id.
//!
//! Browsers send a `__Host-` cookie over HTTPS only and take it from this host alone. A program of
//! this machine that is asked over plain HTTP has another name for it, which counts nowhere else.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::access::accounts::session::LIFE_US;
use crate::access::browser::check_local_program;
use crate::peer::OverTls;

/// Which of the two names of the cookie counts for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionCookie {
    /// Over HTTPS, of this server or of a proxy before it.
    Secure,
    /// Straight from a program of this machine, over plain HTTP.
    Plain,
}

impl<S: Send + Sync> FromRequestParts<S> for SessionCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_request(parts))
    }
}

impl SessionCookie {
    /// The cookie of this request.
    pub(crate) fn from_request(parts: &Parts) -> Self {
        let is_tls = parts.extensions.get::<OverTls>().is_some();
        match !is_tls && check_local_program(&parts.headers, &parts.uri).is_ok() {
            true => SessionCookie::Plain,
            false => SessionCookie::Secure,
        }
    }

    /// The session's id that a request carries.
    pub(crate) fn session_id(self, headers: &HeaderMap) -> Option<&str> {
        let cookies = headers.get_all(header::COOKIE).iter();
        cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(given, _)| *given == self.name())
            .map(|(_, id)| id)
    }

    /// The header that gives a browser a session.
    pub(crate) fn set(self, id: &str) -> Option<HeaderValue> {
        self.value(id, LIFE_US / 1_000_000)
    }

    /// The header that takes it away.
    pub(crate) fn clear(self) -> Option<HeaderValue> {
        self.value("", 0)
    }

    fn value(self, id: &str, max_age_s: i64) -> Option<HeaderValue> {
        let name = self.name();
        let secure = match self {
            SessionCookie::Secure => "; Secure",
            SessionCookie::Plain => "",
        };
        let text =
            format!("{name}={id}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }

    fn name(self) -> &'static str {
        match self {
            SessionCookie::Secure => "__Host-headframe_session",
            SessionCookie::Plain => "headframe_session",
        }
    }
}
