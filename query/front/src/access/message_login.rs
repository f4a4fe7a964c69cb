//! A WebSocket whose token comes as its first message, since a page of a browser can set no header
//! there.

use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use serde::Deserialize;

use crate::access::ongoing::kept_parts;
use crate::access::{Guard, OngoingAccess, Permission, Principal};
use crate::error::{ErrorCode, QueryError};

/// Asks the guard about the token of a first message as if it had come as a header.
pub(crate) struct MessageLogin {
    guard: Guard,
    permission: Permission,
    subject: Option<String>,
    request: Parts,
}

/// The first message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstMessage {
    token: String,
}

impl MessageLogin {
    /// For a request that becomes a WebSocket and carries no token; `None` for every other.
    pub(crate) fn new(
        guard: &Guard,
        permission: Permission,
        subject: Option<&str>,
        request: &Parts,
    ) -> Option<Self> {
        let headers = &request.headers;
        let upgrade = headers.get(header::UPGRADE);
        let is_socket = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let waits = is_socket && !headers.contains_key(header::AUTHORIZATION);
        waits.then(|| Self {
            guard: guard.clone(),
            permission,
            subject: subject.map(str::to_owned),
            request: kept_parts(request),
        })
    }

    /// Whether a token may help against this refusal. Who is known and may not stays refused.
    pub(crate) fn may_help(refusal: &QueryError) -> bool {
        matches!(
            refusal.code,
            ErrorCode::Unauthorized | ErrorCode::ForeignOrigin | ErrorCode::Forwarded
        )
    }

    /// Who sends this first message.
    pub(crate) fn admit(&self, message: &str) -> Result<(Principal, OngoingAccess), QueryError> {
        let FirstMessage { token } = serde_json::from_str(message).map_err(|_| unreadable())?;
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| unreadable())?;
        bearer.set_sensitive(true);
        let mut request = self.request.clone();
        request.headers.insert(header::AUTHORIZATION, bearer);
        let subject = self.subject.as_deref();
        let (guard, permission) = (&self.guard, self.permission);
        let principal = guard.authorize(permission, subject, &request)?;
        let subject = self.subject.clone();
        let access = OngoingAccess::new(guard, permission, subject, &principal, &request);
        Ok((principal, access))
    }
}

fn unreadable() -> QueryError {
    QueryError::new(
        ErrorCode::Unauthorized,
        "the first message holds no token",
        "send {\"token\": \"…\"} as the first message, or the token as Authorization: Bearer",
    )
}
