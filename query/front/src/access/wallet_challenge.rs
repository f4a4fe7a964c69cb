//! The text that a miner's wallet signs to sign in: made here, short-lived, and good for one
//! sign-in.
//!
//! Nothing is kept of a text that was given out: it carries a MAC by which it is known again. What
//! was used is remembered until its time is over.

use aws_lc_rs::hmac;

use crate::access::accounts::secret::random;
use crate::access::accounts::store::StoreError;
use crate::access::spent_ids::SpentIds;
use crate::clock::now_us;

/// How long a wallet may take, in seconds.
pub(crate) const LIFETIME_S: i64 = 300;
/// Texts that were used of late. Each is a signature that a wallet has checked, so that strangers
/// fill no space here.
const MAX_USED: usize = 16_384;
const NONCE_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChallengeError {
    /// It is of another process, another pool or another address, or made up.
    #[error("the challenge was not given out here for this address")]
    Foreign,
    /// It took too long.
    #[error("the time of the challenge is over")]
    Expired,
}

/// A text that was given out here, and may be used.
pub(crate) struct Challenge {
    nonce: [u8; NONCE_BYTES],
    ends_us: i64,
}

/// Gives out texts and knows them again.
pub(crate) struct WalletChallenges {
    key: hmac::Key,
    used: SpentIds<[u8; NONCE_BYTES]>,
}

impl WalletChallenges {
    /// None was given out yet.
    pub(crate) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
            used: SpentIds::new(MAX_USED),
        })
    }

    /// A new text, and when its time is over in seconds since 1970.
    pub(crate) fn new_text(&self, pool: &str, address: &str) -> Result<(String, i64), StoreError> {
        let ends_s = now_us() / 1_000_000 + LIFETIME_S;
        let nonce: [u8; NONCE_BYTES] = random()?;
        let text = unsigned(pool, address, ends_s, &nonce);
        let mac = hmac::sign(&self.key, text.as_bytes());
        Ok((text + &hex::encode(mac), ends_s))
    }

    /// Knows a text again that was given out for this address.
    pub(crate) fn check(
        &self,
        pool: &str,
        address: &str,
        text: &str,
        now_s: i64,
    ) -> Result<Challenge, ChallengeError> {
        let (ends_s, nonce) = self
            .parts(pool, address, text)
            .ok_or(ChallengeError::Foreign)?;
        match ends_s > now_s {
            true => Ok(Challenge {
                nonce,
                ends_us: ends_s.saturating_mul(1_000_000),
            }),
            false => Err(ChallengeError::Expired),
        }
    }

    /// Whether a text was used up.
    pub(crate) fn is_spent(&self, challenge: &Challenge) -> bool {
        self.used.contains(&challenge.nonce)
    }

    /// Uses a text up; false when that was done before.
    pub(crate) fn spend(&self, challenge: &Challenge) -> bool {
        self.used.spend(challenge.nonce, challenge.ends_us)
    }

    fn parts(&self, pool: &str, address: &str, text: &str) -> Option<(i64, [u8; NONCE_BYTES])> {
        let rest = text.strip_prefix(&prefix(pool, address))?;
        let (ends_s, code) = rest.split_once(" with ")?;
        let ends_s: i64 = ends_s.parse().ok()?;
        let mut bytes = [0; NONCE_BYTES + MAC_BYTES];
        hex::decode_to_slice(code, &mut bytes).ok()?;
        let (nonce, mac) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        // Written anew, so that there is one way to write each text.
        let signed = unsigned(pool, address, ends_s, nonce);
        hmac::verify(&self.key, signed.as_bytes(), mac).ok()?;
        (signed.len() + 2 * MAC_BYTES == text.len()).then_some((ends_s, *nonce))
    }
}

fn prefix(pool: &str, address: &str) -> String {
    format!("Sign in to the pool {pool} as {address} before ")
}

fn unsigned(pool: &str, address: &str, ends_s: i64, nonce: &[u8; NONCE_BYTES]) -> String {
    let (prefix, nonce) = (prefix(pool, address), hex::encode(nonce));
    format!("{prefix}{ends_s} with {nonce}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_is_known_again_for_its_address_until_its_end_and_used_once() {
        let challenges = WalletChallenges::new().unwrap();
        let (text, ends_s) = challenges.new_text("main", "4Ann").unwrap();
        assert!(
            text.starts_with("Sign in to the pool main as 4Ann before "),
            "{text}"
        );
        let check = |pool, address, text: &str, now_s| {
            challenges.check(pool, address, text, now_s).map(|_| ())
        };
        assert_eq!(check("main", "4Ann", &text, ends_s - 1), Ok(()));
        assert_eq!(
            check("main", "4Ann", &text, ends_s),
            Err(ChallengeError::Expired)
        );
        let foreign = Err(ChallengeError::Foreign);
        assert_eq!(check("other", "4Ann", &text, 0), foreign);
        assert_eq!(check("main", "4Bob", &text, 0), foreign);
        assert_eq!(
            check("main", "4Bob", &text.replace("4Ann", "4Bob"), 0),
            foreign
        );
        let later = text.replace(&ends_s.to_string(), &(ends_s + 900).to_string());
        assert_eq!(check("main", "4Ann", &later, 0), foreign);
        let elsewhere = WalletChallenges::new().unwrap();
        assert!(elsewhere.check("main", "4Ann", &text, 0).is_err());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(check("main", "4Ann", &changed, 0), foreign, "{changed}");
            assert_eq!(check("main", "4Ann", &text[..at], 0), foreign, "{at}");
        }
        // Another way to write the same bytes is another text.
        let (head, code) = text.rsplit_once(' ').unwrap();
        let upper = format!("{head} {}", code.to_uppercase());
        let used = challenges.check("main", "4Ann", &text, 0).unwrap();
        assert!(challenges.spend(&used));
        assert!(!challenges.spend(&used));
        if let Ok(again) = challenges.check("main", "4Ann", &upper, 0) {
            assert!(!challenges.spend(&again), "the nonce is the same");
        }
    }
}
