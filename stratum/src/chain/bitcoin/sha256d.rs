//! SHA-256 twice, the hash of Bitcoin's ids and trees, and the two orders its results are written
//! in.
//!
//! Inside a block a hash stands in the order it was computed; every RPC prints it reversed. Mixing
//! the two up gives a valid-looking block on the wrong parent, so the change of order has a name
//! here and happens nowhere else.

use sha2::{Digest, Sha256};

use crate::chain::Hash;

/// SHA-256 of SHA-256 of the parts, one after the other; internal order.
pub fn sha256d(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Sha256::digest(hasher.finalize()).into()
}

/// From internal order to the order daemons print, or back.
pub fn reversed(mut hash: Hash) -> Hash {
    hash.reverse();
    hash
}

/// A hash as a daemon prints it, in internal order; `None` if the text is not 64 hex digits.
pub fn from_printed(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(reversed(hash))
}

/// A hash of internal order as daemons print it.
pub fn printed(hash: &Hash) -> String {
    hex::encode(reversed(*hash))
}
