//! The accounts of a process, for a server in it that otherwise has one token and no accounts.

use std::fmt::Debug;
use std::pin::Pin;

use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::Principal;
use crate::QueryError;

/// An answer that comes later.
pub type PendingAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, QueryError>> + Send + 'a>>;

/// Who knows the users, tokens and sessions of this process.
pub trait ProcessAccounts: Debug + Send + Sync {
    /// Whose token or session a request carries, where it carries one. An error says that it
    /// carries one that is not taken.
    fn principal(&self, request: &Parts) -> Option<Result<Principal, QueryError>>;

    /// Begins a session of whoever has this password: who that is, and the header that makes a
    /// browser keep it.
    fn sign_in<'a>(
        &'a self,
        request: &Parts,
        name: &'a str,
        password: &'a str,
    ) -> PendingAnswer<'a, (Principal, Option<HeaderValue>)>;

    /// Ends the session that a request carries, if it carries one: the header that makes a browser
    /// forget it.
    fn sign_out<'a>(&'a self, request: &Parts) -> PendingAnswer<'a, Option<HeaderValue>>;
}
