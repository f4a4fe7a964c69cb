//! Payments: who is owed what, who is paid next, and what is done about a payment whose fate is not
//! known.
//!
//! Everything that decides is a function of the facts in `payouts`, `payments` and `instructions`:
//! [`Ledger`] adds them up, [`select`] picks who is paid, [`plan`] says what happens to an open
//! payment. [`Payer`] carries it out between a journal and a wallet, and may be killed at any
//! moment: what it is about to do is durable before it is done.

use serde::{Deserialize, Serialize};

use headframe_schemas::payment::PaymentRules;
use headframe_sinks::WalletConfig;
use headframe_sinks::wallet::WalletKind;

pub mod entry;
pub mod journal;
pub mod lake_journal;
pub mod ledger;
pub mod open_payment;
pub mod payer;
pub mod plan;
pub mod select;
pub mod signed_tx;
pub mod state;
pub mod table_pages;

pub use entry::{Account, Entry};
pub use headframe_schemas::payment::{PayerStatus, WalletBalance};
pub use journal::{Journal, JournalError};
pub use ledger::{BrokenRule, Ledger, PayoutFact};
pub use open_payment::{OpenPayment, PaymentStatus};
pub use payer::Payer;
pub use signed_tx::SignedTx;
pub use state::PayerStateHandle;

/// Who bears the network's fee.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeePolicy {
    /// The pool: miners get their whole balance.
    #[default]
    Pool,
    /// The miners of the transaction, in equal parts.
    Miner,
}

/// How payments are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentConfig {
    /// The pool whose miners are paid: the name in `stratum.pool`.
    pub pool: String,
    /// The least balance that is paid, atomic units. The defaults here are Monero's: a
    /// configuration that names none gets those of its chain.
    pub threshold_atomic: u64,
    /// The least and the most that a miner may set as a threshold of its own, atomic units.
    pub least_threshold_atomic: u64,
    /// See `least_threshold_atomic`.
    pub most_threshold_atomic: u64,
    /// A miner is paid at most once in so many seconds.
    pub interval_s: u64,
    /// The most destinations of one transaction; monero-wallet-rpc takes 15.
    pub batch_size: usize,
    /// Who bears the network's fee: pool, or miner (the miners of a transaction, in equal parts).
    pub fee_policy: FeePolicy,
    /// A transaction is final with so many blocks on it, its own included.
    pub confirmations: u64,
    /// After so many seconds without a trace of a payment in the wallet's history, an operator must
    /// look.
    pub settle_s: u64,
    /// PauseReason between two looks at tables and wallet, in milliseconds.
    pub poll_ms: u64,
    /// Say what would be paid, and pay nothing.
    pub dry_run: bool,
    /// The wallet.
    pub wallet: WalletConfig,
}

impl Default for PaymentConfig {
    fn default() -> Self {
        Self {
            pool: "main".to_owned(),
            threshold_atomic: 100_000_000_000,
            least_threshold_atomic: 10_000_000_000,
            most_threshold_atomic: 100_000_000_000_000,
            interval_s: 3_600,
            batch_size: 15,
            fee_policy: FeePolicy::Pool,
            confirmations: 10,
            settle_s: 600,
            poll_ms: 5_000,
            dry_run: false,
            wallet: WalletConfig::default(),
        }
    }
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX / 1_000_000)
        .saturating_mul(1_000_000)
}

impl PaymentConfig {
    /// Refuses values that cannot work, each with its key.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("threshold_atomic", self.threshold_atomic),
            ("least_threshold_atomic", self.least_threshold_atomic),
            ("interval_s", self.interval_s),
            ("batch_size", self.batch_size as u64),
            ("confirmations", self.confirmations),
            ("settle_s", self.settle_s),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("payments.{key} is 0; it must be at least 1"));
        }
        if self.pool.is_empty() {
            return Err("payments.pool is empty; it must be the name in stratum.pool".to_owned());
        }
        if self.least_threshold_atomic > self.most_threshold_atomic {
            return Err("payments.least_threshold_atomic must not be more than \
                payments.most_threshold_atomic"
                .to_owned());
        }
        let most = if self.wallet.kind == WalletKind::Monero {
            15
        } else {
            500
        };
        if self.batch_size > most {
            return Err(format!(
                "payments.batch_size is {}; a transaction of this wallet takes at most {most}",
                self.batch_size
            ));
        }
        if !(10..=600_000).contains(&self.poll_ms) {
            return Err(format!(
                "payments.poll_ms is {}; it must be from 10 to 600000",
                self.poll_ms
            ));
        }
        if self.fee_policy == FeePolicy::Miner && self.wallet.kind == WalletKind::Bitcoin {
            return Err(
                "payments.fee_policy is miner; a wallet with sendmany names its fee after it has \
                sent, so it must be pool"
                    .to_owned(),
            );
        }
        self.wallet.validate()
    }

    /// `settle_s` in microseconds.
    pub fn settle_us(&self) -> i64 {
        micros(self.settle_s)
    }

    /// `interval_s` in microseconds.
    pub fn interval_us(&self) -> i64 {
        micros(self.interval_s)
    }

    /// The rules that instructions and answers need.
    pub fn rules(&self) -> PaymentRules {
        PaymentRules {
            pool: self.pool.clone(),
            threshold_atomic: self.threshold_atomic.into(),
            least_threshold_atomic: self.least_threshold_atomic.into(),
            most_threshold_atomic: self.most_threshold_atomic.into(),
            interval_s: self.interval_s,
        }
    }
}

/// The text that a miner signs to set its own threshold; it names everything that must not be
/// replayed elsewhere.
pub fn threshold_text(pool: &str, address: &str, threshold_atomic: u64, time_s: i64) -> String {
    format!(
        "headframe payment threshold\npool {pool}\naddress {address}\nthreshold_atomic \
        {threshold_atomic}\ntime {time_s}"
    )
}
