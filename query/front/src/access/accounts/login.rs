//! Logins by name and password, whichever wire they come over: throttled together, and each of them
//! a row of the stream `access`.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use headframe_schemas::stream::access::AccessEvent;

use crate::access::accounts::Accounts;
use crate::access::accounts::password::{CheckerBusy, MAX_BYTES, PasswordChecker, PasswordRecord};
use crate::access::accounts::record::UserRecord;
use crate::access::accounts::secret::{self, random};
use crate::access::accounts::store::StoreError;
use crate::access::accounts::throttle::LoginThrottle;
use crate::access::{Principal, Proof};
use crate::error::{ErrorCode, QueryError};
use crate::peer::network_of;

/// The longest name that a row keeps of what strangers send.
const MAX_NAME_CHARS: usize = 128;

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// The HTTP port.
    Http,
    /// The PostgreSQL port.
    Postgres,
    /// Flight SQL.
    Flight,
    /// `headframe users`, on this machine.
    Command,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// There is no such user, or the password is another one; which, nobody is told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many attempts.
    #[error("too many logins were tried from this address or for this account")]
    Throttled(Duration),
    /// Too many passwords are being checked.
    #[error("too many logins are being checked")]
    Busy,
}

/// What SCRAM-SHA-256 needs to check a password that it never sees.
#[derive(Clone)]
pub struct ScramSecret {
    /// Random bytes, or for nobody's name bytes that are always the same.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// What PBKDF2 makes of the right password.
    pub salted_password: Vec<u8>,
}

/// What logins share.
pub(super) struct Login {
    throttle: Mutex<LoginThrottle>,
    checker: PasswordChecker,
    /// Checked when there is no such user, so that the answer takes as long.
    nobody: PasswordRecord,
    /// Makes salts for names that nobody has.
    salt_key: hmac::Key,
}

impl Login {
    pub(super) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            throttle: Mutex::default(),
            checker: PasswordChecker::default(),
            nobody: PasswordRecord::of_nobody()?,
            salt_key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
        })
    }

    pub(super) fn throttle(&self) -> MutexGuard<'_, LoginThrottle> {
        // Counters are never half changed.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// As rows have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Wire::Http => "http",
            Wire::Postgres => "postgres",
            Wire::Flight => "flight",
            Wire::Command => "command",
        }
    }
}

impl Accounts {
    /// Who this is, when the password is his. The password may be a service token, whose own name
    /// then counts.
    pub async fn check_password(
        &self,
        wire: Wire,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Principal, LoginError> {
        if secret::looks_like_token(password)
            && let Ok(principal) = self.bearer(password)
        {
            return Ok(principal);
        }
        self.begin_login(wire, name, peer)?;
        let user = self.read(|directory| directory.user(name).cloned());
        let record = user.as_ref().map(|user| user.password.clone());
        let record = record.unwrap_or_else(|| self.inner.login.nobody.clone());
        let fits = match password.len() <= MAX_BYTES {
            true => {
                let check = self.inner.login.checker.check(record, password.to_owned());
                check.await.map_err(|CheckerBusy| LoginError::Busy)?
            }
            false => false,
        };
        let user = user.filter(|_| fits);
        self.end_login(wire, name, peer, user)
    }

    /// Whether there is a user of this name.
    pub(crate) fn has_user(&self, name: &str) -> bool {
        self.read(|directory| directory.user(name).is_some())
    }

    /// What SCRAM needs to check the password of this name; for nobody's name something that no
    /// password fits. The attempt counts as failed until [`Accounts::scram_succeeded`].
    pub fn scram_secret(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
    ) -> Result<ScramSecret, LoginError> {
        self.begin_login(wire, name, peer)?;
        let record = self.read(|directory| {
            let user = directory.user(name);
            user.map(|user| user.password.scram().clone())
        });
        Ok(match record {
            Some(record) => ScramSecret {
                salt: record.salt.to_vec(),
                iterations: record.iterations,
                salted_password: record.salted_password.to_vec(),
            },
            None => {
                let nobody = self.inner.login.nobody.scram();
                let salt = hmac::sign(&self.inner.login.salt_key, name.as_bytes());
                ScramSecret {
                    salt: salt.as_ref()[..nobody.salt.len()].to_vec(),
                    iterations: nobody.iterations,
                    salted_password: nobody.salted_password.to_vec(),
                }
            }
        })
    }

    /// The client has proved that it knows the password.
    pub fn scram_succeeded(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
    ) -> Result<Principal, LoginError> {
        // He may have been revoked between the two messages.
        let user = self.read(|directory| directory.user(name).cloned());
        self.end_login(wire, name, peer, user)
    }

    /// The client has proved that it does not know the password.
    pub fn scram_failed(&self, wire: Wire, name: &str, peer: IpAddr) {
        let _ = self.end_login(wire, name, peer, None);
    }

    /// Begins an attempt, which counts as failed until it succeeds.
    pub(crate) fn begin_login(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
    ) -> Result<(), LoginError> {
        let begun = self
            .inner
            .login
            .throttle()
            .begin(Some(name), network_of(peer), self.now());
        begun.map_err(|wait| {
            self.note_login(wire, name, peer, None, "throttled", None);
            LoginError::Throttled(wait)
        })
    }

    fn end_login(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
        user: Option<UserRecord>,
    ) -> Result<Principal, LoginError> {
        let principal = user.and_then(|user| user.grant.principal(name, Proof::Password).ok());
        let Some(principal) = principal else {
            self.note_login(wire, name, peer, None, "refused", None);
            return Err(LoginError::Wrong);
        };
        self.login_succeeded(wire, name, peer, &principal);
        Ok(principal)
    }

    /// The attempt was made by this one.
    pub(crate) fn login_succeeded(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
        principal: &Principal,
    ) {
        let mut throttle = self.inner.login.throttle();
        throttle.succeed(Some(name), network_of(peer));
        drop(throttle);
        self.note_login(wire, name, peer, Some(principal), "ok", None);
    }

    /// Writes the row of an attempt.
    pub(super) fn note_login(
        &self,
        wire: Wire,
        name: &str,
        peer: IpAddr,
        principal: Option<&Principal>,
        outcome: &'static str,
        reason: Option<&str>,
    ) {
        let (wire, peer) = (wire.as_str(), network_of(peer));
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        metrics::counter!("headframe_logins_total", "wire" => wire, "outcome" => outcome)
            .increment(1);
        tracing::info!(wire, %peer, name, outcome, "login");
        let role = principal.and_then(|principal| principal.role.as_ref());
        self.note(AccessEvent {
            wire: wire.to_owned(),
            action: "login".to_owned(),
            outcome: outcome.to_owned(),
            actor: Some(name),
            role: role.map(ToString::to_string),
            peer: Some(peer.to_string()),
            reason: reason.map(str::to_owned),
            ..AccessEvent::default()
        });
    }
}

impl From<LoginError> for QueryError {
    fn from(error: LoginError) -> Self {
        let (code, hint) = match error {
            LoginError::Wrong => (
                ErrorCode::Unauthorized,
                "an admin can set a new password with `headframe users password`".to_owned(),
            ),
            LoginError::Throttled(wait) => (
                ErrorCode::RateLimit,
                format!("try again in {} s", wait.as_secs().max(1)),
            ),
            LoginError::Busy => (
                ErrorCode::ConcurrencyLimit,
                "try again in some seconds".to_owned(),
            ),
        };
        QueryError::new(code, error.to_string(), hint)
    }
}
