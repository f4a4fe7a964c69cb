//! `/api/v1/accounts`: users and service tokens, listed, made and revoked by an admin.
//!
//! Whoever makes one types a password of his own with it, so that neither a session that was left
//! open nor a service token makes another admin.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::accounts::{AccountError, Accounts, Actor, Listed, NewAccount, Wire, secret};
use crate::access::{Permission, Principal, Proof, Role};
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;
use crate::query_params::{MAX_LIMIT, QueryParams, page_limit};
use crate::route::login::{MAX_BODY_BYTES, refuse, unavailable};
use crate::route::schema::{LIMIT, Param, RequestBody, ResponseBody, Schema, ValueType};
use crate::route::{Handler, Route};

const PATH: &str = "/api/v1/accounts";
/// The longest life of a token that is named, seconds: ten years.
const MAX_LIFE_S: i64 = 10 * 366 * 86_400;
/// Bytes of a password that is made here, half as many as its hexadecimal digits.
const PASSWORD_BYTES: usize = 16;

const HINT: &str = "docs/accounts.md says what a user and a token are given";

/// Who is to be let in from now on, and as what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddRequest {
    kind: Kind,
    name: String,
    role: String,
    address: Option<String>,
    #[serde(default)]
    may_send: Vec<String>,
    expires_s: Option<i64>,
    own_password: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    User,
    Token,
}

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: PATH,
    permission: Permission::ReadPersonal,
    doc: "Users by name, then service tokens, without secrets: what each was given, by whom, when \
          it ends and when it was used last; `?limit=` (1000, the most) and `?after=` a cursor.",
    schema: Schema {
        query: &[
            LIMIT,
            Param::text("after", "The cursor that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "after" },
        ..Schema::JSON
    },
    handler: Handler::MemoryPage(|| get(list)),
};

pub(crate) static ADD: Route = Route {
    method: Method::POST,
    path: PATH,
    permission: Permission::ManageAccounts,
    doc: "Makes a user or a service token. The answer has its password or token, which nobody sees \
          again.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::new(
                "kind",
                ValueType::OneOf(&["user", "token"]),
                "What is made.",
            )
            .required(),
            Param::text("name", "Its name: a-z, 0-9, -, _ and dots.").required(),
            Param::new("role", ValueType::OneOf(Role::NAMES), "What it may do.").required(),
            Param::text("address", "The address of a miner, for the role miner."),
            Param::new(
                "may_send",
                ValueType::Texts,
                "Streams of producers whose rows it may send beyond its role.",
            ),
            Param::integer(
                "expires_s",
                1,
                MAX_LIFE_S,
                "Seconds that a token lasts; until it is revoked without.",
            ),
            Param::text("own_password", "The password of the admin who asks.").required(),
        ]),
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(add).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

pub(crate) static REVOKE: Route = Route {
    method: Method::DELETE,
    path: "/api/v1/accounts/{name}",
    permission: Permission::ManageAccounts,
    doc: "Takes a user or a service token away, with all of its sessions.",
    schema: Schema {
        path: &[Param::text("name", "The name of the user or token.").required()],
        ..Schema::JSON
    },
    handler: Handler::Front(|| delete(revoke)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    limit: Option<usize>,
    after: Option<String>,
}

/// Where an account is in the list.
fn place(account: &Listed) -> (bool, &str) {
    (account.kind != "user", &account.name)
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Json<Value>, QueryError> {
    let limit = page_limit(request.limit, MAX_LIMIT)?;
    let mut accounts = app.accounts()?.list();
    if let Some(text) = &request.after {
        let (kind, name) = text.split_once('.').ok_or_else(|| {
            QueryError::bad_request(
                format!("after={text:?} is no cursor of accounts"),
                "send what the page before named as next",
            )
        })?;
        let after = (kind != "user", name);
        accounts.retain(|account| place(account) > after);
    }
    let has_more = accounts.len() > limit;
    accounts.truncate(limit);
    let last = accounts.last().filter(|_| has_more);
    let next = last.map(|account| format!("{}.{}", account.kind, account.name));
    Ok(Json(json!({"accounts": accounts, "next": next})))
}

async fn add(
    State(app): State<Arc<AppState>>,
    LimitedAddress(peer): LimitedAddress,
    Extension(principal): Extension<Principal>,
    body: Result<Json<AddRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let accounts = app.accounts()?;
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    if principal.proof != Proof::Session {
        return Err(QueryError::new(
            ErrorCode::Forbidden,
            "a user or a token is made by an admin who logged in with a password",
            "log in, or run `headframe users` on the machine itself",
        ));
    }
    let own = accounts.check_password(Wire::Http, &principal.name, &request.own_password, peer);
    match own.await {
        // A service token in the place of the password proves another account.
        Ok(checked) if checked.proof == Proof::Password && checked.name == principal.name => {}
        Ok(_) => return Err(wrong_password()),
        Err(error) => return Ok(refuse(error)),
    }
    let name = request.name.clone();
    let (kind, secret) = make(accounts, &actor(&principal), request).await?;
    let mut response = Json(json!({"kind": kind, "name": name, "secret": secret})).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Makes what was asked for; answers its kind and its secret.
async fn make(
    accounts: &Accounts,
    actor: &Actor,
    request: AddRequest,
) -> Result<(&'static str, String), QueryError> {
    let role = Role::parse(&request.role, request.address.as_deref())
        .map_err(|error| QueryError::bad_request(error.to_string(), HINT))?;
    let account = NewAccount {
        name: request.name,
        role,
        streams: request.may_send,
    };
    match (request.kind, request.expires_s) {
        (Kind::User, Some(_)) => Err(QueryError::bad_request(
            "expires_s is for tokens: a user lasts until it is revoked",
            HINT,
        )),
        (Kind::User, None) => {
            let bytes = secret::random::<PASSWORD_BYTES>().map_err(unavailable)?;
            let password = hex::encode(bytes);
            let added = accounts.add_user(actor, account, &password);
            added.await.map_err(refused)?;
            Ok(("user", password))
        }
        (Kind::Token, life) => {
            let expires_us = life.map(end_us).transpose()?;
            let added = accounts.add_token(actor, account, expires_us);
            Ok(("token", added.await.map_err(refused)?))
        }
    }
}

/// Microseconds since 1970 at which a token ends that begins now.
fn end_us(life_s: i64) -> Result<i64, QueryError> {
    match life_s {
        1..=MAX_LIFE_S => Ok(now_us().saturating_add(life_s * 1_000_000)),
        _ => Err(QueryError::bad_request(
            format!("expires_s is {life_s}"),
            format!("a token lasts from 1 to {MAX_LIFE_S} seconds, or without expires_s"),
        )),
    }
}

async fn revoke(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Json<Value>, QueryError> {
    if name == *principal.name {
        return Err(QueryError::new(
            ErrorCode::Conflict,
            "nobody revokes himself here, so that one admin stays",
            "another admin does it, or `headframe users revoke` on the machine itself",
        ));
    }
    let actor = actor(&principal);
    let revoked = app.accounts()?.revoke(&actor, &name);
    let kind = revoked.await.map_err(refused)?;
    Ok(Json(json!({"done": true, "kind": kind, "name": name})))
}

fn actor(principal: &Principal) -> Actor {
    Actor {
        name: principal.name.to_string(),
        wire: Wire::Http,
    }
}

fn wrong_password() -> QueryError {
    QueryError::new(
        ErrorCode::Unauthorized,
        "own_password is not the password of who is logged in",
        HINT,
    )
}

/// The answer to a change that was not made.
fn refused(error: AccountError) -> QueryError {
    let code = match &error {
        AccountError::NameInUse(_) => ErrorCode::Conflict,
        AccountError::Missing(_) => ErrorCode::NotFound,
        AccountError::Store(error) => return unavailable(error.clone()),
        _ => return QueryError::bad_request(error.to_string(), HINT),
    };
    QueryError::new(code, error.to_string(), HINT)
}
