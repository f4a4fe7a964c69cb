//! A request that is answered for long: whether it would still be let in.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::{Parts, Request};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::access::accounts::Accounts;
use crate::access::{Guard, Permission, Principal, ReadScope};
use crate::error::{ErrorCode, QueryError};
use crate::peer::{OverTls, PeerAddress};

/// Time between two looks at what ends by the clock: tokens of an issuer, and sessions.
const LOOK: Duration = Duration::from_secs(1);

/// Asks the guard again about a request that was let in: tokens are revoked and sessions end while
/// an answer goes on.
pub(crate) struct OngoingAccess {
    guard: Guard,
    permission: Permission,
    subject: Option<String>,
    reads: ReadScope,
    request: Parts,
}

impl OngoingAccess {
    /// For a request that was let in as this principal's.
    pub(crate) fn new(
        guard: &Guard,
        permission: Permission,
        subject: Option<String>,
        principal: &Principal,
        request: &Parts,
    ) -> Self {
        Self {
            guard: guard.clone(),
            permission,
            subject,
            reads: principal.read_scope(),
            request: kept_parts(request),
        }
    }

    /// The refusal that it would meet now.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        let subject = self.subject.as_deref();
        let guard = &self.guard;
        let principal = guard.authorize(self.permission, subject, &self.request)?;
        match principal.read_scope() == self.reads {
            true => Ok(()),
            false => Err(QueryError::new(
                ErrorCode::Forbidden,
                format!("{} may read other rows now than before", principal.name),
                "ask again",
            )),
        }
    }

    /// The refusal that ends an answer, once there is one. It looks whenever an account changes,
    /// and at the clock.
    pub(crate) fn revoked(self: &Arc<Self>) -> BoxFuture<'static, QueryError> {
        let access = self.clone();
        async move {
            let mut changes = access.guard.accounts().map(Accounts::changes);
            loop {
                let changed = async {
                    let changed = match &mut changes {
                        Some(changes) => changes.changed().await.is_ok(),
                        None => false,
                    };
                    if !changed {
                        std::future::pending::<()>().await;
                    }
                };
                // What changed, and that nothing did, are as good a reason to look.
                let _ = tokio::time::timeout(LOOK, changed).await;
                if let Err(refusal) = access.check() {
                    return refusal;
                }
            }
        }
        .boxed()
    }
}

/// What of a request the guard looks at.
pub(super) fn kept_parts(request: &Parts) -> Parts {
    let (mut kept, ()) = Request::new(()).into_parts();
    kept.method = request.method.clone();
    kept.uri = request.uri.clone();
    kept.headers = request.headers.clone();
    if let Some(peer) = request.extensions.get::<PeerAddress>() {
        kept.extensions.insert(*peer);
    }
    if let Some(over_tls) = request.extensions.get::<OverTls>() {
        kept.extensions.insert(*over_tls);
    }
    kept
}
