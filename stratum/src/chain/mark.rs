//! The mark that a pool leaves in the coinbase of its blocks, by which it knows them again.
//!
//! A crash between the submission of a block and its durable row leaves nothing but the block. The
//! address it pays proves nothing on a chain that hides addresses, so the pool signs its coinbases
//! with sixteen bytes of its own.

use std::ops::RangeInclusive;

use super::Hash;
use crate::keccak::keccak256;

/// Bytes that only this pool writes; not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; Mark::LEN]);

/// A block of the best chain that carries the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Its id.
    pub hash: Hash,
    /// Its height.
    pub height: u64,
    /// Hashes it cost.
    pub network_difficulty: u128,
    /// What its coinbase pays, atomic units.
    pub reward_atomic: u128,
}

/// Heights to be searched, both included.
pub type Heights = RangeInclusive<u64>;

impl Mark {
    /// How many bytes.
    pub const LEN: usize = 16;

    /// The mark of the pool of this name that is paid at this wallet.
    pub fn of(pool: &str, wallet: &str) -> Self {
        let hash = keccak256(&[
            b"headframe pool mark\0",
            pool.as_bytes(),
            b"\0",
            wallet.as_bytes(),
        ]);
        let mut mark = [0; Self::LEN];
        mark.copy_from_slice(&hash[..Self::LEN]);
        Self(mark)
    }

    /// The bytes as they are written.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether a coinbase's free bytes carry it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(Self::LEN).any(|window| window == self.0)
    }
}
