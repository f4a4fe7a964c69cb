//! One attempt to sign in: what ties the browser that begins it, the provider's answer and the way
//! back together.
//!
//! The browser's cookie holds a random seed with a MAC; state, nonce and PKCE verifier are made
//! from the seed and a key of this process. So nothing is kept for strangers who begin and never
//! come back, and an answer that another browser got counts nothing in this one.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::access::accounts::secret::random;
use crate::access::accounts::store::StoreError;
use crate::access::spent_ids::SpentIds;
use crate::clock::now_us;

/// How long somebody may take at the provider, in seconds.
pub(crate) const LIFETIME_S: i64 = 600;
/// Answers that were used of late. Each is one that a provider gave: strangers fill nothing.
const MAX_USED: usize = 16_384;
const SEED_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Makes attempts and knows them again.
pub(super) struct Attempts {
    key: hmac::Key,
    used: SpentIds<[u8; SEED_BYTES]>,
}

/// An attempt of one browser.
pub(super) struct Attempt {
    seed: [u8; SEED_BYTES],
    ends_s: i64,
    /// Comes back with the provider's answer.
    pub(super) state: String,
    /// Comes back in the provider's token.
    pub(super) nonce: String,
    /// Proves to the provider that who asks for the token began the attempt.
    pub(super) verifier: String,
}

impl Attempt {
    /// What the provider is told of the verifier at first: its hash.
    pub(super) fn code_challenge(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

impl Attempts {
    /// None has begun.
    pub(super) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
            used: SpentIds::new(MAX_USED),
        })
    }

    /// A new attempt, and what its browser keeps.
    pub(super) fn begin(&self) -> Result<(Attempt, String), StoreError> {
        let attempt = self.of_seed(random()?, now_us() / 1_000_000 + LIFETIME_S);
        let kept = self.kept(&attempt);
        Ok((attempt, kept))
    }

    /// The attempt of the browser that keeps this, while its time lasts.
    pub(super) fn resume(&self, kept: &str, now_s: i64) -> Option<Attempt> {
        let mut bytes = [0; SEED_BYTES + 8 + MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(kept, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let (signed, mac) = bytes.split_at(SEED_BYTES + 8);
        hmac::verify(&self.key, signed, mac).ok()?;
        let (seed, ends_s) = signed.split_first_chunk::<SEED_BYTES>()?;
        let ends_s = i64::from_be_bytes(ends_s.try_into().ok()?);
        (ends_s > now_s).then(|| self.of_seed(*seed, ends_s))
    }

    /// Uses an attempt up; false when that was done before.
    pub(super) fn spend(&self, attempt: &Attempt) -> bool {
        let ends_us = attempt.ends_s.saturating_mul(1_000_000);
        self.used.spend(attempt.seed, ends_us)
    }

    /// Whether it was used up.
    pub(super) fn is_spent(&self, attempt: &Attempt) -> bool {
        self.used.contains(&attempt.seed)
    }

    fn of_seed(&self, seed: [u8; SEED_BYTES], ends_s: i64) -> Attempt {
        let derived = |label: &str| {
            let mac = hmac::sign(&self.key, &[label.as_bytes(), &seed].concat());
            URL_SAFE_NO_PAD.encode(mac)
        };
        Attempt {
            state: derived("state "),
            nonce: derived("nonce "),
            verifier: derived("verifier "),
            seed,
            ends_s,
        }
    }

    fn kept(&self, attempt: &Attempt) -> String {
        let signed = [&attempt.seed[..], &attempt.ends_s.to_be_bytes()].concat();
        let mac = hmac::sign(&self.key, &signed);
        URL_SAFE_NO_PAD.encode([&signed, mac.as_ref()].concat())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_attempt_is_its_browsers_for_ten_minutes_and_used_once() {
        let attempts = Attempts::new().unwrap();
        let (attempt, kept) = attempts.begin().unwrap();
        let again = attempts.resume(&kept, attempt.ends_s - 1).unwrap();
        assert_eq!(
            (&again.state, &again.nonce, &again.verifier),
            (&attempt.state, &attempt.nonce, &attempt.verifier)
        );
        assert!(attempt.verifier.len() >= 43 && attempt.state != attempt.nonce);
        assert!(
            attempts.resume(&kept, attempt.ends_s).is_none(),
            "its time is over"
        );
        assert!(Attempts::new().unwrap().resume(&kept, 0).is_none());
        for at in 0..kept.len() - 1 {
            let mut changed = kept.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(attempts.resume(&changed, 0).is_none(), "{at}");
            assert!(attempts.resume(&kept[..at], 0).is_none(), "{at}");
        }
        assert!(!attempts.is_spent(&again));
        assert!(attempts.spend(&again) && !attempts.spend(&attempt));
        assert!(attempts.is_spent(&attempt));
        // The example of RFC 7636.
        let example = Attempt {
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
            ..attempt
        };
        let hash = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(example.code_challenge(), hash);
    }
}
