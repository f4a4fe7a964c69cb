//! When tokens and sessions were used last: written at most once a minute each, and never before
//! an answer.

use tokio::sync::mpsc;

use crate::access::accounts::Accounts;
use crate::access::accounts::directory::token_key;
use crate::access::accounts::record::TokenRecord;
use crate::access::accounts::secret::SecretHash;
use crate::access::accounts::store::{Bucket, StoreError};
use crate::clock::now_us;

/// How exactly the last use is known.
pub const USE_GRAIN_US: i64 = 60_000_000;

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// A token, by name.
    Token(String),
    /// A session.
    Session(SecretHash),
}

impl Accounts {
    /// Remembers a use. One that finds no space is written at a later use.
    pub(super) fn used(&self, what: Use) {
        let _ = self.inner.uses.try_send(what);
    }

    /// Writes uses as they come.
    pub(super) async fn write_uses(&self, mut uses: mpsc::Receiver<Use>) {
        while let Some(what) = uses.recv().await {
            let written = match &what {
                Use::Token(name) => self.write_token_use(name).await,
                Use::Session(hash) => self.write_session_use(hash).await,
            };
            if let Err(error) = written {
                tracing::debug!(%error, "the last use of a token or session was not written");
            }
        }
    }

    /// A token that was revoked or changed meanwhile stays so: the write names the revision.
    async fn write_token_use(&self, name: &str) -> Result<(), StoreError> {
        let now = now_us();
        let Some(token) = self.read(|directory| directory.token(name).cloned()) else {
            return Ok(());
        };
        if token
            .last_used_us
            .is_some_and(|last| now - last < USE_GRAIN_US)
        {
            return Ok(());
        }
        let token = TokenRecord {
            last_used_us: Some(now),
            ..token
        };
        self.put(Bucket::Accounts, &token_key(name), &token).await
    }
}
