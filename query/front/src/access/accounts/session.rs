//! Sessions: what a browser has after a login instead of the password.
//!
//! The id is random and kept as a hash only. A session ends 12 hours after its last use, 7 days
//! after it began, with its user, or when the user gets another password.

use headframe_schemas::stream::access::AccessEvent;

use crate::access::accounts::Accounts;
use crate::access::accounts::directory::session_key;
use crate::access::accounts::login::Wire;
use crate::access::accounts::record::SessionRecord;
use crate::access::accounts::secret::{self, SecretHash};
use crate::access::accounts::store::{Bucket, StoreError};
use crate::access::accounts::uses::{USE_GRAIN_US, Use};
use crate::access::cookie::LIFE_S;
use crate::access::jwt::VerifiedJwt;
use crate::access::{Principal, Proof};
use crate::clock::now_us;

const HOUR_US: i64 = 3_600_000_000;
/// A session that is not used ends after so long.
pub(super) const IDLE_US: i64 = 12 * HOUR_US;
/// Every session ends after so long.
pub const LIFE_US: i64 = LIFE_S * 1_000_000;
/// Sessions of one user; the oldest gives way.
const MAX_SESSIONS: usize = 16;

impl SessionRecord {
    fn is_over(&self, now: i64) -> bool {
        now - self.created_us >= LIFE_US || now - self.last_used_us >= IDLE_US
    }
}

impl Accounts {
    /// Begins a session of a user who has just proved himself, and answers its id.
    pub async fn begin_session(&self, principal: &Principal) -> Result<String, StoreError> {
        let name = principal.name.as_ref();
        let now = now_us();
        self.drop_sessions(now);
        let (user_created_us, sessions) = self.read(|directory| {
            let user = directory.user(name);
            let created = user.map(|user| user.grant.created_us);
            (created, directory.sessions_of(name))
        });
        let user_created_us =
            user_created_us.ok_or_else(|| StoreError::Changed(format!("the user {name}")))?;
        let surplus = (sessions.len() + 1).saturating_sub(MAX_SESSIONS);
        for hash in &sessions[..surplus] {
            self.end(hash).await?;
        }
        let id = secret::new_token("session")?;
        let record = SessionRecord {
            user: name.to_owned(),
            user_created_us,
            created_us: now,
            last_used_us: now,
        };
        let key = session_key(&secret::hash(&id));
        self.put(Bucket::Sessions, &key, &record).await?;
        Ok(id)
    }

    /// Whose session this is, while it lasts.
    pub fn session(&self, id: &str) -> Option<Principal> {
        let hash = secret::token_hash(id)?;
        let now = now_us();
        let (principal, last_used_us) = self.read(|directory| {
            let session = directory
                .session(&hash)
                .filter(|session| !session.is_over(now))?;
            let user = directory.user(&session.user)?;
            let is_same = user.grant.created_us == session.user_created_us;
            let principal = user.grant.principal(&session.user, Proof::Session).ok()?;
            is_same.then_some((principal, session.last_used_us))
        })?;
        if now - last_used_us >= USE_GRAIN_US {
            self.used(Use::Session(hash));
        }
        Some(principal)
    }

    /// Ends a session that a user is done with.
    pub async fn log_out(&self, id: &str) -> Result<(), StoreError> {
        let (Some(hash), Some(principal)) = (secret::token_hash(id), self.session(id)) else {
            return Ok(());
        };
        self.end(&hash).await?;
        self.note_logout(&principal);
        Ok(())
    }

    /// Ends a session that this system signed; once is enough.
    pub(crate) async fn log_out_signed(&self, session: &VerifiedJwt) -> Result<(), StoreError> {
        let Some(id) = session.id.as_deref().filter(|id| !self.has_ended(id)) else {
            return Ok(());
        };
        self.end_signed_session(id, session.ends_us).await?;
        self.note_logout(&session.principal);
        Ok(())
    }

    /// Notes that somebody ended his session.
    fn note_logout(&self, principal: &Principal) {
        self.note(AccessEvent {
            wire: Wire::Http.as_str().to_owned(),
            action: "logout".to_owned(),
            outcome: "ok".to_owned(),
            actor: Some(principal.name.to_string()),
            role: principal.role.as_ref().map(ToString::to_string),
            ..AccessEvent::default()
        });
    }

    /// Ends every session of a user.
    pub(super) async fn end_sessions(&self, user: &str) -> Result<(), StoreError> {
        for hash in self.read(|directory| directory.sessions_of(user)) {
            self.end(&hash).await?;
        }
        Ok(())
    }

    /// Whoever changed the session meanwhile used it or ended it; the newest revision is deleted.
    async fn end(&self, hash: &SecretHash) -> Result<(), StoreError> {
        if self.read(|directory| directory.session(hash).is_none()) {
            return Ok(());
        }
        match self.delete(Bucket::Sessions, &session_key(hash)).await {
            Err(StoreError::Changed(_)) => Ok(()),
            ended => ended,
        }
    }

    fn drop_sessions(&self, now: i64) {
        self.change(|directory| directory.drop_sessions(|session| session.is_over(now)));
    }

    /// Writes that a session is used.
    pub(super) async fn write_session_use(&self, hash: &SecretHash) -> Result<(), StoreError> {
        let now = now_us();
        let Some(session) = self.read(|directory| directory.session(hash).cloned()) else {
            return Ok(());
        };
        if now - session.last_used_us < USE_GRAIN_US {
            return Ok(());
        }
        let session = SessionRecord {
            last_used_us: now,
            ..session
        };
        self.put(Bucket::Sessions, &session_key(hash), &session)
            .await
    }
}
