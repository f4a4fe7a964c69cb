//! Bitcoin's merkle tree, with the branch of leaf 0 kept apart.
//!
//! Each connection's coinbase differs and is always leaf 0, so one job costs as many hashes as the
//! tree is deep instead of as many as the block has transactions. A level with an odd number of
//! nodes repeats its last one.

use super::sha256d::sha256d;
use crate::chain::Hash;

/// The nodes leaf 0 is joined with on its way to the root, lowest first; `others` are leaves 1, 2,
/// ….
pub fn branch(others: &[Hash]) -> Vec<Hash> {
    branch_by(others, pair)
}

/// The root that leaf 0 and its branch make.
pub fn fold(leaf0: Hash, branch: &[Hash]) -> Hash {
    fold_by(leaf0, branch, pair)
}

/// The root of the tree over `leaf0` followed by `others`.
pub fn root(leaf0: Hash, others: &[Hash]) -> Hash {
    fold(leaf0, &branch(others))
}

/// [`branch`] with another way of joining two nodes.
pub fn branch_by<N: Copy>(others: &[N], join: impl Fn(&N, &N) -> N) -> Vec<N> {
    // `level` holds nodes 1, 2, … of a level; node 0 depends on leaf 0 and is not known here.
    let mut level = others.to_vec();
    let mut branch = Vec::new();
    while let (Some(&sibling), Some(&last)) = (level.first(), level.last()) {
        branch.push(sibling);
        // With node 0 the level is odd.
        if level.len().is_multiple_of(2) {
            level.push(last);
        }
        level = level[1..]
            .chunks_exact(2)
            .map(|nodes| join(&nodes[0], &nodes[1]))
            .collect();
    }
    branch
}

/// [`fold`] with another way of joining two nodes.
pub fn fold_by<N: Copy>(leaf0: N, branch: &[N], join: impl Fn(&N, &N) -> N) -> N {
    branch
        .iter()
        .fold(leaf0, |node, sibling| join(&node, sibling))
}

fn pair(left: &Hash, right: &Hash) -> Hash {
    sha256d(&[left, right])
}
