//! A Merkle tree over text rows, such as the rows of a block's window.
//!
//! Everything is hexadecimal text, also inside the tree, so that whoever has a SQL engine with
//! `sha256` can climb it. Leaves and nodes are hashed under different letters, without which a node
//! could be passed off as a row.

use sha2::{Digest, Sha256};

/// The hash of one row.
pub fn leaf(row: &str) -> String {
    hashed(&["leaf:", row])
}

/// The root over leaf hashes in their order; a node without a neighbour goes up as it is. `None`
/// without leaves.
pub fn root(leaves: &[String]) -> Option<String> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(node).collect();
    }
    level.pop()
}

/// One step from a leaf to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sibling {
    /// The neighbour stands before.
    Left(String),
    /// The neighbour stands behind.
    Right(String),
}

/// What it takes to get from leaf `index` to the root, from below; `None` when there is no such
/// leaf.
pub fn proof(leaves: &[String], index: usize) -> Option<Vec<Sibling>> {
    leaves.get(index)?;
    let (mut level, mut place, mut steps) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        let neighbour = level.get(place ^ 1).cloned();
        steps.extend(neighbour.map(|hash| {
            if place % 2 == 1 {
                Sibling::Left(hash)
            } else {
                Sibling::Right(hash)
            }
        }));
        level = level.chunks(2).map(node).collect();
        place /= 2;
    }
    Some(steps)
}

/// Where the steps lead from a leaf: to the root, if the row is in the tree.
pub fn root_from_proof(leaf: &str, steps: &[Sibling]) -> String {
    steps
        .iter()
        .fold(leaf.to_owned(), |hash, beside| match beside {
            Sibling::Left(left) => hashed(&["node:", left, &hash]),
            Sibling::Right(right) => hashed(&["node:", &hash, right]),
        })
}

fn node(pair: &[String]) -> String {
    match pair {
        [left, right] => hashed(&["node:", left, right]),
        _ => pair.concat(),
    }
}

fn hashed(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}
