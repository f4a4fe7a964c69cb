//! A block template: what a chain driver makes of its daemon's answer, and what jobs are cut from.

use std::fmt;

use super::difficulty::Difficulty;

/// 32 bytes: a block id, a seed or a hash, in the order the daemon prints.
pub type Hash = [u8; 32];

/// Where a miner writes the nonce unless the job says otherwise: CryptoNote's place.
pub const USUAL_NONCE_OFFSET: usize = 39;

/// What makes one job's work differ from every other's: the process, the connection and the job.
///
/// The instance is drawn at each start, so that a restart never hands out the same work again; the
/// job's number is part of it, so that one solution is never worth credit under two job ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extranonce {
    /// Random, one a process start.
    pub instance: u32,
    /// One a connection; its highest bit says that the miner mines solo, so that a block whose rows
    /// a crash cut off still tells whom it pays.
    pub connection: u32,
    /// One a job of the connection.
    pub job: u32,
}

impl Extranonce {
    /// How many bytes of a template's reserve it takes.
    pub const LEN: usize = 12;

    const SOLO: u32 = 1 << 31;

    /// What the connection of this number writes.
    pub fn connection(number: u32, solo: bool) -> u32 {
        let number = number & !Self::SOLO;
        if solo { number | Self::SOLO } else { number }
    }

    /// Whether these bytes are of a miner who mines solo.
    pub fn is_solo(bytes: &[u8; Self::LEN]) -> bool {
        let [.., highest, _, _, _, _] = bytes;
        highest & 0x80 != 0
    }

    /// Its bytes: the three numbers, little-endian.
    pub fn bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.instance.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.connection.to_le_bytes());
        bytes[8..].copy_from_slice(&self.job.to_le_bytes());
        bytes
    }
}

/// A block to be mined, as the daemon gave it. Cheap to ask for blobs: only what the extranonce
/// changes is recomputed.
pub trait Template: Send + Sync + fmt::Debug {
    /// Height of the block it would make.
    fn height(&self) -> u64;
    /// Id of the block it builds on.
    fn prev(&self) -> Hash;
    /// The RandomX key of the block, raw: the bytes RandomX is given.
    fn seed(&self) -> Hash;
    /// The key of the next epoch, as soon as it is known.
    fn next_seed(&self) -> Option<Hash>;
    /// Hashes a block costs.
    fn network_difficulty(&self) -> u128;
    /// What the block pays, atomic units.
    fn reward_atomic(&self) -> u128;
    /// Where the miner writes its four nonce bytes in the hashing blob.
    fn nonce_offset(&self) -> usize;
    /// The bytes the miner hashes, with a zero nonce.
    fn hashing_blob(&self, extranonce: Extranonce) -> Vec<u8>;
    /// The whole block that this solution makes.
    fn block(&self, extranonce: Extranonce, nonce: [u8; 4]) -> FoundBlock;
    /// Whether a hash is enough for the network, by the chain's exact rule.
    fn is_block(&self, hash: &Hash) -> bool;
    /// The difficulty of a job for which `requested` was asked. It is capped at the network's,
    /// above which a miner would throw blocks away.
    fn assign(&self, requested: u64) -> Difficulty {
        Difficulty::capped(requested, self.network_difficulty())
    }
}

/// A block ready to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBlock {
    /// The block's id.
    pub id: Hash,
    /// The serialised block.
    pub bytes: Vec<u8>,
}

/// The blob with the nonce written in place. A nonce that would fall outside leaves it unchanged.
pub fn with_nonce(mut blob: Vec<u8>, offset: usize, nonce: [u8; 4]) -> Vec<u8> {
    if let Some(place) = blob.get_mut(offset..offset + nonce.len()) {
        place.copy_from_slice(&nonce);
    }
    blob
}
