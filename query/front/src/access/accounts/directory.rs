//! The copy of the store in memory, as entries arrive.
//!
//! Pure. An entry that cannot be read gives nobody any right; it may be of a newer version.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use crate::access::accounts::record::{SessionRecord, SetupRecord, TokenRecord, UserRecord};
use crate::access::accounts::secret::SecretHash;
use crate::access::accounts::store::{Bucket, Entry};

/// The key of the offer to become the first admin.
pub const SETUP_KEY: &str = "setup";
const USER: &str = "user.";
const TOKEN: &str = "token.";

/// What the store holds.
#[derive(Default)]
pub struct Directory {
    users: HashMap<String, UserRecord>,
    tokens: HashMap<String, TokenRecord>,
    token_names: HashMap<SecretHash, String>,
    sessions: HashMap<SecretHash, SessionRecord>,
    setup: Option<SetupRecord>,
    /// Of every key that ever was, deleted ones included, so that nothing old comes back.
    revisions: HashMap<(Bucket, String), u64>,
}

/// The key of a user.
pub fn user_key(name: &str) -> String {
    format!("{USER}{name}")
}

/// The key of a token.
pub fn token_key(name: &str) -> String {
    format!("{TOKEN}{name}")
}

/// The key of a session.
pub fn session_key(hash: &SecretHash) -> String {
    hex::encode(hash)
}

impl Directory {
    /// Takes in an entry, unless it is older than what is there.
    pub fn apply(&mut self, bucket: Bucket, entry: Entry) {
        let id = (bucket, entry.key);
        if self
            .revisions
            .get(&id)
            .is_some_and(|known| *known >= entry.revision)
        {
            return;
        }
        let (key, value) = (id.1.clone(), entry.value.as_deref());
        match bucket {
            Bucket::Sessions if value.is_none() => {
                // Ids of sessions are never used again.
                self.revisions.remove(&id);
            }
            _ => {
                self.revisions.insert(id, entry.revision);
            }
        }
        match bucket {
            Bucket::Accounts => self.apply_account(&key, value),
            Bucket::Sessions => self.apply_session(&key, value),
        }
    }

    fn apply_account(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(name) = key.strip_prefix(USER) {
            self.users.remove(name);
            if let Some(user) = read(key, value) {
                self.users.insert(name.to_owned(), user);
            }
        } else if let Some(name) = key.strip_prefix(TOKEN) {
            if let Some(old) = self.tokens.remove(name) {
                self.token_names.remove(&old.hash);
            }
            if let Some(token) = read::<TokenRecord>(key, value) {
                self.token_names.insert(token.hash, name.to_owned());
                self.tokens.insert(name.to_owned(), token);
            }
        } else if key == SETUP_KEY {
            self.setup = read(key, value);
        }
    }

    fn apply_session(&mut self, key: &str, value: Option<&[u8]>) {
        let mut hash = SecretHash::default();
        if hex::decode_to_slice(key, &mut hash).is_err() {
            return;
        }
        match read(key, value) {
            Some(session) => self.sessions.insert(hash, session),
            None => self.sessions.remove(&hash),
        };
    }

    /// The revision of a key; 0 when there never was one.
    pub fn revision(&self, bucket: Bucket, key: &str) -> u64 {
        let id = (bucket, key.to_owned());
        self.revisions.get(&id).copied().unwrap_or_default()
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&UserRecord> {
        self.users.get(name)
    }

    /// Every user, by name.
    pub fn users(&self) -> Vec<(&str, &UserRecord)> {
        sorted(&self.users)
    }

    /// The token of this name.
    pub fn token(&self, name: &str) -> Option<&TokenRecord> {
        self.tokens.get(name)
    }

    /// Every token, by name.
    pub fn tokens(&self) -> Vec<(&str, &TokenRecord)> {
        sorted(&self.tokens)
    }

    /// The token with this hash, and its name.
    pub fn token_by_hash(&self, hash: &SecretHash) -> Option<(&str, &TokenRecord)> {
        let name = self.token_names.get(hash)?;
        Some((name, self.tokens.get(name)?))
    }

    /// The session with this hash.
    pub fn session(&self, hash: &SecretHash) -> Option<&SessionRecord> {
        self.sessions.get(hash)
    }

    /// The sessions of a user, the oldest first.
    pub fn sessions_of(&self, user: &str) -> Vec<SecretHash> {
        let mut found: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.user == user)
            .map(|(hash, session)| (session.created_us, *hash))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Drops sessions that cannot be used any more: the store forgets them without a word.
    pub fn drop_sessions(&mut self, is_over: impl Fn(&SessionRecord) -> bool) {
        let over: Vec<SecretHash> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_over(session))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            self.sessions.remove(&hash);
            self.revisions
                .remove(&(Bucket::Sessions, session_key(&hash)));
        }
    }

    /// The offer to become the first admin.
    pub fn setup(&self) -> Option<&SetupRecord> {
        self.setup.as_ref()
    }

    /// Whether somebody here may give orders.
    pub fn has_operator(&self) -> bool {
        let users = self.users.values().map(|user| &user.grant);
        let tokens = self.tokens.values().map(|token| &token.grant);
        users
            .chain(tokens)
            .any(|grant| matches!(grant.role.as_str(), "operator" | "admin"))
    }
}

fn sorted<T>(map: &HashMap<String, T>) -> Vec<(&str, &T)> {
    let mut all: Vec<_> = map.iter().map(|(name, one)| (name.as_str(), one)).collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all
}

fn read<T: DeserializeOwned>(key: &str, value: Option<&[u8]>) -> Option<T> {
    match serde_json::from_slice(value?) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(key, %error, "an account cannot be read and gives no rights");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn token(hash: u8, revision: u64) -> Entry {
        let grant = json!({"role": "viewer", "created_us": 1, "created_by": "ann"});
        let value = json!({"grant": grant, "hash": hex::encode([hash; 32])});
        Entry {
            key: "token.t".to_owned(),
            revision,
            value: Some(value.to_string().into_bytes()),
        }
    }

    #[test]
    fn what_was_revoked_or_replaced_is_not_found_again_whatever_comes_late() {
        let mut directory = Directory::default();
        let has = |directory: &Directory, hash: u8| directory.token_by_hash(&[hash; 32]).is_some();
        directory.apply(Bucket::Accounts, token(1, 5));
        assert!(has(&directory, 1));
        directory.apply(Bucket::Accounts, token(2, 6));
        assert!(!has(&directory, 1) && has(&directory, 2));
        let gone = Entry {
            value: None,
            ..token(0, 7)
        };
        directory.apply(Bucket::Accounts, gone);
        directory.apply(Bucket::Accounts, token(2, 6));
        assert!(!has(&directory, 2) && directory.tokens().is_empty());
        assert_eq!(directory.revision(Bucket::Accounts, "token.t"), 7);
        directory.apply(Bucket::Accounts, token(3, 8));
        assert!(has(&directory, 3));
        let broken = Entry {
            value: Some(b"{}".to_vec()),
            ..token(0, 9)
        };
        directory.apply(Bucket::Accounts, broken);
        assert!(!has(&directory, 3), "what cannot be read gives no rights");
    }
}
