//! The accounts of this process as its guard knows them, for another server in it.

use std::fmt;

use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::accounts::{Accounts, Wire};
use super::cookie::SessionCookie;
use super::process_accounts::{PendingAnswer, ProcessAccounts};
use super::{Guard, Principal, Proof};
use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;

/// Accounts behind a guard.
pub(crate) struct GuardedAccounts(pub(crate) Guard);

impl GuardedAccounts {
    fn accounts(&self) -> Result<&Accounts, QueryError> {
        self.0.accounts().ok_or_else(|| {
            QueryError::new(
                ErrorCode::NotFound,
                "this process knows no users",
                "ask one that `headframe up` started",
            )
        })
    }
}

impl fmt::Debug for GuardedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the accounts of this process")
    }
}

impl ProcessAccounts for GuardedAccounts {
    fn principal(&self, request: &Parts) -> Option<Result<Principal, QueryError>> {
        self.0.holder_of(request)
    }

    fn sign_in<'a>(
        &'a self,
        request: &Parts,
        name: &'a str,
        password: &'a str,
    ) -> PendingAnswer<'a, (Principal, Option<HeaderValue>)> {
        let LimitedAddress(peer) = LimitedAddress::from_request(request);
        let cookie = SessionCookie::from_request(request);
        Box::pin(async move {
            let accounts = self.accounts()?;
            let checked = accounts.check_password(Wire::Http, name, password, peer);
            let principal = checked.await?;
            if principal.proof == Proof::Token {
                return Err(QueryError::bad_request(
                    "a service token needs no session",
                    "send it as Authorization: Bearer <token>",
                ));
            }
            let id = accounts.begin_session(&principal).await?;
            let kept = cookie.set(&id);
            let principal = Principal {
                proof: Proof::Session,
                ..principal
            };
            Ok((principal, kept))
        })
    }

    fn sign_out<'a>(&'a self, request: &Parts) -> PendingAnswer<'a, Option<HeaderValue>> {
        let cookie = SessionCookie::from_request(request);
        let id = cookie.session_id(&request.headers).map(str::to_owned);
        Box::pin(async move {
            if let Some(id) = id {
                let accounts = self.accounts()?;
                match self.0.signed_session(&id) {
                    Some(session) => accounts.log_out_signed(&session).await?,
                    None => accounts.log_out(&id).await?,
                }
            }
            Ok(cookie.clear())
        })
    }
}
