//! What the payer and those who ask about payments tell each other: the rules, and what the payer
//! does now.

use serde::{Deserialize, Serialize};

/// The rules of payments that instructions and answers need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentRules {
    /// The pool that is paid for.
    pub pool: String,
    /// The pool's own threshold, atomic units.
    pub threshold_atomic: i128,
    /// The least that a miner may set.
    pub least_threshold_atomic: i128,
    /// The most that a miner may set.
    pub most_threshold_atomic: i128,
    /// Seconds between two payments to one miner.
    pub interval_s: u64,
}

impl PaymentRules {
    /// The threshold of an account that asked for `own`; 0 asks for the pool's.
    pub fn threshold(&self, own: Option<i128>) -> i128 {
        match own {
            Some(own) if own > 0 => {
                own.clamp(self.least_threshold_atomic, self.most_threshold_atomic)
            }
            _ => self.threshold_atomic,
        }
    }
}

/// Why a destination left a payment unpaid, and with it when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The wallet refuses it: tried again when an operator resumes it.
    Refused,
    /// Put back for the sake of the others: tried again at once, behind those who were not.
    PutBack,
    /// Anything else: tried again with the next interval.
    NextInterval,
}

impl ReleaseCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Refused, Self::PutBack, Self::NextInterval];

    /// The column's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::PutBack => "put_back",
            Self::NextInterval => "next_interval",
        }
    }

    /// The cause of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// What the reason of such a row begins with, for people.
    pub fn reason_prefix(self) -> &'static str {
        match self {
            Self::Refused => "refused: ",
            Self::PutBack => "later: ",
            Self::NextInterval => "",
        }
    }

    /// The cause of a row that was written before its column existed: only its reason tells.
    pub fn from_reason(reason: &str) -> Self {
        [Self::Refused, Self::PutBack]
            .into_iter()
            .find(|cause| reason.starts_with(cause.reason_prefix()))
            .unwrap_or(Self::NextInterval)
    }
}

/// What payments wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCause {
    /// The wallet has no passphrase.
    WalletLocked,
    /// The wallet does not know the newest blocks.
    WalletUnsynced,
    /// Anything else; the reason says it.
    Other,
}

impl WaitCause {
    /// The code that answers carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WalletLocked => "wallet_locked",
            Self::WalletUnsynced => "wallet_unsynced",
            Self::Other => "waiting",
        }
    }
}

/// Why no payment is made just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For programs.
    pub cause: WaitCause,
    /// For people.
    pub reason: String,
}

/// A rule of the ledger that does not hold: nobody is paid until an operator has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its name.
    pub rule: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.reason)
    }
}

/// The wallet's money beside what the ledger owes, atomic units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletBalance {
    /// What the wallet could spend at once.
    pub unlocked: u128,
    /// All that it has.
    pub total: u128,
    /// What it must have for everybody to be paid: mature balances, the fee, payments that are
    /// reserved or under review.
    pub owed: u128,
}

impl WalletBalance {
    /// How much is missing.
    pub fn shortfall(&self) -> u128 {
        self.owed.saturating_sub(self.total)
    }

    /// The same as a sentence; nothing when nothing is missing.
    pub fn shortage(&self) -> Option<String> {
        let Self { total, owed, .. } = self;
        (self.shortfall() > 0).then(|| {
            format!(
                "the wallet holds {total} atomic units and the ledger owes {owed}: {} are \
                 missing; find out where they are",
                self.shortfall()
            )
        })
    }
}

/// What the payer does now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayerStatus {
    /// The rule that stops payments.
    pub stopped: Option<Stopped>,
    /// Why nothing moves just now, e.g. a locked wallet.
    pub waiting: Option<Waiting>,
    /// Whether payments are only named.
    pub dry_run: bool,
    /// Who would be paid now, and how much in atomic units; the first thousand.
    pub due: Vec<(String, i128)>,
    /// Addresses that the wallet refuses, or refused to pay and nobody has resumed since, and why;
    /// the first thousand.
    pub refused: Vec<(String, String)>,
    /// Accounts that an operator holds, and why; the first thousand.
    pub held: Vec<(String, String)>,
    /// What the wallet has and owes, by its last answer of about a minute; nothing when it did not
    /// answer.
    pub wallet_balance: Option<WalletBalance>,
    /// When this was true, microseconds since 1970; 0 before the first look.
    pub at: i64,
}
