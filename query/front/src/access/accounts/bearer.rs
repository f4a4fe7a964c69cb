//! Service tokens as requests carry them.

use std::net::IpAddr;

use headframe_schemas::stream::access::AccessEvent;

use crate::access::accounts::Accounts;
use crate::access::accounts::login::Wire;
use crate::access::accounts::secret;
use crate::access::accounts::uses::{USE_GRAIN_US, Use};
use crate::access::jwt::JwtRefusal;
use crate::access::{Principal, Proof};
use crate::clock::now_us;

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is mistyped, was never given, or was revoked; which, nobody is told.
    #[error("there is no such token, or it was revoked")]
    Unknown,
    /// Its time is over.
    #[error("the token {0} has expired")]
    Expired(String),
    /// An issuer's token, which is not told why.
    #[error("the token is not valid here")]
    Jwt(JwtRefusal),
}

impl TokenRefusal {
    /// Why, for rows and logs.
    pub(super) fn reason(&self) -> String {
        match self {
            TokenRefusal::Jwt(refusal) => format!("a JWT: {refusal}"),
            other => other.to_string(),
        }
    }
}

/// Whose token it is.
pub(crate) struct TokenHolder {
    pub(crate) principal: Principal,
    /// When it ends for good, microseconds since 1970, where nothing but its time ends it.
    pub(crate) ends_us: Option<i64>,
}

impl From<Principal> for TokenHolder {
    fn from(principal: Principal) -> Self {
        Self {
            principal,
            ends_us: None,
        }
    }
}

impl Accounts {
    /// Who carries this token.
    pub fn bearer(&self, token: &str) -> Result<Principal, TokenRefusal> {
        let hash = secret::token_hash(token).ok_or(TokenRefusal::Unknown)?;
        if let Some(principal) = self.program_session(&hash) {
            return Ok(principal);
        }
        let now = now_us();
        let found = self.read(|directory| {
            let (name, record) = directory.token_by_hash(&hash)?;
            let is_over = record.expires_us.is_some_and(|expires| expires <= now);
            let is_used = record
                .last_used_us
                .is_some_and(|last| now - last < USE_GRAIN_US);
            let principal = record.grant.principal(name, Proof::Token).ok()?;
            Some((principal, is_over, is_used))
        });
        let (principal, is_over, is_used) = found.ok_or(TokenRefusal::Unknown)?;
        if is_over {
            return Err(TokenRefusal::Expired(principal.name.to_string()));
        }
        if !is_used {
            self.used(Use::Token(principal.name.to_string()));
        }
        Ok(principal)
    }

    /// Notes that somebody came with a token that is not taken.
    pub(crate) fn note_refused_token(&self, wire: Wire, refusal: &TokenRefusal, peer: IpAddr) {
        let reason = refusal.reason();
        tracing::warn!(%peer, reason, "a token was refused");
        self.note(AccessEvent {
            wire: wire.as_str().to_owned(),
            action: "token_use".to_owned(),
            outcome: "refused".to_owned(),
            peer: Some(peer.to_string()),
            reason: Some(reason),
            ..AccessEvent::default()
        });
    }
}
