//! The Merkle tree of RFC 6962, §2.1, of which only the roots of its whole parts are kept.
//!
//! Own code: the trees of the crates at hand keep every leaf, or are those of a log server with its
//! storage; this is forty lines, and is checked against the vectors of the reference.

use sha2::{Digest, Sha256};

/// A hash.
pub type Hash = [u8; 32];

/// 64 hex digits as a hash.
pub fn hash_of(text: &str) -> Option<Hash> {
    Hash::try_from(hex::decode(text).ok()?).ok()
}

/// The hash of a leaf: SHA-256 of a byte 0 and the entry.
pub fn leaf(entry: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(entry);
    hash.finalize().into()
}

/// The hash of a node: SHA-256 of a byte 1, what lies left, and what lies right.
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// A tree that grows at its end. It holds as many hashes as its size has bits set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The roots of whole subtrees, the widest first: one for each bit of `size`.
    whole: Vec<Hash>,
}

impl Tree {
    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut joined = leaf;
        // Each bit that carries over joins two whole subtrees of one width.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.whole.pop() {
                joined = node(&left, &joined);
            }
        }
        self.whole.push(joined);
        self.size += 1;
    }

    /// The root; that of an empty tree is the SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut from_right = self.whole.iter().rev().copied();
        let Some(last) = from_right.next() else {
            return Sha256::digest([]).into();
        };
        from_right.fold(last, |right, left| node(&left, &right))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The leaves and roots that the reference implementation of RFC 6962 is tested with.
    const VECTORS: [(&str, &str); 8] = [
        (
            "",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        ),
        (
            "00",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        ),
        (
            "10",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ),
        (
            "2021",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
        (
            "3031",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        ),
        (
            "40414243",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        ),
        (
            "5051525354555657",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        ),
        (
            "606162636465666768696a6b6c6d6e6f",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ),
    ];

    #[test]
    fn roots_are_those_of_the_reference() {
        let mut tree = Tree::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(tree.root()), empty);
        for (entry, root) in VECTORS {
            tree.push(leaf(&hex::decode(entry).unwrap()));
            assert_eq!(hex::encode(tree.root()), root, "{} leaves", tree.size());
        }
    }

    /// The definition of RFC 6962, word for word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&defined(&many[..split]), &defined(&many[split..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition(
            leaves in prop::collection::vec(any::<[u8; 32]>(), 0..200),
        ) {
            let mut tree = Tree::default();
            leaves.iter().for_each(|leaf| tree.push(*leaf));
            prop_assert_eq!(tree.root(), defined(&leaves));
            prop_assert_eq!(tree.whole.len() as u32, tree.size.count_ones());
        }
    }
}
