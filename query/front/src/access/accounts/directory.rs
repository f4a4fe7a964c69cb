//! The copy of the store in memory, as entries arrive.
//!
//! Pure. An entry that cannot be read gives nobody any right; it may be of a newer version.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use crate::access::accounts::record::{
    EndedSessionRecord, SessionRecord, SetupRecord, TokenRecord, UserRecord,
};
use crate::access::accounts::secret::SecretHash;
use crate::access::accounts::store::{Bucket, Entry};

/// The key of the offer to become the first admin.
pub const SETUP_KEY: &str = "setup";
const USER: &str = "user.";
const TOKEN: &str = "token.";
const ENDED: &str = "ended.";

/// What the store holds.
#[derive(Default)]
pub struct Directory {
    users: HashMap<String, UserRecord>,
    tokens: HashMap<String, TokenRecord>,
    token_names: HashMap<SecretHash, String>,
    sessions: HashMap<SecretHash, SessionRecord>,
    /// Signed sessions that ended before their time, and when they would have ended.
    ended: HashMap<SecretHash, i64>,
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

/// The key of a signed session that ended before its time.
pub fn ended_key(hash: &SecretHash) -> String {
    format!("{ENDED}{}", hex::encode(hash))
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
        let ended = key.strip_prefix(ENDED);
        if hex::decode_to_slice(ended.unwrap_or(key), &mut hash).is_err() {
            return;
        }
        if ended.is_some() {
            match (read::<EndedSessionRecord>(key, value), value) {
                (Some(record), _) => self.ended.insert(hash, record.ends_us),
                // What cannot be read still says that a session was ended.
                (None, Some(_)) => self.ended.insert(hash, i64::MAX),
                (None, None) => self.ended.remove(&hash),
            };
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

    /// When the signed session with this hash would have ended, where it ended before.
    pub fn ended(&self, hash: &SecretHash) -> Option<i64> {
        self.ended.get(hash).copied()
    }

    /// The one that would have ended first, where there are so many that one has to make way.
    pub fn first_ended(&self, max: usize) -> Option<SecretHash> {
        let first = self.ended.iter().min_by_key(|(_, end)| **end);
        first.filter(|_| self.ended.len() >= max).map(|one| *one.0)
    }

    /// Drops what would have ended by now: the store forgets it without a word.
    pub fn drop_ended(&mut self, is_over: impl Fn(i64) -> bool) {
        let Self {
            ended, revisions, ..
        } = self;
        ended.retain(|hash, end| {
            let is_over = is_over(*end);
            if is_over {
                revisions.remove(&(Bucket::Sessions, ended_key(hash)));
            }
            !is_over
        });
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

    #[test]
    fn ended_sessions_are_kept_until_they_would_have_ended_and_the_first_makes_way() {
        let mut directory = Directory::default();
        let ended = |number: u8, end: i64, revision: u64| Entry {
            key: ended_key(&[number; 32]),
            revision,
            value: Some(json!({"ends_us": end}).to_string().into_bytes()),
        };
        for (number, end) in [(1, 300), (2, 100), (3, 200)] {
            directory.apply(Bucket::Sessions, ended(number, end, u64::from(number)));
        }
        assert_eq!(directory.ended(&[1; 32]), Some(300));
        assert!(directory.session(&[1; 32]).is_none(), "it is no session");
        assert_eq!(directory.first_ended(4), None);
        assert_eq!(directory.first_ended(3), Some([2; 32]));
        directory.drop_ended(|end| end <= 200);
        assert_eq!(directory.ended(&[2; 32]), None);
        assert_eq!(directory.ended(&[3; 32]), None);
        assert_eq!(
            directory.revision(Bucket::Sessions, &ended_key(&[2; 32])),
            0
        );
        let gone = Entry {
            value: None,
            ..ended(1, 0, 9)
        };
        directory.apply(Bucket::Sessions, gone);
        assert_eq!(directory.ended(&[1; 32]), None);
    }
}
