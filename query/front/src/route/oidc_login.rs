//! `GET /api/v1/login/oidc` and its callback: people sign in with an identity provider.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::access::Permission;
use crate::access::accounts::Wire;
use crate::access::cookie::SessionCookie;
use crate::access::jwt::Purpose;
use crate::access::oidc::{LIFETIME_S, OidcRefusal, ProviderAnswer};
use crate::app_state::AppState;
use crate::config::CALLBACK_PATH;
use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;
use crate::query_params::QueryParams;
use crate::route::login::{refuse, set_cookie};
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

/// What rows call whoever is not signed in.
const NAME: &str = "oidc";
/// Where a browser goes that is signed in.
const HOME: &str = "/";

/// What a provider adds to the address that it sends a browser back to. It may add more.
#[derive(Deserialize)]
struct CallbackRequest {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

pub(crate) static BEGIN: Route = Route {
    method: Method::GET,
    path: "/api/v1/login/oidc",
    permission: Permission::Anybody,
    doc: "Sends a browser to the identity provider of `access.oidc` to sign in there.",
    schema: Schema {
        response: ResponseBody::Text,
        statuses: &[303],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(begin)),
};

pub(crate) static CALLBACK: Route = Route {
    method: Method::GET,
    path: CALLBACK_PATH,
    permission: Permission::Callback,
    doc: "Where the identity provider sends a browser back to: begins its session.",
    schema: Schema {
        query: &[
            Param::text("state", "What ties the answer to the browser that began."),
            Param::text("code", "What the provider's token is asked for with."),
            Param::text("error", "Why the provider signed nobody in."),
            Param::text("iss", "The provider, as it calls itself."),
        ],
        response: ResponseBody::Text,
        statuses: &[303],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(finish)),
};

async fn begin(
    State(app): State<Arc<AppState>>,
    cookie: SessionCookie,
) -> Result<Response, QueryError> {
    let (address, kept) = app.oidc()?.begin().await.map_err(refusal)?;
    let mut response = redirect(&address)?;
    set_cookie(&mut response, cookie.set_attempt(&kept, LIFETIME_S));
    Ok(response)
}

async fn finish(
    State(app): State<Arc<AppState>>,
    LimitedAddress(peer): LimitedAddress,
    cookie: SessionCookie,
    headers: HeaderMap,
    QueryParams(request): QueryParams<CallbackRequest>,
) -> Result<Response, QueryError> {
    let (oidc, accounts, login) = (app.oidc()?, app.accounts()?, app.wallet_login()?);
    if let Err(error) = accounts.begin_token_login(Wire::Http, NAME, peer) {
        return Ok(refuse(error));
    }
    let kept = cookie.attempt(&headers).unwrap_or_default();
    let answer = ProviderAnswer {
        state: request.state,
        code: request.code,
        error: request.error,
        issuer: request.iss,
    };
    let principal = match oidc.finish(kept, answer).await {
        Ok(principal) => principal,
        Err(error) => {
            accounts.note_refused_login(Wire::Http, NAME, peer, &error.to_string());
            if matches!(error, OidcRefusal::Provider(_) | OidcRefusal::Busy) {
                accounts.token_login_undecided(peer);
            }
            return Err(refusal(error));
        }
    };
    let signed = login.tokens.sign(Purpose::Session, &principal);
    let (session, _) = signed.map_err(|error| {
        tracing::error!(%error, "a sign-in cannot be answered");
        let message = "the key of sign-in tokens cannot be used";
        QueryError::new(ErrorCode::Storage, message, "see the server's log")
    })?;
    accounts.token_login_succeeded(Wire::Http, peer, &principal);
    let mut response = redirect(HOME)?;
    set_cookie(&mut response, cookie.set(&session));
    set_cookie(&mut response, cookie.clear_attempt());
    Ok(response)
}

fn redirect(address: &str) -> Result<Response, QueryError> {
    let address =
        HeaderValue::from_str(address).map_err(|error| QueryError::internal(error.to_string()))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, address);
    Ok(response)
}

/// What a browser is told; the row says more.
fn refusal(refusal: OidcRefusal) -> QueryError {
    let again = "begin again at /api/v1/login/oidc";
    match refusal {
        OidcRefusal::Provider(reason) => {
            tracing::warn!(reason, "an identity provider was not heard");
            let message = "the identity provider does not answer as it should";
            QueryError::new(
                ErrorCode::Storage,
                message,
                "see the server's log; try again later",
            )
        }
        OidcRefusal::Busy => QueryError::new(
            ErrorCode::ConcurrencyLimit,
            refusal.to_string(),
            "try again in a second",
        ),
        OidcRefusal::NoRole => QueryError::new(
            ErrorCode::Forbidden,
            "the identity provider knows you, and nothing that gives you a role here",
            "an admin names roles in access.oidc.roles",
        ),
        OidcRefusal::Denied(_) => QueryError::new(
            ErrorCode::Unauthorized,
            "the identity provider did not sign you in",
            again,
        ),
        OidcRefusal::Token(_) => QueryError::new(
            ErrorCode::Unauthorized,
            "the identity provider's token is not valid here",
            again,
        ),
        other => QueryError::new(ErrorCode::Unauthorized, other.to_string(), again),
    }
}
