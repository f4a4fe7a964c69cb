//! Sessions of browsers whose visitor showed the server's token.
//!
//! A session is a text that the server signed with a key made from its token: it outlives a
//! restart of the server, and ends with its time, with a logout, or with another token.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};

/// How long a session lasts, seconds.
pub(super) const LIFE_S: i64 = 12 * 60 * 60;
/// Sessions that are remembered as ended; of more the one that would end first is forgotten.
const MAX_ENDED: usize = 1_024;

/// Begins sessions, and knows them again.
#[derive(Debug)]
pub(super) struct BrowserSessions {
    key: Key,
    /// Those that ended before their time: their ids, and when they would have ended.
    ended: Mutex<BTreeMap<String, i64>>,
}

impl BrowserSessions {
    /// Those of this token. `purpose` is what its key is for.
    pub(super) fn new(token: &str, purpose: &str) -> Self {
        let token = Key::new(HMAC_SHA256, token.as_bytes());
        let key = hmac::sign(&token, purpose.as_bytes());
        Self {
            key: Key::new(HMAC_SHA256, key.as_ref()),
            ended: Mutex::default(),
        }
    }

    /// A new session, as the browser keeps it.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub(super) fn begin(&self, now_s: i64) -> Result<String, Unspecified> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id)?;
        let id = hex::encode(id);
        let signed = format!("{}.{id}", now_s.saturating_add(LIFE_S));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        Ok(format!("{signed}.{}", hex::encode(signature.as_ref())))
    }

    /// Whether this is a session that goes on.
    pub(super) fn is_open(&self, session: &str, now_s: i64) -> bool {
        self.verify(session, now_s)
            .is_some_and(|(id, _)| !self.ended().contains_key(id))
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &str, now_s: i64) {
        let Some((id, ends_s)) = self.verify(session, now_s) else {
            return;
        };
        let mut ended = self.ended();
        ended.retain(|_, ends_s| *ends_s > now_s);
        if ended.len() >= MAX_ENDED {
            let first = ended.iter().min_by_key(|(_, ends_s)| **ends_s);
            let first = first.map(|(id, _)| id.clone());
            first.and_then(|id| ended.remove(&id));
        }
        ended.insert(id.to_owned(), ends_s);
    }

    /// The id of a session that was begun here and whose time is not over, and when that is.
    fn verify<'a>(&self, session: &'a str, now_s: i64) -> Option<(&'a str, i64)> {
        let (signed, signature) = session.rsplit_once('.')?;
        let signature = hex::decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let (ends_s, id) = signed.split_once('.')?;
        let ends_s = ends_s.parse().ok()?;
        (now_s < ends_s).then_some((id, ends_s))
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, i64>> {
        // It is changed in one step.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_session_ends_with_its_time_with_a_logout_and_with_another_token() {
        let sessions = BrowserSessions::new("a long random text", "test");
        let session = sessions.begin(1_000).unwrap();
        assert!(sessions.is_open(&session, 1_000 + LIFE_S - 1));
        assert!(!sessions.is_open(&session, 1_000 + LIFE_S));
        // The same coordinator after a restart, and one with another token.
        assert!(BrowserSessions::new("a long random text", "test").is_open(&session, 1_000));
        assert!(!BrowserSessions::new("another", "test").is_open(&session, 1_000));
        // Another server with the same token.
        assert!(!BrowserSessions::new("a long random text", "else").is_open(&session, 1_000));
        let other = sessions.begin(1_000).unwrap();
        sessions.end(&session, 1_001);
        assert!(!sessions.is_open(&session, 1_001));
        assert!(sessions.is_open(&other, 1_001));
    }

    #[test]
    fn nothing_that_was_not_signed_here_is_a_session() {
        let sessions = BrowserSessions::new("a long random text", "test");
        let session = sessions.begin(1_000).unwrap();
        let (signed, signature) = session.rsplit_once('.').unwrap_or_default();
        let (_, id) = signed.split_once('.').unwrap_or_default();
        for forged in [
            String::new(),
            "..".to_owned(),
            signed.to_owned(),
            format!("{signed}."),
            format!("{signed}.00{}", &signature[2..]),
            format!("9{session}"),
            format!("{}.{id}.{signature}", 1_000 + 2 * LIFE_S),
        ] {
            assert!(!sessions.is_open(&forged, 1_000), "{forged}");
        }
    }

    #[test]
    fn the_number_of_ended_sessions_is_bounded() {
        let sessions = BrowserSessions::new("a long random text", "test");
        let begun: Vec<String> = (0..=MAX_ENDED)
            .map(|_| sessions.begin(1_000).unwrap())
            .collect();
        for session in &begun {
            sessions.end(session, 1_000);
        }
        assert_eq!(sessions.ended().len(), MAX_ENDED);
        assert!(
            begun
                .last()
                .is_some_and(|last| !sessions.is_open(last, 1_000))
        );
    }
}
