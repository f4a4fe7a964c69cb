//! CryptoNote's tree hash, with the branch of leaf 0 kept apart.
//!
//! Each connection's coinbase differs and is always leaf 0, so one job costs as many hashes as the
//! tree is deep instead of as many as the block has transactions.

use crate::chain::Hash;
use crate::keccak::keccak256_pair;

/// The root of the tree over `leaf0` followed by `others`.
pub fn root(leaf0: Hash, others: &[Hash]) -> Hash {
    fold(leaf0, &branch(others))
}

/// The nodes leaf 0 is joined with on its way to the root, lowest first; `others` are leaves 1, 2,
/// ….
///
/// The tree is not Bitcoin's: with n leaves, the last 2(n − p) are first paired down to the largest
/// power of two p below n, and what comes before is carried up untouched.
pub fn branch(others: &[Hash]) -> Vec<Hash> {
    let count = others.len() + 1;
    if count == 1 {
        return Vec::new();
    }
    if count == 2 {
        return vec![others[0]];
    }
    let mut width = count.next_power_of_two() / 2;
    let carried = 2 * width - count;
    let mut branch = Vec::new();
    // `level` holds nodes 1, 2, … of the level; node 0 depends on leaf 0 and is not known here.
    let mut level: Vec<Hash> = Vec::with_capacity(width);
    if carried == 0 {
        branch.push(others[0]);
        level.extend(others[1..].chunks_exact(2).map(pair));
    } else {
        level.extend_from_slice(&others[..carried - 1]);
        level.extend(others[carried - 1..].chunks_exact(2).map(pair));
    }
    while width > 1 {
        branch.push(level[0]);
        level = level[1..].chunks_exact(2).map(pair).collect();
        width /= 2;
    }
    branch
}

/// The root that leaf 0 and its branch make.
pub fn fold(leaf0: Hash, branch: &[Hash]) -> Hash {
    branch
        .iter()
        .fold(leaf0, |node, sibling| keccak256_pair(&node, sibling))
}

fn pair(nodes: &[Hash]) -> Hash {
    keccak256_pair(&nodes[0], &nodes[1])
}
