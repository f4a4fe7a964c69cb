//! Evidence: facts that somebody must answer for, chained in one order, under a Merkle tree whose
//! roots are signed: whoever keeps one root can tell whether anything before it was changed.

pub mod audit;
pub mod entry;
pub mod note;
pub mod photos;
pub mod tables;
pub mod tree;
