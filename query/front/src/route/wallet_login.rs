//! `POST /api/v1/login/challenge` and `/api/v1/login/wallet`: a miner signs in with a signature of
//! its wallet instead of a password.
//!
//! Nobody gives it an account: whoever owns an address reads what concerns that address.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use crate::access::accounts::Wire;
use crate::access::cookie::SessionCookie;
use crate::access::jwt::Purpose;
use crate::access::{Permission, Principal, Proof, Role, Scope, WalletLogin};
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::{ErrorCode, QueryError};
use crate::payment_service::PaymentService;
use crate::peer::LimitedAddress;
use crate::query_params;
use crate::route::login::{MAX_BODY_BYTES, refuse, set_cookie, unavailable};
use crate::route::payments;
use crate::route::schema::{Param, RequestBody, Schema, ValueType};
use crate::route::{Handler, Route};
use crate::signature_checks::is_well_formed;

const CHALLENGE_HINT: &str = "send {\"address\"}";
const HINT: &str = "send {\"address\", \"challenge\", \"signature\"}: the text that \
                    /api/v1/login/challenge answers, signed by the wallet of the address";
/// Why a repetition is refused.
const USED: &str = "the challenge was used before";
const ADDRESS: Param = Param::text("address", "The wallet address that mines.").required();

/// Who wants to sign in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeRequest {
    address: String,
}

/// Who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WalletRequest {
    address: String,
    challenge: String,
    signature: String,
    #[serde(default)]
    token: bool,
}

/// Why a sign-in fails.
enum Refusal {
    /// It proves nothing.
    Unproven(String),
    /// Nothing was found out.
    Undecided(QueryError),
}

pub(crate) static CHALLENGE: Route = Route {
    method: Method::POST,
    path: "/api/v1/login/challenge",
    permission: Permission::Anybody,
    doc: "A text for the wallet of `{\"address\"}` to sign, which is good for one sign-in within \
          five minutes.",
    schema: Schema {
        body: RequestBody::Json(&[ADDRESS]),
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(challenge).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

pub(crate) static LOGIN: Route = Route {
    method: Method::POST,
    path: "/api/v1/login/wallet",
    permission: Permission::Anybody,
    doc: "Begins a session of a miner: `{\"address\", \"challenge\", \"signature\"}` sets a \
          cookie, with `\"token\": true` it answers a JWT for programs as well.",
    schema: Schema {
        body: RequestBody::Json(&[
            ADDRESS,
            Param::text(
                "challenge",
                "The text that /api/v1/login/challenge answered.",
            )
            .required(),
            Param::text("signature", "The wallet's signature of that text.").required(),
            Param::new(
                "token",
                ValueType::Boolean,
                "Whether a JWT is answered too.",
            ),
        ]),
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(sign_in).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

async fn challenge(
    State(app): State<Arc<AppState>>,
    body: Result<Json<ChallengeRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let Json(request) = body.map_err(|error| {
        QueryError::unreadable_body(error.status(), error.body_text(), CHALLENGE_HINT)
    })?;
    let service = payments::configured_service(&app)?;
    let login = app.wallet_login()?;
    let address = query_params::miner_name(&request.address)?;
    let pool = service.rules().pool;
    let made = login.challenges.new_text(&pool, address);
    let (text, ends_s) = made.map_err(unavailable)?;
    Ok(Json(json!({"challenge": text, "expires": ends_s})).into_response())
}

async fn sign_in(
    State(app): State<Arc<AppState>>,
    client: LimitedAddress,
    cookie: SessionCookie,
    body: Result<Json<WalletRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    let service = payments::configured_service(&app)?;
    let (accounts, login) = (app.accounts()?, app.wallet_login()?);
    let address = query_params::miner_name(&request.address)?;
    if !is_well_formed(&request.signature) {
        let message = "the signature has not the form that a wallet writes";
        return Err(QueryError::bad_request(message, HINT));
    }
    let principal = Principal {
        // No user and no service token has a colon in its name.
        name: format!("wallet:{address}").into(),
        role: Some(Role::Miner(address.into())),
        scope: Scope::RoleOnly,
        proof: Proof::Session,
    };
    let (name, peer) = (principal.name.as_ref(), client.0);
    if let Err(error) = accounts.begin_token_login(Wire::Http, name, peer) {
        return Ok(refuse(error));
    }
    match prove(&app, service.as_ref(), login, client, &request).await {
        Ok(()) => accounts.token_login_succeeded(Wire::Http, peer, &principal),
        Err(Refusal::Unproven(reason)) => {
            accounts.note_refused_login(Wire::Http, name, peer, &reason);
            return Err(QueryError::new(ErrorCode::Unauthorized, reason, HINT));
        }
        Err(Refusal::Undecided(error)) => {
            accounts.token_login_undecided(peer);
            return Err(error);
        }
    }
    answer(login, cookie, &principal, request.token)
}

/// Whether the owner of the address signed the text, which was given out for this and is used up by
/// it.
async fn prove(
    app: &AppState,
    service: &dyn PaymentService,
    login: &WalletLogin,
    client: LimitedAddress,
    request: &WalletRequest,
) -> Result<(), Refusal> {
    let unproven = |reason: &str| Refusal::Unproven(reason.to_owned());
    let (pool, address) = (service.rules().pool, request.address.as_str());
    let now_s = now_us() / 1_000_000;
    let challenge = login
        .challenges
        .check(&pool, address, &request.challenge, now_s)
        .map_err(|error| unproven(&error.to_string()))?;
    if login.challenges.is_spent(&challenge) {
        return Err(unproven(USED));
    }
    let begun = app.signature_checks.begin(client, address);
    let _check = begun.map_err(Refusal::Undecided)?;
    let verified = service.verify(address, &request.challenge, &request.signature);
    match verified.await {
        Ok(true) if login.challenges.spend(&challenge) => Ok(()),
        // Somebody was faster while the wallet checked.
        Ok(true) => Err(unproven(USED)),
        Ok(false) => Err(unproven(
            "the signature is not one of this address over the challenge",
        )),
        Err(error) => Err(Refusal::Undecided(payments::unavailable(error))),
    }
}

fn answer(
    login: &WalletLogin,
    cookie: SessionCookie,
    principal: &Principal,
    with_token: bool,
) -> Result<Response, QueryError> {
    let sign = |purpose| {
        login.tokens.sign(purpose, principal).map_err(|error| {
            tracing::error!(%error, "a sign-in by wallet cannot be answered");
            let message = "the key of sign-in tokens cannot be used";
            QueryError::new(ErrorCode::Storage, message, "see the server's log")
        })
    };
    let (session, _) = sign(Purpose::Session)?;
    let mut body = principal.to_json();
    if with_token {
        let (token, ends_s) = sign(Purpose::Bearer)?;
        body["token"] = json!(token);
        body["expires"] = json!(ends_s);
    }
    let mut response = Json(body).into_response();
    set_cookie(&mut response, cookie.set(&session));
    Ok(response)
}
