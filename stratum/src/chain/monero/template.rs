//! A Monero block template: where its parts are, and the blobs and blocks made of it.
//!
//! The daemon's hashing blob is never patched: each connection's coinbase changes the merkle root,
//! so the blob is built here and compared once, on arrival, with the daemon's own. A daemon whose
//! format has changed is thus found out before anybody mines for nothing.

use serde::Deserialize;

use super::tree;
use crate::chain::coinbase_tag::{CoinbaseTag, FoundTag};
use crate::chain::{ChainError, Extranonce, FoundBlock, Hash, Template};
use crate::keccak::keccak256;
use crate::work::difficulty::meets;

/// Bytes asked for in the coinbase: the extranonce, the tag, and space for sub-workers of a
/// coordinator.
pub const RESERVE: usize = 60;
/// Where XMRig writes the nonce.
pub const NONCE_OFFSET: usize = 39;
/// Keccak-256 of one zero byte: the ring-signature part of a coinbase, which says that there is
/// none.
const RING_SIGNATURE_BASE: Hash = [
    0xbc, 0x36, 0x78, 0x9e, 0x7a, 0x1e, 0x28, 0x14, 0x36, 0x46, 0x42, 0x29, 0x82, 0x8f, 0x81, 0x7d,
    0x66, 0x12, 0xf7, 0xb4, 0x77, 0xd6, 0x65, 0x91, 0xff, 0x96, 0xa9, 0xe0, 0x64, 0xbc, 0xc9, 0x8a,
];
const TAG_COINBASE_INPUT: u8 = 0xff;
const TAG_KEY: u8 = 2;
const TAG_VIEW_TAGGED_KEY: u8 = 3;

/// The fields of `get_block_template` that mining needs.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplateAnswer {
    pub blocktemplate_blob: String,
    pub blockhashing_blob: String,
    pub reserved_offset: usize,
    pub height: u64,
    pub prev_hash: String,
    pub seed_hash: String,
    #[serde(default)]
    pub next_seed_hash: String,
    pub wide_difficulty: String,
    pub expected_reward: u64,
}

/// A parsed template.
#[derive(Debug)]
pub struct MoneroTemplate {
    blob: Vec<u8>,
    header_len: usize,
    /// The coinbase's prefix: what is hashed first, without the ring-signature part.
    prefix: std::ops::Range<usize>,
    version: u64,
    reserved: usize,
    /// Where the bytes end in which anything may be written.
    extra_end: usize,
    branch: Vec<Hash>,
    tx_count: u64,
    height: u64,
    prev: Hash,
    seed: Hash,
    next_seed: Option<Hash>,
    network_difficulty: u128,
    reward_atomic: u128,
}

impl MoneroTemplate {
    /// Reads the daemon's answer and checks that we build the same hashing blob as the daemon did.
    pub fn parse(answer: &TemplateAnswer) -> Result<Self, ChainError> {
        let blob = hex::decode(&answer.blocktemplate_blob)
            .map_err(|_| unusable("blocktemplate_blob is not hex"))?;
        let mut cursor = Cursor {
            bytes: &blob,
            at: 0,
        };
        let parts = cursor
            .block()
            .ok_or_else(|| unusable("blocktemplate_blob is not a block with one coinbase input"))?;
        let reserve_end = answer.reserved_offset.checked_add(Extranonce::LEN);
        // Anywhere else the extranonce would overwrite what is paid to whom, or the block's own
        // structure.
        if answer.reserved_offset < parts.extra.start
            || reserve_end.is_none_or(|end| end > parts.extra.end)
        {
            return Err(unusable(
                "reserved_offset lies outside the coinbase's extra field",
            ));
        }
        if parts.header_len != NONCE_OFFSET + 4 {
            return Err(unusable(
                "the nonce is not at byte 39, where miners write it",
            ));
        }
        let template = Self {
            header_len: parts.header_len,
            prefix: parts.prefix,
            version: parts.version,
            reserved: answer.reserved_offset,
            extra_end: parts
                .extra
                .end
                .min(answer.reserved_offset.saturating_add(RESERVE)),
            branch: tree::branch(&parts.tx_hashes),
            tx_count: parts.tx_hashes.len() as u64 + 1,
            height: answer.height,
            prev: hash(&answer.prev_hash, "prev_hash")?,
            seed: hash(&answer.seed_hash, "seed_hash")?,
            next_seed: if answer.next_seed_hash.is_empty() {
                None
            } else {
                Some(hash(&answer.next_seed_hash, "next_seed_hash")?)
            },
            network_difficulty: difficulty(&answer.wide_difficulty)?,
            reward_atomic: u128::from(answer.expected_reward),
            blob,
        };
        if hex::encode(template.blob_of(&template.blob))
            != answer.blockhashing_blob.to_ascii_lowercase()
        {
            return Err(unusable(
                "our hashing blob differs from the daemon's; this daemon's block format is not \
                 known here",
            ));
        }
        Ok(template)
    }

    /// The same with the pool's tag behind the extranonce, where the reserve has space for it.
    #[must_use]
    pub fn tagged(mut self, tag: &CoinbaseTag) -> Self {
        let at = self.reserved + Extranonce::LEN;
        if at + CoinbaseTag::LEN <= self.extra_end {
            let payments = &self.blob[self.prefix.start..self.reserved];
            let bytes = tag.bytes(&self.prev, payments);
            self.blob[at..at + CoinbaseTag::LEN].copy_from_slice(&bytes);
        }
        self
    }

    /// The hashing blob of a whole block that differs from the template in header and coinbase
    /// only.
    fn blob_of(&self, block: &[u8]) -> Vec<u8> {
        let mut blob = Vec::with_capacity(self.header_len + 40);
        blob.extend_from_slice(&block[..self.header_len]);
        blob.extend_from_slice(&tree::fold(
            self.coinbase_hash(&block[self.prefix.clone()]),
            &self.branch,
        ));
        push_varint(&mut blob, self.tx_count);
        blob
    }

    /// Version 2 hashes prefix, ring-signature base and prunable part apart; a coinbase has a
    /// one-byte base of type null and no prunable part, which counts as zeros.
    fn coinbase_hash(&self, prefix: &[u8]) -> Hash {
        if self.version < 2 {
            return keccak256(&[prefix]);
        }
        let mut parts = [0; 96];
        parts[..32].copy_from_slice(&keccak256(&[prefix]));
        parts[32..64].copy_from_slice(&RING_SIGNATURE_BASE);
        keccak256(&[&parts])
    }

    fn patched(&self, extranonce: Extranonce, nonce: [u8; 4]) -> Vec<u8> {
        let mut block = self.blob.clone();
        block[NONCE_OFFSET..NONCE_OFFSET + 4].copy_from_slice(&nonce);
        block[self.reserved..self.reserved + Extranonce::LEN].copy_from_slice(&extranonce.bytes());
        block
    }
}

impl Template for MoneroTemplate {
    fn height(&self) -> u64 {
        self.height
    }
    fn prev(&self) -> Hash {
        self.prev
    }
    fn seed(&self) -> Hash {
        self.seed
    }
    fn next_seed(&self) -> Option<Hash> {
        self.next_seed
    }
    fn network_difficulty(&self) -> u128 {
        self.network_difficulty
    }
    fn reward_atomic(&self) -> u128 {
        self.reward_atomic
    }
    fn nonce_offset(&self) -> usize {
        NONCE_OFFSET
    }
    fn hashing_blob(&self, extranonce: Extranonce) -> Vec<u8> {
        let mut prefix = self.blob[self.prefix.clone()].to_vec();
        let at = self.reserved - self.prefix.start;
        prefix[at..at + Extranonce::LEN].copy_from_slice(&extranonce.bytes());
        let mut blob = Vec::with_capacity(self.header_len + 40);
        blob.extend_from_slice(&self.blob[..NONCE_OFFSET]);
        blob.extend_from_slice(&[0; 4]);
        blob.extend_from_slice(&tree::fold(self.coinbase_hash(&prefix), &self.branch));
        push_varint(&mut blob, self.tx_count);
        blob
    }
    fn block(&self, extranonce: Extranonce, nonce: [u8; 4]) -> FoundBlock {
        let bytes = self.patched(extranonce, nonce);
        let hashing = self.blob_of(&bytes);
        let mut length = Vec::with_capacity(2);
        push_varint(&mut length, hashing.len() as u64);
        FoundBlock {
            id: keccak256(&[&length, &hashing]),
            bytes,
        }
    }
    fn is_block(&self, hash: &Hash) -> bool {
        meets(hash, self.network_difficulty)
    }
}

/// What a whole block says of the pool with this tag; `None` when it does not name the pool, or is
/// no block. Proven is the coinbase from its beginning to the extranonce: the outputs with their
/// keys, and the transaction key without which no wallet finds them.
pub fn found_tag(block: &[u8], tag: &CoinbaseTag) -> Option<FoundTag> {
    let parts = Cursor {
        bytes: block,
        at: 0,
    }
    .block()?;
    let parent = block.get(parts.prev)?.try_into().ok()?;
    let free = block.get(parts.extra.clone())?;
    tag.find(free, 0, &parent, |at| {
        let extranonce = parts.extra.start + at.checked_sub(Extranonce::LEN)?;
        block.get(parts.prefix.start..extranonce)
    })
}

/// What a walk through the template found.
struct Parts {
    header_len: usize,
    prev: std::ops::Range<usize>,
    prefix: std::ops::Range<usize>,
    /// The end of the prefix, in which anything may be written.
    extra: std::ops::Range<usize>,
    version: u64,
    tx_hashes: Vec<Hash>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// Header, coinbase, transaction hashes, and nothing after. `None` for anything else.
    fn block(&mut self) -> Option<Parts> {
        for _ in 0..3 {
            self.varint()?;
        }
        let prev = self.at..self.at + 32;
        self.skip(32 + 4)?;
        let header_len = self.at;
        let (version, extra) = self.coinbase_prefix()?;
        let prefix = header_len..self.at;
        if version >= 2 && self.byte()? != 0 {
            return None;
        }
        let count = usize::try_from(self.varint()?).ok()?;
        if count.checked_mul(32)? != self.bytes.len() - self.at {
            return None;
        }
        let tx_hashes = self.bytes[self.at..]
            .chunks_exact(32)
            .filter_map(|chunk| chunk.try_into().ok())
            .collect();
        Some(Parts {
            header_len,
            prev,
            prefix,
            extra,
            version,
            tx_hashes,
        })
    }

    /// Steps over the coinbase's prefix and returns the transaction version and where the extra
    /// field is.
    fn coinbase_prefix(&mut self) -> Option<(u64, std::ops::Range<usize>)> {
        let version = self.varint()?;
        self.varint()?; // Unlock time.
        if self.varint()? != 1 || self.byte()? != TAG_COINBASE_INPUT {
            return None;
        }
        self.varint()?; // Height.
        for _ in 0..self.varint()? {
            self.varint()?; // Amount.
            match self.byte()? {
                TAG_KEY => self.skip(32)?,
                TAG_VIEW_TAGGED_KEY => self.skip(33)?,
                _ => return None,
            }
        }
        let extra_len = usize::try_from(self.varint()?).ok()?;
        let extra = self.at..self.at.checked_add(extra_len)?;
        self.skip(extra_len)?;
        Some((version, extra))
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn hash(text: &str, field: &str) -> Result<Hash, ChainError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| unusable(&format!("{field} is not 64 hex digits")))?;
    Ok(bytes)
}

pub(super) fn difficulty(wide: &str) -> Result<u128, ChainError> {
    let digits = wide.strip_prefix("0x").unwrap_or(wide);
    match u128::from_str_radix(digits, 16) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(unusable("wide_difficulty is not a positive hex number")),
    }
}

fn unusable(reason: &str) -> ChainError {
    ChainError::Template(reason.to_owned())
}
