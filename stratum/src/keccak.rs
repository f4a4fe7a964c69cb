//! Keccak-256 as CryptoNote uses it: the padding of the original submission, not of SHA-3.

use sha3::{Digest, Keccak256};

/// Bytes of the sponge that take input.
const RATE: usize = 136;

/// The Keccak-256 of the parts, one after the other.
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The Keccak-256 of two hashes, one after the other: a node of a tree. They fill less than one
/// block of the sponge, so one permutation does it, without a buffer.
pub fn keccak256_pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut sponge = [0u64; 25];
    let words = left
        .as_chunks::<8>()
        .0
        .iter()
        .chain(right.as_chunks::<8>().0);
    for (lane, word) in sponge.iter_mut().zip(words) {
        *lane = u64::from_le_bytes(*word);
    }
    sponge[8] = 0x01;
    sponge[RATE / 8 - 1] ^= 0x80 << 56;
    keccak::f1600(&mut sponge);
    let mut hash = [0; 32];
    for (bytes, lane) in hash.as_chunks_mut::<8>().0.iter_mut().zip(sponge) {
        *bytes = lane.to_le_bytes();
    }
    hash
}
