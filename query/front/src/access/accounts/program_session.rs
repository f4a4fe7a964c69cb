//! Sessions of programs that log in by name and password, as those of Flight SQL do: a bearer token
//! that only this process knows, so that a new connection costs the store nothing.
//!
//! A restart ends them, and so does a new password or the end of the user. What the user may do is
//! looked up at each use.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::access::accounts::Accounts;
use crate::access::accounts::record::UserRecord;
use crate::access::accounts::secret::{self, SecretHash};
use crate::access::accounts::session::{IDLE_US, LIFE_US};
use crate::access::accounts::store::StoreError;
use crate::access::{Principal, Proof};
use crate::clock::now_us;

/// Sessions of all users.
const MAX_SESSIONS: usize = 4_096;
/// Sessions of one user; the one that was not used for longest gives way.
const MAX_OF_USER: usize = 256;

/// The sessions of one process, each under the SHA-256 of its token.
#[derive(Default)]
pub(super) struct ProgramSessions(Mutex<HashMap<SecretHash, ProgramSession>>);

struct ProgramSession {
    user: String,
    login: LoginMark,
    created_us: i64,
    last_used_us: i64,
}

/// What has to stay the same for a session to go on.
#[derive(Clone, PartialEq, Eq)]
struct LoginMark {
    user_created_us: i64,
    /// Each new password has a salt of its own.
    salt: [u8; 16],
}

impl LoginMark {
    fn new(user: &UserRecord) -> Self {
        Self {
            user_created_us: user.grant.created_us,
            salt: user.password.scram().salt,
        }
    }
}

impl ProgramSession {
    fn is_over(&self, now: i64) -> bool {
        now - self.created_us >= LIFE_US || now - self.last_used_us >= IDLE_US
    }
}

impl ProgramSessions {
    fn insert(&self, hash: SecretHash, session: ProgramSession) {
        let mut sessions = self.lock();
        sessions.retain(|_, kept| !kept.is_over(session.created_us));
        let of_user = |kept: &ProgramSession| kept.user == session.user;
        if sessions.values().filter(|kept| of_user(kept)).count() >= MAX_OF_USER {
            drop_oldest(&mut sessions, of_user);
        }
        if sessions.len() >= MAX_SESSIONS {
            drop_oldest(&mut sessions, |_| true);
        }
        sessions.insert(hash, session);
    }

    /// Each change is one insertion or removal, whole or not there.
    fn lock(&self) -> MutexGuard<'_, HashMap<SecretHash, ProgramSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_oldest(
    sessions: &mut HashMap<SecretHash, ProgramSession>,
    among: impl Fn(&ProgramSession) -> bool,
) {
    let among = sessions.iter().filter(|(_, session)| among(session));
    let oldest = among.min_by_key(|(_, session)| session.last_used_us);
    if let Some(hash) = oldest.map(|(hash, _)| *hash) {
        sessions.remove(&hash);
    }
}

impl Accounts {
    /// Begins a session of a user who has just proved himself, and answers its token.
    pub(crate) fn begin_program_session(&self, name: &str) -> Result<String, StoreError> {
        let login = self.read(|directory| directory.user(name).map(LoginMark::new));
        let login = login.ok_or_else(|| StoreError::Changed(format!("the user {name}")))?;
        let token = secret::new_token("program")?;
        let now = now_us();
        let session = ProgramSession {
            user: name.to_owned(),
            login,
            created_us: now,
            last_used_us: now,
        };
        self.inner.programs.insert(secret::hash(&token), session);
        Ok(token)
    }

    /// Whose session this is, while it lasts.
    pub(super) fn program_session(&self, hash: &SecretHash) -> Option<Principal> {
        let now = now_us();
        let (user, login) = {
            let mut sessions = self.inner.programs.lock();
            let session = sessions.get_mut(hash).filter(|kept| !kept.is_over(now))?;
            session.last_used_us = now;
            (session.user.clone(), session.login.clone())
        };
        self.read(|directory| {
            let record = directory.user(&user)?;
            let principal = record.grant.principal(&user, Proof::Password).ok()?;
            (LoginMark::new(record) == login).then_some(principal)
        })
    }

    /// Ends the session of this token, where it has one.
    pub(crate) fn end_program_session(&self, token: &str) {
        if let Some(hash) = secret::token_hash(token) {
            self.inner.programs.lock().remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: &str, last_used_us: i64) -> ProgramSession {
        ProgramSession {
            user: user.to_owned(),
            login: LoginMark {
                user_created_us: 1,
                salt: [0; 16],
            },
            created_us: last_used_us,
            last_used_us,
        }
    }

    fn hash(number: usize) -> SecretHash {
        secret::hash(&number.to_string())
    }

    #[test]
    fn sessions_are_bounded_and_the_longest_unused_give_way() {
        let sessions = ProgramSessions::default();
        sessions.insert(hash(usize::MAX), session("other", 0));
        for number in 0..MAX_OF_USER + 1 {
            sessions.insert(hash(number), session("ann", number as i64 + 1));
        }
        assert!(!sessions.lock().contains_key(&hash(0)));
        assert!(sessions.lock().contains_key(&hash(1)));
        assert!(sessions.lock().contains_key(&hash(usize::MAX)));
        for number in 0..MAX_SESSIONS + 10 {
            sessions.insert(hash(number), session(&format!("user{number}"), 1_000));
            assert!(sessions.lock().len() <= MAX_SESSIONS);
        }
        sessions.insert(hash(7), session("ann", 1_000 + IDLE_US));
        assert_eq!(sessions.lock().len(), 1, "those that are over are dropped");
    }
}
