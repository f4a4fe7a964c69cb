//! Accounts that are nobody's wallet, whose names no miner may have.

/// The account of the pool's own part. No wallet address is spelled like this.
pub const FEE: &str = "fee";
/// Names that no miner may have, because accounts that are nobody's wallet bear them.
pub const RESERVED: &[&str] = &[FEE];
