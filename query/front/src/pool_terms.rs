//! On which terms a pool is mined: where to connect, what it takes, and how its chain counts.

use crate::answers::described::answer_type;

answer_type! {
    /// On which terms a pool is mined, as its configuration has it.
    PoolTerms {
        /// The pool's name in every row.
        pool: String,
        /// The chain.
        chain: ChainTerms,
        /// Where miners connect.
        ports: Vec<PortTerms>,
        /// SHA-256 of the certificate that the ports show, which miners may pin; null without TLS.
        tls_fingerprint: Option<String>,
        /// How blocks found from now on are shared out: `pplns`, `prop` or `solo`; null when nobody
        /// is paid.
        scheme: Option<String>,
        /// Work that a PPLNS window reaches back, in thousandths of a block.
        window_milli: Option<i64>,
        /// The pool's part in hundredths of a percent.
        fee_bp: Option<i64>,
        /// The same of blocks that miners who mine solo find.
        solo_fee_bp: Option<i64>,
        /// How miners are paid; null when this pool pays nobody.
        payments: Option<PaymentTerms>,
    }
}

answer_type! {
    /// How a chain counts.
    ChainTerms {
        /// As the configuration calls it.
        name: String,
        /// One coin, as people write it.
        symbol: String,
        /// Digits after the point of one coin.
        decimals: u32,
        /// Seconds from block to block that the network aims at.
        block_target_s: u64,
        /// Blocks on a block until its reward can be spent.
        maturity_blocks: u64,
        /// As XMRig calls what is hashed.
        algorithm: String,
        /// The usual port of a daemon's RPC, by which others name the chain.
        daemon_port: u16,
        /// Where a block is looked at, with `{hash}` for its id; null where nobody shows the chain.
        explorer_block: Option<String>,
        /// Where a transaction is looked at, likewise.
        explorer_transaction: Option<String>,
    }
}

answer_type! {
    /// A port where miners connect.
    PortTerms {
        /// The port.
        port: u16,
        /// Hashes a share costs at first.
        start_difficulty: u64,
        /// Hashes a share costs always, where it does not follow the miner.
        fixed_difficulty: Option<u64>,
        /// Whether the port speaks TLS as well.
        tls: bool,
        /// Whether it is for rented hashrate.
        nicehash: bool,
        /// Whether its miners mine solo; on any port one does who logs in with `solo:` before its
        /// address.
        solo: bool,
    }
}

answer_type! {
    /// How miners are paid.
    PaymentTerms {
        /// The least balance that is paid, atomic units.
        threshold_atomic: String,
        /// The least that a miner may set as its own.
        least_threshold_atomic: String,
        /// A miner is paid at most once in so many seconds.
        interval_s: u64,
        /// Blocks on a payment until it counts as final.
        confirmations: u64,
    }
}
