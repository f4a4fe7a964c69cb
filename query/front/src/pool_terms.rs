//! On which terms a pool is mined: where to connect, what it takes, and how its chain counts.

use serde::Serialize;

/// On which terms a pool is mined, as its configuration has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolTerms {
    /// The pool's name in every row.
    pub pool: String,
    /// The chain.
    pub chain: ChainTerms,
    /// Where miners connect.
    pub ports: Vec<PortTerms>,
    /// SHA-256 of the certificate that the ports show, which miners may pin; null without TLS.
    pub tls_fingerprint: Option<String>,
    /// How blocks found from now on are shared out: `pplns`, `prop` or `solo`; null when nobody is
    /// paid.
    pub scheme: Option<String>,
    /// Work that a PPLNS window reaches back, in thousandths of a block.
    pub window_milli: Option<i64>,
    /// The pool's part in hundredths of a percent.
    pub fee_bp: Option<i64>,
    /// The same of blocks that miners who mine solo find.
    pub solo_fee_bp: Option<i64>,
    /// How miners are paid; null when this pool pays nobody.
    pub payments: Option<PaymentTerms>,
}

/// How a chain counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainTerms {
    /// As the configuration calls it.
    pub name: String,
    /// One coin, as people write it.
    pub symbol: String,
    /// Digits after the point of one coin.
    pub decimals: u32,
    /// Seconds from block to block that the network aims at.
    pub block_target_s: u64,
    /// Blocks on a block until its reward can be spent.
    pub maturity_blocks: u64,
    /// As XMRig calls what is hashed.
    pub algorithm: String,
    /// The usual port of a daemon's RPC, by which others name the chain.
    pub daemon_port: u16,
    /// Where a block is looked at, with `{hash}` for its id; null where nobody shows the chain.
    pub explorer_block: Option<String>,
    /// Where a transaction is looked at, likewise.
    pub explorer_transaction: Option<String>,
}

/// A port where miners connect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortTerms {
    /// The port.
    pub port: u16,
    /// Hashes a share costs at first.
    pub start_difficulty: u64,
    /// Hashes a share costs always, where it does not follow the miner.
    pub fixed_difficulty: Option<u64>,
    /// Whether the port speaks TLS as well.
    pub tls: bool,
    /// Whether it is for rented hashrate.
    pub nicehash: bool,
    /// Whether its miners mine solo; on any port one does who logs in with `solo:` before its
    /// address.
    pub solo: bool,
}

/// How miners are paid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PaymentTerms {
    /// The least balance that is paid, atomic units.
    pub threshold_atomic: String,
    /// The least that a miner may set as its own.
    pub least_threshold_atomic: String,
    /// A miner is paid at most once in so many seconds.
    pub interval_s: u64,
    /// Blocks on a payment until it counts as final.
    pub confirmations: u64,
}
