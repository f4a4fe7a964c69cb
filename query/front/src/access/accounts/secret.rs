//! Secrets that are shown once: how they are made, what they look like, and the hash that is kept.
//!
//! A token is `hf_<role>_`, 32 random bytes in base 62 and a checksum, so that scanners of code
//! find one that leaked and a mistyped one costs no look-up.

use aws_lc_rs::{digest, rand};

use crate::access::accounts::store::StoreError;

/// What every token begins with.
pub const PREFIX: &str = "hf_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of 32 bytes in base 62.
const BODY_DIGITS: usize = 43;
/// Digits of the checksum.
const CHECK_DIGITS: usize = 6;
/// The longest text that can be a token.
const MAX_BYTES: usize = 128;

/// The SHA-256 of a secret, which is all that is kept of it. Secrets of 32 random bytes need no
/// slow hash.
pub type SecretHash = [u8; 32];

/// Random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)
        .map_err(|_| StoreError::Unavailable("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}

/// A new token. `kind` is the role, or what else it is for.
pub fn new_token(kind: &str) -> Result<String, StoreError> {
    Ok(token_of(kind, random()?))
}

fn token_of(kind: &str, bytes: [u8; 32]) -> String {
    let body = format!("{PREFIX}{kind}_{}", base62(bytes));
    let check = checksum(&body);
    body + &check
}

/// The hash of a well-formed token; `None` for what is none, or was mistyped.
pub fn token_hash(token: &str) -> Option<SecretHash> {
    if !token.is_ascii() || token.len() > MAX_BYTES || !token.starts_with(PREFIX) {
        return None;
    }
    let (body, check) = token.split_at_checked(token.len().checked_sub(CHECK_DIGITS)?)?;
    (checksum(body) == check).then(|| hash(token))
}

/// Whether a text looks like a token, well-formed or not.
pub fn looks_like_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The SHA-256 of a secret.
pub fn hash(secret: &str) -> SecretHash {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// A number of 32 bytes, the first the highest, in base 62.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = vec![b'0'; BODY_DIGITS];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            // The quotient is below 256, since the rest is below 62.
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    digits.into_iter().map(char::from).collect()
}

/// The CRC-32 of a text in six digits of base 62.
fn checksum(text: &str) -> String {
    let mut crc = crc32(text.as_bytes());
    let mut digits = [b'0'; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(crc % 62) as usize];
        crc /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let rest = bytes.iter().fold(!0_u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    });
    !rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_crc32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn base62_writes_numbers_with_all_their_digits() {
        assert_eq!(base62([0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 63;
        assert_eq!(base62(one), format!("{}11", "0".repeat(41)));
        // 2^256 - 1, by Python's divmod.
        assert_eq!(
            base62([0xff; 32]),
            "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"
        );
    }

    #[test]
    fn a_mistyped_token_is_none() {
        let token = token_of("viewer", [7; 32]);
        assert!(token.starts_with("hf_viewer_"), "{token}");
        assert_eq!(token.len(), "hf_viewer_".len() + 49);
        assert_eq!(token_hash(&token), Some(hash(&token)));
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(token_hash(&wrong), None, "{wrong}");
        }
        for wrong in ["", "hf_", "hf_a", "hf_12345", "ä", "hf_viewer_äää123456"] {
            assert_eq!(token_hash(wrong), None, "{wrong}");
        }
        assert_eq!(token_hash(&token[..token.len() - 1]), None);
        assert_eq!(token_hash(&format!("{token}{}", "0".repeat(200))), None);
        assert_ne!(new_token("admin").unwrap(), new_token("admin").unwrap());
    }
}
