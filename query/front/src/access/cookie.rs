//! The cookie with a session's id.
//!
//! Browsers send a `__Host-` cookie over HTTPS only and take it from this host alone. A program of
//! this machine that is asked over plain HTTP has another name for it, which counts nowhere else.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use crate::access::accounts::session::LIFE_US;
use crate::access::browser::check_local_program;

const SECURE: &str = "__Host-headframe_session";
const PLAIN: &str = "headframe_session";

/// The session's id that a request carries.
pub(crate) fn session_id<'a>(headers: &'a HeaderMap, uri: &Uri) -> Option<&'a str> {
    let name = name(headers, uri);
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(given, _)| *given == name)
        .map(|(_, id)| id)
}

/// The header that gives a browser a session.
pub(crate) fn set(id: &str, headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    value(id, LIFE_US / 1_000_000, headers, uri)
}

/// The header that takes it away.
pub(crate) fn clear(headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    value("", 0, headers, uri)
}

fn value(id: &str, max_age_s: i64, headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    let name = name(headers, uri);
    let secure = if name == SECURE { "; Secure" } else { "" };
    let text = format!("{name}={id}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

/// Which of the two names counts for this request.
fn name(headers: &HeaderMap, uri: &Uri) -> &'static str {
    match check_local_program(headers, uri) {
        Ok(()) => PLAIN,
        Err(_) => SECURE,
    }
}
