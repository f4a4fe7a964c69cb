//! Keccak-256 as CryptoNote uses it: the padding of the original submission, not of SHA-3.

use sha3::{Digest, Keccak256};

/// The Keccak-256 of the parts, one after the other.
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
