//! The cookie with a session's id.
//!
//! Browsers send a `__Host-` cookie over HTTPS only and take it from this host alone. A program of
//! this machine that is asked over plain HTTP has another name for it, which counts nowhere else.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::access::browser::check_local_program;
use crate::peer::OverTls;

/// How long a session lasts at most, seconds.
pub const LIFE_S: i64 = 7 * 24 * 60 * 60;
/// The cookie of a session.
const SESSION: &str = "headframe_session";
/// The cookie of a sign-in that is going on.
const ATTEMPT: &str = "headframe_oidc";

/// Which of the two names of the cookie counts for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCookie {
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
    pub fn from_request(parts: &Parts) -> Self {
        let is_tls = parts.extensions.get::<OverTls>().is_some();
        match !is_tls && check_local_program(parts).is_ok() {
            true => SessionCookie::Plain,
            false => SessionCookie::Secure,
        }
    }

    /// The session's id that a request carries.
    pub fn session_id(self, headers: &HeaderMap) -> Option<&str> {
        self.value(SESSION, headers)
    }

    /// What a browser keeps of its sign-in with an identity provider.
    pub fn attempt(self, headers: &HeaderMap) -> Option<&str> {
        self.value(ATTEMPT, headers)
    }

    /// The value of the cookie of this name that a request carries.
    pub fn value<'a>(self, name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(name);
        let cookies = headers.get_all(header::COOKIE).iter();
        cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(given, _)| *given == name)
            .map(|(_, id)| id)
    }

    /// The header that gives a browser a session.
    pub fn set(self, id: &str) -> Option<HeaderValue> {
        self.header(SESSION, id, LIFE_S)
    }

    /// The header that takes it away.
    pub fn clear(self) -> Option<HeaderValue> {
        self.header(SESSION, "", 0)
    }

    /// The header that makes a browser keep this of its sign-in for so long.
    pub fn set_attempt(self, kept: &str, max_age_s: i64) -> Option<HeaderValue> {
        self.header(ATTEMPT, kept, max_age_s)
    }

    /// The header that takes it away.
    pub fn clear_attempt(self) -> Option<HeaderValue> {
        self.header(ATTEMPT, "", 0)
    }

    /// The header that makes a browser keep a cookie of this name for so long; it is for scripts of
    /// no page.
    pub fn header(self, name: &str, id: &str, max_age_s: i64) -> Option<HeaderValue> {
        let name = self.name(name);
        let secure = match self {
            SessionCookie::Secure => "; Secure",
            SessionCookie::Plain => "",
        };
        let text =
            format!("{name}={id}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }

    fn name(self, name: &str) -> String {
        match self {
            SessionCookie::Secure => format!("__Host-{name}"),
            SessionCookie::Plain => name.to_owned(),
        }
    }
}
