//! Double entry: accounts, and an entry that takes from one what it gives to another.

use std::fmt;

/// An account of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where rewards come from: minus all that was ever credited.
    Coinbase,
    /// The pool's own money beside its fee; below zero when the pool has put something in.
    Reserve,
    /// The pool's part of blocks that can be spent.
    Fee,
    /// The pool's part of blocks that cannot be spent yet.
    ImmatureFee,
    /// What open payments have taken from miners.
    InTransit,
    /// What miners have got.
    Paid,
    /// What the network has got for transactions.
    Network,
    /// A miner's balance.
    Miner(String),
    /// A miner's part of blocks that cannot be spent yet.
    Immature(String),
}

impl Account {
    /// The account of a miner, or of the pool's fee, in `payouts`.
    pub fn from_name(name: &str, mature: bool) -> Self {
        match (name, mature) {
            ("fee", true) => Self::Fee,
            ("fee", false) => Self::ImmatureFee,
            (name, true) => Self::Miner(name.to_owned()),
            (name, false) => Self::Immature(name.to_owned()),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coinbase => f.write_str("coinbase"),
            Self::Reserve => f.write_str("reserve"),
            Self::Fee => f.write_str("fee"),
            Self::ImmatureFee => f.write_str("immature:fee"),
            Self::InTransit => f.write_str("in_transit"),
            Self::Paid => f.write_str("paid"),
            Self::Network => f.write_str("network"),
            Self::Miner(name) => write!(f, "miner:{name}"),
            Self::Immature(name) => write!(f, "immature:{name}"),
        }
    }
}

/// Money moved from one account to another. The amount is never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is taken.
    pub debit: Account,
    /// Where it goes.
    pub credit: Account,
    /// Atomic units.
    pub amount: i128,
}

impl Entry {
    /// An entry; a negative amount goes the other way.
    pub fn new(debit: Account, credit: Account, amount: i128) -> Self {
        match amount < 0 {
            true => Self {
                debit: credit,
                credit: debit,
                amount: -amount,
            },
            false => Self {
                debit,
                credit,
                amount,
            },
        }
    }
}
