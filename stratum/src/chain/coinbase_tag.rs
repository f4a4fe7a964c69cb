//! The tag in the coinbase of a pool's blocks, by which it finds them again and proves them its
//! own.
//!
//! A crash between the submission of a block and its durable row leaves nothing but the block. The
//! address it pays proves nothing on a chain that hides addresses, so each coinbase carries a name
//! and a proof. The name is public: anybody can copy it from any block of the pool. The proof is a
//! keyed hash over the parent and everything the coinbase pays, so that it holds for one block that
//! pays what this one pays, and only whoever has the key can make it.

use std::fmt;
use std::fs;
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

use super::{Extranonce, Hash};
use crate::keccak::keccak256;

/// Heights to be searched, both included.
pub type Heights = RangeInclusive<u64>;

/// Copies of the name in one coinbase that are looked at; a pool writes it once.
const MAX_COPIES: usize = 4;

/// A block of the best chain that carries the pool's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedBlock {
    /// Its id.
    pub hash: Hash,
    /// Its height.
    pub height: u64,
    /// Hashes it cost.
    pub network_difficulty: u128,
    /// What its coinbase pays, atomic units.
    pub reward_atomic: u128,
    /// Whether it is this pool's.
    pub proof: TagProof,
    /// Whether the miner mines solo that found it.
    pub solo: bool,
}

/// What a coinbase says of the pool that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundTag {
    /// Whether it is this pool's.
    pub proof: TagProof,
    /// What the extranonce before the tag says.
    pub solo: bool,
}

/// Whether a tagged block was made by a holder of the pool's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagProof {
    /// Its coinbase carries the proof for its parent and its payments.
    Proven,
    /// It carries the name alone, which anybody can write.
    Unproven,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum CoinbaseKeyError {
    /// The file cannot be read or written.
    #[error("the key of the pool's blocks {path}: {why}; check the folder's owner and its space")]
    File {
        /// Where.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Others could read it.
    #[error(
        "the key of the pool's blocks {path} can be read by others (mode {mode:o}); make it 0600, \
         and make a new key if anybody may have copied it"
    )]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{path} is no key of a pool's blocks: it is not 64 hex digits; put the key back from a \
         copy, or move the file away to have a new key made"
    )]
    Malformed {
        /// Where.
        path: PathBuf,
    },
}

/// The secret that proofs are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct CoinbaseKey(Arc<[u8; 32]>);

/// Never its bytes: what is debugged ends up in logs.
impl fmt::Debug for CoinbaseKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CoinbaseKey")
    }
}

impl CoinbaseKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(bytes))
    }

    /// The key in this file; it is made, with mode 0600, when there is none. Pools that are to know
    /// each other's blocks again share it.
    pub fn open(path: &Path) -> Result<Self, CoinbaseKeyError> {
        let failed = |error: std::io::Error| CoinbaseKeyError::File {
            path: path.to_owned(),
            why: error.to_string(),
        };
        if !path.exists() {
            create(path).map_err(failed)?;
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(CoinbaseKeyError::Exposed { path, mode });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text.trim(), &mut bytes) {
            Ok(()) => Ok(Self::new(bytes)),
            Err(_) => Err(CoinbaseKeyError::Malformed {
                path: path.to_owned(),
            }),
        }
    }
}

/// Made under another name first: a key that is there is whole.
fn create(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    writeln!(file, "{}", hex::encode(rand::random::<[u8; 32]>()))?;
    file.sync_all()?;
    // Of two processes that begin at once the first one's key stays.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(folder)?.sync_all(),
    }
}

/// What one pool writes into its coinbases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinbaseTag {
    name: [u8; CoinbaseTag::NAME_LEN],
    key: Option<CoinbaseKey>,
}

impl CoinbaseTag {
    const NAME_LEN: usize = 16;
    const PROOF_LEN: usize = 16;
    /// How many bytes of a coinbase it takes.
    pub const LEN: usize = Self::NAME_LEN + Self::PROOF_LEN;

    /// The tag of the pool of this name that is paid at this wallet. Without a key its blocks are
    /// found again, but nothing proves them.
    pub fn new(pool: &str, wallet: &str, key: Option<CoinbaseKey>) -> Self {
        let hash = keccak256(&[
            b"headframe pool mark\0",
            pool.as_bytes(),
            b"\0",
            wallet.as_bytes(),
        ]);
        let mut name = [0; Self::NAME_LEN];
        name.copy_from_slice(&hash[..Self::NAME_LEN]);
        Self { name, key }
    }

    /// The bytes for a block on this parent whose coinbase pays this: the bytes of its outputs, and
    /// whatever else decides who can spend them.
    pub fn bytes(&self, parent: &Hash, payments: &[u8]) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..Self::NAME_LEN].copy_from_slice(&self.name);
        if let Some(proof) = self.proof(parent, payments) {
            bytes[Self::NAME_LEN..].copy_from_slice(&proof);
        }
        bytes
    }

    /// What the free bytes of a coinbase on this parent say of this pool; `None` when they do not
    /// name it. `payments` gives the bytes that were proven, by where the tag begins; `gap` bytes
    /// lie between it and the extranonce.
    pub fn find<'a>(
        &self,
        free: &[u8],
        gap: usize,
        parent: &Hash,
        payments: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Option<FoundTag> {
        let named: Vec<usize> = free
            .windows(Self::NAME_LEN)
            .enumerate()
            .filter(|(_, window)| *window == self.name)
            .map(|(at, _)| at)
            .take(MAX_COPIES)
            .collect();
        let first = *named.first()?;
        let is_proven = |at: usize| {
            let written = free.get(at + Self::NAME_LEN..at + Self::LEN)?;
            let proof = self.proof(parent, payments(at)?)?;
            (written == proof).then_some(())
        };
        let proven = named.into_iter().find(|at| is_proven(*at).is_some());
        let extranonce = || {
            let end = proven.unwrap_or(first).checked_sub(gap)?;
            free.get(end.checked_sub(Extranonce::LEN)?..end)?
                .try_into()
                .ok()
        };
        Some(FoundTag {
            proof: match proven {
                Some(_) => TagProof::Proven,
                None => TagProof::Unproven,
            },
            solo: extranonce().is_some_and(Extranonce::is_solo),
        })
    }

    fn proof(&self, parent: &Hash, payments: &[u8]) -> Option<[u8; Self::PROOF_LEN]> {
        let key = self.key.as_ref()?;
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        // All but the last part have one length, so that no two blocks hash the same bytes.
        hasher.update(b"headframe coinbase proof 1\0");
        hasher.update(&self.name);
        hasher.update(parent);
        hasher.update(payments);
        let mut proof = [0; Self::PROOF_LEN];
        proof.copy_from_slice(&hasher.finalize().as_bytes()[..Self::PROOF_LEN]);
        Some(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: u8) -> CoinbaseTag {
        CoinbaseTag::new("main", "wallet", Some(CoinbaseKey::new([key; 32])))
    }

    fn found(tag: &CoinbaseTag, free: &[u8], parent: u8, payments: &[u8]) -> Option<TagProof> {
        tag.find(free, 0, &[parent; 32], |_| Some(payments))
            .map(|found| found.proof)
    }

    #[test]
    fn a_proof_holds_for_one_parent_one_payment_and_one_key() {
        let free = [
            &[9; 5],
            tag(1).bytes(&[2; 32], b"pays us").as_slice(),
            &[0; 3],
        ]
        .concat();
        let (proven, unproven) = (Some(TagProof::Proven), Some(TagProof::Unproven));
        assert_eq!(found(&tag(1), &free, 2, b"pays us"), proven);
        assert_eq!(found(&tag(1), &free, 3, b"pays us"), unproven, "replayed");
        assert_eq!(found(&tag(1), &free, 2, b"pays them"), unproven, "copied");
        assert_eq!(
            found(&tag(4), &free, 2, b"pays us"),
            unproven,
            "foreign key"
        );
        let keyless = CoinbaseTag::new("main", "wallet", None);
        assert_eq!(found(&keyless, &free, 2, b"pays us"), unproven);
        let cut = &free[..free.len() - 4];
        assert_eq!(found(&tag(1), cut, 2, b"pays us"), unproven, "cut short");
        let other = CoinbaseTag::new("other", "wallet", Some(CoinbaseKey::new([1; 32])));
        assert_eq!(found(&other, &free, 2, b"pays us"), None);
    }

    #[test]
    fn the_extranonce_before_the_proven_tag_tells_who_mined_it() {
        let tag = tag(1);
        for (solo, gap) in [(true, 0), (false, 0), (true, 1), (false, 1)] {
            let extranonce = |solo| Extranonce {
                instance: 7,
                connection: Extranonce::connection(u32::MAX, solo),
                job: u32::MAX,
            };
            let copied = CoinbaseTag::new("main", "wallet", None).bytes(&[2; 32], b"pays us");
            // A copy of the name with another extranonce says nothing beside the proven one.
            let free = [
                extranonce(!solo).bytes().as_slice(),
                &copied,
                &extranonce(solo).bytes(),
                &[9; 1][..gap],
                &tag.bytes(&[2; 32], b"pays us"),
            ]
            .concat();
            let found = tag.find(&free, gap, &[2; 32], |_| Some(b"pays us"));
            let proof = TagProof::Proven;
            assert_eq!(found, Some(FoundTag { proof, solo }));
        }
        let alone = tag.bytes(&[2; 32], b"pays us");
        let found = tag.find(&alone, 0, &[2; 32], |_| Some(b"pays us"));
        assert!(found.is_some_and(|found| !found.solo), "no extranonce");
    }

    #[test]
    fn a_keyless_tag_proves_nothing_even_to_itself() {
        let keyless = CoinbaseTag::new("main", "wallet", None);
        let free = keyless.bytes(&[2; 32], b"pays us");
        let said = found(&keyless, &free, 2, b"pays us");
        assert_eq!(said, Some(TagProof::Unproven));
    }

    #[test]
    fn a_key_is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/blocks.key");
        let key = CoinbaseKey::open(&path).unwrap();
        assert_eq!(CoinbaseKey::open(&path).unwrap(), key);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{key:?}").contains(&hex::encode(&key.0[..4])));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = CoinbaseKey::open(&path);
        assert!(matches!(
            exposed,
            Err(CoinbaseKeyError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        let malformed = CoinbaseKey::open(&path);
        assert!(matches!(malformed, Err(CoinbaseKeyError::Malformed { .. })));
    }
}
