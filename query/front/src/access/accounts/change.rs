//! Changes of accounts: each is a row of the stream `access` first, so that none is without one.

use headframe_schemas::stream::access::AccessEvent;
use serde::Serialize;

use crate::access::accounts::Accounts;
use crate::access::accounts::directory::{SETUP_KEY, token_key, user_key};
use crate::access::accounts::login::Wire;
use crate::access::accounts::password::{PasswordError, PasswordRecord, check_new};
use crate::access::accounts::record::{Grant, SetupRecord, TokenRecord, UserRecord};
use crate::access::accounts::secret;
use crate::access::accounts::store::{Bucket, Entry, StoreError};
use crate::access::{Role, can_be_given};
use crate::clock::now_us;

/// The longest name.
const MAX_NAME_BYTES: usize = 64;
/// Names that the program uses itself.
const RESERVED: &[&str] = &["anonymous", "local", "operator", "reader", "setup", "token"];
/// Most streams that one account is given.
const MAX_STREAMS: usize = 64;

/// Who changes accounts, and over which wire.
#[derive(Debug, Clone)]
pub struct Actor {
    /// His name.
    pub name: String,
    /// The way in.
    pub wire: Wire,
}

/// What a new user or token is to be given.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Lower case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Streams of producers whose rows it may send beyond its role.
    pub streams: Vec<String>,
}

/// One line of the list of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// `user` or `token`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it was given.
    #[serde(flatten)]
    pub grant: Grant,
    /// When a token ends, microseconds since 1970.
    pub expires_us: Option<i64>,
    /// When a token was used last, to the minute.
    pub last_used_us: Option<i64>,
}

/// Why accounts were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name cannot be one.
    #[error(
        "{0:?} cannot be a name: it takes 1 to {MAX_NAME_BYTES} of a-z, 0-9, -, _ and ., begins \
         with a letter, does not end in a dot, and is not one of {names}",
        names = RESERVED.join(", ")
    )]
    Name(String),
    /// Somebody has the name.
    #[error("there is a user or a token {0:?} already; revoke it first, or choose another name")]
    NameInUse(String),
    /// Nobody has the name.
    #[error("there is no user and no token {0:?}; `headframe users list` shows all")]
    Missing(String),
    /// Not everybody may be given the right to send such rows.
    #[error(
        "rows of {0:?} cannot be given to an account: it is no stream, or money or access follows \
         from it"
    )]
    Stream(String),
    /// More streams than one account may have.
    #[error("an account is given {MAX_STREAMS} streams at most")]
    ManyStreams,
    /// The end of a token is no time to come.
    #[error("the token would have expired already; name a longer time")]
    Expiry,
    /// The password is not taken.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The offer of a first admin is not open.
    #[error("this is not the token of the first admin, or it was used, or its time is over")]
    Setup,
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Makes a user.
    pub async fn add_user(
        &self,
        actor: &Actor,
        account: NewAccount,
        password: &str,
    ) -> Result<(), AccountError> {
        check_new(password)?;
        let grant = self.check(actor, &account)?;
        let password = hash(password.to_owned()).await?;
        self.log(actor, "user_add", &account.name, Some(&grant))
            .await?;
        let user = UserRecord { grant, password };
        self.write(actor, "user_add", &user_key(&account.name), &user)
            .await
    }

    /// Gives a user another password, and ends his sessions.
    pub async fn set_password(
        &self,
        actor: &Actor,
        name: &str,
        password: &str,
    ) -> Result<(), AccountError> {
        check_new(password)?;
        let user = self.read(|directory| directory.user(name).cloned());
        let user = user.ok_or_else(|| AccountError::Missing(name.to_owned()))?;
        let password = hash(password.to_owned()).await?;
        self.log(actor, "user_password", name, Some(&user.grant))
            .await?;
        let user = UserRecord { password, ..user };
        self.write(actor, "user_password", &user_key(name), &user)
            .await?;
        Ok(self.end_sessions(name).await?)
    }

    /// Makes a service token and answers it, which nobody can do again.
    pub async fn add_token(
        &self,
        actor: &Actor,
        account: NewAccount,
        expires_us: Option<i64>,
    ) -> Result<String, AccountError> {
        if expires_us.is_some_and(|expires| expires <= now_us()) {
            return Err(AccountError::Expiry);
        }
        let grant = self.check(actor, &account)?;
        let token = secret::new_token(account.role.as_str())?;
        self.log(actor, "token_add", &account.name, Some(&grant))
            .await?;
        let record = TokenRecord {
            grant,
            hash: secret::hash(&token),
            expires_us,
            last_used_us: None,
        };
        self.write(actor, "token_add", &token_key(&account.name), &record)
            .await?;
        Ok(token)
    }

    /// Takes a user or a token away, with all sessions.
    pub async fn revoke(&self, actor: &Actor, name: &str) -> Result<&'static str, AccountError> {
        let (kind, action, key, grant) = self
            .read(|directory| {
                let user = directory
                    .user(name)
                    .map(|user| ("user", "user_revoke", user_key(name), user.grant.clone()));
                user.or_else(|| {
                    let token = directory.token(name)?;
                    Some((
                        "token",
                        "token_revoke",
                        token_key(name),
                        token.grant.clone(),
                    ))
                })
            })
            .ok_or_else(|| AccountError::Missing(name.to_owned()))?;
        self.log(actor, action, name, Some(&grant)).await?;
        let deleted = self.delete(Bucket::Accounts, &key).await;
        self.log_failure(actor, action, name, &deleted).await;
        deleted?;
        self.end_sessions(name).await?;
        Ok(kind)
    }

    /// Every user and token.
    pub fn list(&self) -> Vec<Listed> {
        self.read(|directory| {
            let users = directory.users().into_iter().map(|(name, user)| Listed {
                kind: "user",
                name: name.to_owned(),
                grant: user.grant.clone(),
                expires_us: None,
                last_used_us: None,
            });
            let tokens = directory.tokens().into_iter().map(|(name, token)| Listed {
                kind: "token",
                name: name.to_owned(),
                grant: token.grant.clone(),
                expires_us: token.expires_us,
                last_used_us: token.last_used_us,
            });
            users.chain(tokens).collect()
        })
    }

    /// Whether somebody here may give orders, so that this machine's programs need a proof as well.
    pub fn has_operator(&self) -> bool {
        self.read(|directory| directory.has_operator())
    }

    /// Offers to make the first admin, when there is no user yet: answers a token that works once,
    /// and only until `expires_us`. An earlier offer ends.
    pub async fn offer_setup(
        &self,
        actor: &Actor,
        expires_us: i64,
    ) -> Result<Option<String>, AccountError> {
        if self.read(|directory| !directory.users().is_empty()) {
            return Ok(None);
        }
        let token = secret::new_token("setup")?;
        self.log(actor, "setup_offer", SETUP_KEY, None).await?;
        let offer = SetupRecord {
            hash: secret::hash(&token),
            expires_us,
        };
        self.write(actor, "setup_offer", SETUP_KEY, &offer).await?;
        Ok(Some(token))
    }

    /// Makes the first admin of whoever brings the token of the offer.
    pub async fn accept_setup(
        &self,
        wire: Wire,
        token: &str,
        name: &str,
        password: &str,
    ) -> Result<(), AccountError> {
        let hash = secret::token_hash(token).ok_or(AccountError::Setup)?;
        let is_open = self.read(|directory| {
            let offer = directory.setup();
            offer.is_some_and(|offer| offer.hash == hash && offer.expires_us > now_us())
                && directory.users().is_empty()
        });
        if !is_open {
            return Err(AccountError::Setup);
        }
        let account = NewAccount {
            name: name.to_owned(),
            role: Role::Admin,
            streams: Vec::new(),
        };
        let actor = Actor {
            name: name.to_owned(),
            wire,
        };
        check_new(password)?;
        self.check(&actor, &account)?;
        self.log(&actor, "setup", name, None).await?;
        // Of two who come at once the second finds another revision.
        let taken = self.delete(Bucket::Accounts, SETUP_KEY).await;
        self.log_failure(&actor, "setup", name, &taken).await;
        taken.map_err(|error| match error {
            StoreError::Changed(_) => AccountError::Setup,
            error => error.into(),
        })?;
        self.add_user(&actor, account, password).await
    }

    /// What the account is given, when its name is free and its streams can be given.
    fn check(&self, actor: &Actor, account: &NewAccount) -> Result<Grant, AccountError> {
        let name = &account.name;
        if !is_name(name) {
            return Err(AccountError::Name(name.clone()));
        }
        let is_taken = self
            .read(|directory| directory.user(name).is_some() || directory.token(name).is_some());
        if is_taken {
            return Err(AccountError::NameInUse(name.clone()));
        }
        if account.streams.len() > MAX_STREAMS {
            return Err(AccountError::ManyStreams);
        }
        if let Some(stream) = account.streams.iter().find(|name| !can_be_given(name)) {
            return Err(AccountError::Stream(stream.clone()));
        }
        Ok(Grant {
            role: account.role.to_string(),
            address: account.role.address().map(str::to_owned),
            streams: account.streams.clone(),
            created_us: now_us(),
            created_by: actor.name.clone(),
        })
    }

    async fn log(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        grant: Option<&Grant>,
    ) -> Result<(), AccountError> {
        let given = grant.filter(|grant| !grant.streams.is_empty());
        let event = AccessEvent {
            reason: given.map(|grant| format!("rows of {}", grant.streams.join(", "))),
            role: grant.map(|grant| grant.role.clone()),
            ..event(actor, action, subject, "ok")
        };
        Ok(self.inner.store.record(event).await?)
    }

    /// A second row for a change whose first row was written and which then failed.
    async fn log_failure<T>(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        result: &Result<T, StoreError>,
    ) {
        if let Err(error) = result {
            let event = AccessEvent {
                reason: Some(error.to_string()),
                ..event(actor, action, subject, "failed")
            };
            if let Err(error) = self.inner.store.record(event).await {
                tracing::error!(action, subject, %error, "a failed change has no row of its own");
            }
        }
    }

    async fn write(
        &self,
        actor: &Actor,
        action: &str,
        key: &str,
        record: &impl Serialize,
    ) -> Result<(), AccountError> {
        let written = self.put(Bucket::Accounts, key, record).await;
        let subject = key.split_once('.').map_or(key, |(_, name)| name);
        self.log_failure(actor, action, subject, &written).await;
        Ok(written?)
    }

    /// Writes a record over what this process knows of its key, here as well.
    pub(super) async fn put(
        &self,
        bucket: Bucket,
        key: &str,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let seen = self.read(|directory| directory.revision(bucket, key));
        let revision = self
            .inner
            .store
            .put(bucket, key, value.clone(), seen)
            .await?;
        self.apply_written(bucket, key, revision, Some(value));
        Ok(())
    }

    /// Deletes a key, here as well.
    pub(super) async fn delete(&self, bucket: Bucket, key: &str) -> Result<(), StoreError> {
        let seen = self.read(|directory| directory.revision(bucket, key));
        let revision = self.inner.store.delete(bucket, key, seen).await?;
        self.apply_written(bucket, key, revision, None);
        Ok(())
    }

    /// Puts what was just written into the copy, without waiting for the watch to tell it.
    fn apply_written(&self, bucket: Bucket, key: &str, revision: u64, value: Option<Vec<u8>>) {
        let key = key.to_owned();
        self.apply(
            bucket,
            Entry {
                key,
                revision,
                value,
            },
        );
    }
}

fn event(actor: &Actor, action: &str, subject: &str, outcome: &str) -> AccessEvent {
    AccessEvent {
        event_time: now_us(),
        wire: actor.wire.as_str().to_owned(),
        action: action.to_owned(),
        outcome: outcome.to_owned(),
        actor: Some(actor.name.clone()),
        subject: Some(subject.to_owned()),
        ..AccessEvent::default()
    }
}

/// Hashing takes a while; the runtime's threads are for waiting.
async fn hash(password: String) -> Result<PasswordRecord, StoreError> {
    let hashed = tokio::task::spawn_blocking(move || PasswordRecord::new(&password)).await;
    hashed.map_err(|error| StoreError::Unavailable(error.to_string()))?
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('.')
        && name.chars().all(is_plain)
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_plain_and_not_the_programs_own() {
        for name in ["a", "ann", "ann.b-2_c", "grafana"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "", "Ann", "2a", ".a", "a.", "a b", "a*", "a>", "ä", "local", "reader", &long,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
