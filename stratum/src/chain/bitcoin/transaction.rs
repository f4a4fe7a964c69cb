//! A transaction's ids and size, read off its bytes.
//!
//! The merkle tree takes ids without witnesses, the witness commitment takes ids with them. They
//! are computed here from the bytes that go into the block, so that a daemon whose ids do not fit
//! its bytes is found out before anybody mines.

use super::encode::Cursor;
use super::sha256d::sha256d;
use crate::chain::Hash;

/// What a block needs to know of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The hash without witnesses, internal order.
    pub txid: Hash,
    /// The hash with witnesses, internal order; equal to `txid` when there are none.
    pub wtxid: Hash,
    /// Weight units as in BIP 141: bytes without witnesses count four, the rest one.
    pub weight: u64,
}

impl Ids {
    /// Whether the transaction carries a witness.
    pub fn has_witness(&self) -> bool {
        self.txid != self.wtxid
    }
}

/// Reads one whole transaction; `None` when the bytes are anything else.
pub fn ids(bytes: &[u8]) -> Option<Ids> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.take(4)?;
    let segwit = cursor.peek(2)? == [0, 1];
    if segwit {
        cursor.take(2)?;
    }
    let body = cursor.at();
    let inputs = cursor.size()?;
    for _ in 0..inputs {
        cursor.take(32 + 4)?; // The output spent.
        cursor.skip_string()?;
        cursor.take(4)?; // Sequence.
    }
    for _ in 0..cursor.size()? {
        cursor.take(8)?; // Value.
        cursor.skip_string()?;
    }
    let body = &bytes[body..cursor.at()];
    if segwit {
        for _ in 0..inputs {
            for _ in 0..cursor.size()? {
                cursor.skip_string()?;
            }
        }
    }
    let lock_time = cursor.take(4)?;
    if !cursor.is_done() || inputs == 0 {
        return None;
    }
    let txid = sha256d(&[version, body, lock_time]);
    let stripped = (version.len() + body.len() + lock_time.len()) as u64;
    let wtxid = if segwit { sha256d(&[bytes]) } else { txid };
    Some(Ids {
        txid,
        wtxid,
        weight: 3 * stripped + bytes.len() as u64,
    })
}
