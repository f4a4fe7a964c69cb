//! Who may read and who may give commands at a server that has one token and no accounts, and the
//! sessions of browsers: a coordinator of miners, or the controller of a site.
//!
//! Whoever shows the token, or signed in with it, is the operator. Without a token the programs of
//! this machine read, and nobody gives commands. In a process that has accounts their roles count,
//! too. What a browser sends for a page of another site is refused, whoever sits at it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::browser::{check_local_program, check_own_origin, check_same_site};
use super::cookie::SessionCookie;
use super::process_accounts::ProcessAccounts;
use super::{Permission, Principal, Proof};
use crate::{ErrorCode, QueryError};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

mod session;

use session::{BrowserSessions, LIFE_S};

/// A kind of server, as its visitors know it.
#[derive(Debug)]
pub struct TokenServer {
    /// What it is, as in "the coordinator".
    pub noun: &'static str,
    /// The key of its configuration with the token.
    pub key: &'static str,
    /// The cookie of its sessions; another server of the same machine has another.
    pub cookie: &'static str,
    /// What its sessions are signed for, so that no other signature with the token counts as one.
    pub purpose: &'static str,
    /// What its pages learn of a visitor.
    pub describe: fn(&Principal) -> Value,
}

/// Bytes of a request to sign in or of a command, several times what it needs.
pub const MAX_BODY_BYTES: usize = 4_096;

/// Compares what a request carries with what its route needs.
#[derive(Debug)]
pub struct TokenAccess {
    server: &'static TokenServer,
    token: Box<str>,
    /// None without a token: nobody could begin one.
    sessions: Option<BrowserSessions>,
    /// The accounts of the process, where it has some.
    accounts: Option<Arc<dyn ProcessAccounts>>,
}

/// The guard of some routes.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Who is who.
    pub access: Arc<TokenAccess>,
    /// What the routes need.
    pub permission: Permission,
}

impl TokenAccess {
    /// With this token; without one where it is empty.
    pub fn new(server: &'static TokenServer, token: &str) -> Arc<Self> {
        Self::with_accounts(server, token, None)
    }

    /// The same in a process with these accounts.
    pub fn with_accounts(
        server: &'static TokenServer,
        token: &str,
        accounts: Option<Arc<dyn ProcessAccounts>>,
    ) -> Arc<Self> {
        let is_there = !token.is_empty();
        let sessions = is_there.then(|| BrowserSessions::new(token, server.purpose));
        Arc::new(Self {
            server,
            token: token.into(),
            sessions,
            accounts,
        })
    }

    /// Whose request it is.
    fn principal(&self, request: &Parts) -> Result<Principal, QueryError> {
        let headers = &request.headers;
        check_same_site(headers)?;
        check_own_origin(headers, &request.uri)?;
        let shown = bearer(request);
        if shown.is_some_and(|shown| self.is_token(shown)) {
            return Ok(Principal::operator());
        }
        if shown.is_none() && self.has_session(request) {
            return Ok(Principal {
                proof: Proof::Session,
                ..Principal::operator()
            });
        }
        let accounts = self.accounts.as_ref();
        if let Some(held) = accounts.and_then(|accounts| accounts.principal(request)) {
            return held;
        }
        // Where there is no token, whatever is shown is none.
        if shown.is_some() && self.sessions.is_some() {
            return Err(self.wrong_token());
        }
        let is_local = self.sessions.is_none() && check_local_program(request).is_ok();
        Ok(match is_local {
            true => Principal::local(),
            false => Principal::anonymous(),
        })
    }

    /// Whether it belongs to a session that began with the token.
    fn has_session(&self, request: &Parts) -> bool {
        let cookie = SessionCookie::from_request(request);
        let session = cookie
            .value(self.server.cookie, &request.headers)
            .zip(self.sessions.as_ref());
        session.is_some_and(|(session, sessions)| sessions.is_open(session, now_s()))
    }

    /// The same, if he has this permission.
    pub fn authorize(
        &self,
        permission: Permission,
        request: &Parts,
    ) -> Result<Principal, QueryError> {
        let principal = self.principal(request)?;
        if principal.allows(permission, None) {
            return Ok(principal);
        }
        if principal.is_account() {
            return Err(principal.forbidden());
        }
        if self.sessions.is_some() || self.accounts.is_some() {
            let noun = self.server.noun;
            let said = match &self.accounts {
                Some(_) => format!("an account that may do this at the {noun} is needed"),
                None => format!("the token of the {noun} is needed"),
            };
            return Err(QueryError::new(ErrorCode::Unauthorized, said, self.hint()));
        }
        // Why it is not taken as a program's of this machine is said in its own words.
        check_local_program(request).map_err(|error| QueryError {
            hint: format!("ask 127.0.0.1 directly, or set {}", self.server.key),
            ..error
        })?;
        Err(self.no_token())
    }

    fn no_token(&self) -> QueryError {
        let TokenServer { noun, key, .. } = self.server;
        QueryError::new(
            ErrorCode::NoOperator,
            format!("this {noun} takes no commands: it has no token"),
            format!("set {key} in its configuration, and start it again"),
        )
    }

    fn wrong_token(&self) -> QueryError {
        QueryError::new(ErrorCode::Unauthorized, "the token is wrong", self.hint())
    }

    fn hint(&self) -> String {
        let key = self.server.key;
        let token = match &self.accounts {
            Some(_) => "one that `headframe users token` makes",
            None => key,
        };
        format!("sign in, or send Authorization: Bearer TOKEN with {token}")
    }

    fn is_token(&self, shown: &str) -> bool {
        let is_equal = verify_slices_are_equal(shown.as_bytes(), self.token.as_bytes()).is_ok();
        !self.token.is_empty() && is_equal
    }
}

fn bearer(request: &Parts) -> Option<&str> {
    let value = request.headers.get(header::AUTHORIZATION)?;
    value.to_str().ok()?.strip_prefix("Bearer ")
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Lets a request through to its handler, with its principal, when that one may.
pub async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match gate.access.authorize(gate.permission, &parts) {
        Ok(principal) => {
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    }
}

/// The routes by which the pages know their visitor.
pub fn routes(access: Arc<TokenAccess>) -> Router {
    Router::new()
        .route("/api/v1/console", get(visitor))
        .route("/api/v1/login", post(login))
        .route("/api/v1/logout", post(logout))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(access)
}

async fn visitor(
    State(access): State<Arc<TokenAccess>>,
    request: Parts,
) -> Result<Json<Value>, QueryError> {
    let principal = access.principal(&request)?;
    let mut body = (access.server.describe)(&principal);
    body["sign_in"] = json!({"token": access.sessions.is_some(),
        "account": access.accounts.is_some()});
    Ok(Json(body))
}

/// Who wants to be let in: whoever has the token, or somebody with an account.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum LoginBody {
    Token { token: String },
    Account { name: String, password: String },
}

async fn login(
    State(access): State<Arc<TokenAccess>>,
    request: Parts,
    body: Result<Json<LoginBody>, JsonRejection>,
) -> Result<Response, QueryError> {
    check_same_site(&request.headers)?;
    check_own_origin(&request.headers, &request.uri)?;
    if access.sessions.is_none() && access.accounts.is_none() {
        return Err(access.no_token());
    }
    let Json(body) = body.map_err(|error| {
        let hint = match &access.accounts {
            Some(_) => "send {\"name\", \"password\"} with Content-Type: application/json",
            None => "send {\"token\": TOKEN} with Content-Type: application/json",
        };
        QueryError::unreadable_body(error.status(), error.body_text(), hint)
    })?;
    match body {
        LoginBody::Token { token } => access.sign_in_with_token(&request, &token),
        LoginBody::Account { name, password } => {
            let accounts = access
                .accounts
                .as_ref()
                .ok_or_else(|| access.no_account())?;
            let (principal, kept) = accounts.sign_in(&request, &name, &password).await?;
            Ok(with_cookie(principal.to_json(), kept))
        }
    }
}

impl TokenAccess {
    fn no_account(&self) -> QueryError {
        let TokenServer { noun, key, .. } = self.server;
        let said = format!("this {noun} has no accounts");
        QueryError::bad_request(said, format!("sign in with its token, {key}"))
    }

    fn sign_in_with_token(&self, request: &Parts, token: &str) -> Result<Response, QueryError> {
        let Some(sessions) = &self.sessions else {
            return Err(self.no_token());
        };
        if !self.is_token(token) {
            tracing::warn!("somebody wanted to sign in with a wrong token");
            let TokenServer { noun, key, .. } = self.server;
            let hint = format!("it is {key} of the {noun}'s configuration");
            return Err(QueryError {
                hint,
                ..self.wrong_token()
            });
        }
        tracing::info!("an operator signed in");
        let session = sessions.begin(now_s()).map_err(|_| {
            QueryError::new(
                ErrorCode::Internal,
                "no session can be begun: the system has no randomness",
                "try again",
            )
        })?;
        let cookie = SessionCookie::from_request(request);
        let kept = cookie.header(self.server.cookie, &session, LIFE_S);
        Ok(with_cookie(Principal::operator().to_json(), kept))
    }
}

async fn logout(
    State(access): State<Arc<TokenAccess>>,
    request: Parts,
) -> Result<Response, QueryError> {
    check_same_site(&request.headers)?;
    check_own_origin(&request.headers, &request.uri)?;
    let cookie = SessionCookie::from_request(&request);
    let session = cookie.value(access.server.cookie, &request.headers);
    if let Some((session, sessions)) = session.zip(access.sessions.as_ref()) {
        sessions.end(session, now_s());
    }
    let forgotten = cookie.header(access.server.cookie, "", 0);
    let mut response = with_cookie(json!({"done": true}), forgotten);
    if let Some(accounts) = &access.accounts
        && let Some(forgotten) = accounts.sign_out(&request).await?
    {
        response.headers_mut().append(header::SET_COOKIE, forgotten);
    }
    Ok(response)
}

fn with_cookie(body: Value, cookie: Option<HeaderValue>) -> Response {
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
