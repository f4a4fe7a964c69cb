//! `POST /api/v1/login` and `POST /api/v1/logout`: a session for a browser, and its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use crate::access::Permission;
use crate::access::accounts::store::StoreError;
use crate::access::accounts::{LoginError, Wire};
use crate::access::cookie::SessionCookie;
use crate::access::jwt::Purpose;
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::peer::LimitedAddress;
use crate::route::schema::{Param, RequestBody, Schema};
use crate::route::{Handler, Route};

/// Bytes of a request, several times what it needs.
pub(super) const MAX_BODY_BYTES: usize = 4_096;

const HINT: &str = "send {\"name\", \"password\"} with Content-Type: application/json";

/// Who wants to be let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    name: String,
    password: String,
}

pub(crate) static LOGIN: Route = Route {
    method: Method::POST,
    path: "/api/v1/login",
    permission: Permission::Anybody,
    doc: "Begins a session: `{\"name\", \"password\"}` answers who that is and sets a cookie.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::text("name", "The user's name.").required(),
            Param::text("password", "The password.").required(),
        ]),
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(login).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

pub(crate) static LOGOUT: Route = Route {
    method: Method::POST,
    path: "/api/v1/logout",
    permission: Permission::Anybody,
    doc: "Ends the session of the cookie.",
    schema: Schema::JSON,
    handler: Handler::Front(|| post(logout)),
};

async fn login(
    State(app): State<Arc<AppState>>,
    LimitedAddress(peer): LimitedAddress,
    cookie: SessionCookie,
    body: Result<Json<LoginRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let accounts = app.accounts()?;
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    let LoginRequest { name, password } = request;
    let checked = accounts
        .check_password(Wire::Http, &name, &password, peer)
        .await;
    let principal = match checked {
        Ok(principal) => principal,
        Err(error) => return Ok(refuse(error)),
    };
    if principal.proof == crate::access::Proof::Token {
        return Err(QueryError::bad_request(
            "a service token needs no session",
            "send it as Authorization: Bearer <token>",
        ));
    }
    let id = accounts
        .begin_session(&principal)
        .await
        .map_err(unavailable)?;
    let mut response = Json(principal.to_json()).into_response();
    set_cookie(&mut response, cookie.set(&id));
    Ok(response)
}

/// The answer to an attempt that failed.
pub(super) fn refuse(error: LoginError) -> Response {
    let mut response = QueryError::from(error).into_response();
    if let LoginError::Throttled(wait) = error {
        let seconds = HeaderValue::from(wait.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

async fn logout(
    State(app): State<Arc<AppState>>,
    cookie: SessionCookie,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let accounts = app.accounts()?;
    if let Some(id) = cookie.session_id(&headers) {
        let tokens = app.wallet_login().ok().map(|login| &login.tokens);
        let signed = tokens.and_then(|tokens| tokens.verify(Purpose::Session, id).ok());
        match signed {
            Some(session) => accounts.log_out_signed(&session).await,
            None => accounts.log_out(id).await,
        }
        .map_err(unavailable)?;
    }
    let mut response = Json(json!({"done": true})).into_response();
    set_cookie(&mut response, cookie.clear());
    Ok(response)
}

/// Sets or takes away the cookie of a session.
pub(super) fn set_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    let headers = response.headers_mut();
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The store does not answer: later it may.
pub(super) fn unavailable(error: StoreError) -> QueryError {
    error.into()
}
