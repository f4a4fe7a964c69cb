//! The 80 bytes a miner hashes: Bitcoin's block header, unchanged, with the nonce in its last four.

use super::sha256d::{reversed, sha256d};
use crate::chain::Hash;

/// Bytes of a header.
pub const LEN: usize = 80;
/// Where the nonce is. Stock XMRig writes at 39, inside the merkle root, so it cannot mine such
/// headers.
pub const NONCE_OFFSET: usize = 76;

/// A header's fields; hashes in internal order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// With the signal bits of BIP 9.
    pub version: i32,
    /// The block it builds on.
    pub prev: Hash,
    /// Root of the transactions' tree.
    pub root: Hash,
    /// Seconds since 1970.
    pub time: u32,
    /// The target in compact form.
    pub bits: u32,
    /// As written.
    pub nonce: [u8; 4],
}

impl Header {
    /// As it is hashed and serialised.
    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(&self.prev);
        bytes[36..68].copy_from_slice(&self.root);
        bytes[68..72].copy_from_slice(&self.time.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.bits.to_le_bytes());
        bytes[NONCE_OFFSET..].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a header; any 80 bytes are one.
    pub fn parse(bytes: &[u8; LEN]) -> Self {
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let hash = |at: usize| {
            let mut hash = [0; 32];
            hash.copy_from_slice(&bytes[at..at + 32]);
            hash
        };
        Self {
            version: i32::from_le_bytes(four(0)),
            prev: hash(4),
            root: hash(36),
            time: u32::from_le_bytes(four(68)),
            bits: u32::from_le_bytes(four(72)),
            nonce: four(NONCE_OFFSET),
        }
    }
}

/// A block's id as daemons print it: SHA-256 twice over its header, whatever the proof of work is.
pub fn id(header: &[u8; LEN]) -> Hash {
    reversed(sha256d(&[header]))
}
