//! The coinbase: one transaction made once a template, whose extranonce alone differs between
//! connections.
//!
//! It exists in two forms. The block carries the one with the witness; the merkle tree takes the id
//! of the one without. Both are cut at the extranonce, so that a connection's coinbase costs one
//! copy or one hash.

use super::encode::{Cursor, height_push, push_size};
use super::sha256d::sha256d;
use crate::chain::coinbase_tag::CoinbaseTag;
use crate::chain::{ChainError, Extranonce, Hash};

/// The longest script the daemon takes in a coinbase, bytes.
const MAX_SCRIPT: usize = 100;
/// Its own miner's version of a coinbase.
const VERSION: u32 = 2;
/// Not final, so that the lock time below counts and no two coinbases are ever the same (BIP 54).
const SEQUENCE: u32 = 0xffff_fffe;
/// Bytes between the extranonce and the tag: the opcode that pushes it.
pub const TAG_GAP: usize = 1;
/// The only item of the coinbase's witness; the witness commitment hashes it in.
pub const WITNESS_RESERVED: Hash = [0; 32];

/// What a coinbase says.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// Height of its block.
    pub height: u32,
    /// What it pays, atomic units.
    pub value: u64,
    /// Whom it pays.
    pub reward_script: &'a [u8],
    /// The script of the output that commits to the witnesses, if the chain has segwit.
    pub witness_commitment: Option<&'a [u8]>,
    /// What the daemon wants in the script, as it came.
    pub auxiliary: &'a [u8],
    /// Id of the parent, internal order.
    pub parent: Hash,
    /// What the pool knows its blocks by; left out when the script has no space for it.
    pub tag: Option<&'a CoinbaseTag>,
}

/// A coinbase, cut at the extranonce.
#[derive(Debug, Clone)]
pub struct Coinbase {
    /// Without the witness form's marker.
    head: Vec<u8>,
    tail: Vec<u8>,
    lock_time: [u8; 4],
    segwit: bool,
}

impl Coinbase {
    /// Lays it out; fails when the daemon's data does not leave space in the script.
    pub fn new(content: &Content<'_>) -> Result<Self, ChainError> {
        let height = height_push(content.height);
        let script = height.len() + 1 + Extranonce::LEN + content.auxiliary.len();
        if script > MAX_SCRIPT {
            let reason = format!(
                "coinbaseaux makes the coinbase's script {script} bytes long, {MAX_SCRIPT} are \
                 allowed"
            );
            return Err(ChainError::Template(reason));
        }
        let mut head = VERSION.to_le_bytes().to_vec();
        head.push(1);
        // A coinbase spends nothing: an id of zeros, and the highest index.
        head.extend_from_slice(&[0; 32]);
        head.extend_from_slice(&[0xff; 4]);
        let outputs = outputs(content);
        let tag = content
            .tag
            .filter(|_| script + 1 + CoinbaseTag::LEN <= MAX_SCRIPT)
            .map(|tag| tag.bytes(&content.parent, &outputs));
        let script = script + tag.map_or(0, |tag| 1 + tag.len());
        push_size(&mut head, script as u64);
        head.extend_from_slice(&height);
        head.push(Extranonce::LEN as u8);
        let mut tail = Vec::new();
        if let Some(tag) = tag {
            tail.push(tag.len() as u8);
            tail.extend_from_slice(&tag);
        }
        tail.extend_from_slice(content.auxiliary);
        tail.extend_from_slice(&SEQUENCE.to_le_bytes());
        tail.extend_from_slice(&outputs);
        let lock_time = content.height.saturating_sub(1).to_le_bytes();
        Ok(Self {
            head,
            tail,
            lock_time,
            segwit: content.witness_commitment.is_some(),
        })
    }

    /// Its id, internal order: the leaf of the merkle tree.
    pub fn txid(&self, extranonce: Extranonce) -> Hash {
        sha256d(&[&self.head, &extranonce.bytes(), &self.tail, &self.lock_time])
    }

    /// As the block carries it.
    pub fn bytes(&self, extranonce: Extranonce) -> Vec<u8> {
        let (version, inputs) = self.head.split_at(4);
        let mut bytes = version.to_vec();
        if self.segwit {
            bytes.extend_from_slice(&[0, 1]);
        }
        bytes.extend_from_slice(inputs);
        bytes.extend_from_slice(&extranonce.bytes());
        bytes.extend_from_slice(&self.tail);
        if self.segwit {
            bytes.extend_from_slice(&[1, 32]);
            bytes.extend_from_slice(&WITNESS_RESERVED);
        }
        bytes.extend_from_slice(&self.lock_time);
        bytes
    }
}

/// A coinbase of the chain, as far as it tells whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainCoinbase<'a> {
    /// Its script, in which anything may be written.
    pub script: &'a [u8],
    /// Its serialised outputs, with their number.
    pub outputs: &'a [u8],
}

impl<'a> ChainCoinbase<'a> {
    /// Reads a serialised coinbase; `None` when the bytes are no such transaction.
    pub fn read(transaction: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(transaction);
        cursor.take(4)?;
        if cursor.peek(2)? == [0, 1] {
            cursor.take(2)?;
        }
        if cursor.size()? != 1 {
            return None;
        }
        cursor.take(32 + 4)?;
        let length = cursor.size()?;
        let script = cursor.take(length)?;
        cursor.take(4)?;
        let start = cursor.at();
        for _ in 0..cursor.size()? {
            cursor.take(8)?;
            cursor.skip_string()?;
        }
        let outputs = transaction.get(start..cursor.at())?;
        Some(Self { script, outputs })
    }

    /// What it pays to whoever `is_paid` says of an output's script, atomic units.
    pub fn value_to(&self, is_paid: impl Fn(&[u8]) -> bool) -> u128 {
        let mut cursor = Cursor::new(self.outputs);
        let count = cursor.size().unwrap_or(0);
        let mut next = || -> Option<u128> {
            let value = u64::from_le_bytes(cursor.take(8)?.try_into().ok()?);
            let length = cursor.size()?;
            let script = cursor.take(length)?;
            Some(if is_paid(script) { value.into() } else { 0 })
        };
        (0..count).map_while(|_| next()).sum()
    }
}

/// The outputs with their number, as the transaction carries them.
fn outputs(content: &Content<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_size(
        &mut bytes,
        1 + u64::from(content.witness_commitment.is_some()),
    );
    push_output(&mut bytes, content.value, content.reward_script);
    if let Some(commitment) = content.witness_commitment {
        push_output(&mut bytes, 0, commitment);
    }
    bytes
}

fn push_output(bytes: &mut Vec<u8>, value: u64, script: &[u8]) {
    bytes.extend_from_slice(&value.to_le_bytes());
    push_size(bytes, script.len() as u64);
    bytes.extend_from_slice(script);
}
