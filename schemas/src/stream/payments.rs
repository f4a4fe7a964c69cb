//! `payments`: what the pool pays out, one row a payment, step and destination.
//!
//! All rows of a step are one message, so a step is there as a whole or not at all. Secrets of the
//! wallet, such as a transaction that is signed and not yet sent, are never in a row.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::payment::ReleaseCause;
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The steps in a payment's life.
pub const STEPS: &[&str] = &[
    "reserved",
    "submitting",
    "submitted",
    "confirmed",
    "released",
    "review",
];

/// The causes of a release.
const RELEASE_CAUSES: &[&str] = &[
    ReleaseCause::Refused.as_str(),
    ReleaseCause::PutBack.as_str(),
    ReleaseCause::NextInterval.as_str(),
];

/// The stream of payments.
pub struct Payments;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When this step was taken.").required(),
    Column::new("pool", Kind::Text, "The pool that pays.").required(),
    Column::new(
        "payment",
        Kind::Text,
        "The payment: destinations that go into one transaction.",
    )
    .required(),
    Column::new(
        "step",
        Kind::Text,
        "reserved (taken from the balance), submitting (written before the wallet is asked to \
         send), submitted, confirmed, released (back on the balance), or review (an operator \
         decides).",
    )
    .required()
    .limits(Limits::OneOf(STEPS)),
    Column::new("account", Kind::Text, "The miner whose balance it is.").required(),
    Column::new("address", Kind::Text, "Where it is sent.").required(),
    Column::new(
        "amount_atomic",
        Kind::Decimal,
        "What leaves the account's balance.",
    )
    .required()
    .unit(Unit::AtomicUnits),
    Column::new(
        "sent_atomic",
        Kind::Decimal,
        "What arrives: the amount without the part of the network's fee that the miner bears.",
    )
    .required()
    .unit(Unit::AtomicUnits),
    Column::new(
        "network_fee_atomic",
        Kind::Decimal,
        "This row's part of the transaction's network fee, known from submitting on; the parts add \
         up to the fee.",
    )
    .required()
    .unit(Unit::AtomicUnits),
    Column::new(
        "tx_id",
        Kind::Text,
        "The transaction, as soon as it is known.",
    ),
    Column::new(
        "reason",
        Kind::Text,
        "Why it was released or needs a review.",
    ),
    Column::new(
        "release_cause",
        Kind::Text,
        "On released: refused (not tried again before an operator resumes it), put_back (tried \
         again at once), or next_interval. Absent in rows of before this column existed, whose \
         reason begins with `refused: `, `later: `, or otherwise.",
    )
    .limits(Limits::OneOf(RELEASE_CAUSES)),
];

impl Stream for Payments {
    fn name(&self) -> &'static str {
        "payments"
    }
    fn doc(&self) -> &'static str {
        "Each step of each payment to a miner, from the reservation to the confirmed transaction."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "pool"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Stop
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Internal
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Reader
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        Some(MinerRows::by("account"))
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// One destination at one step of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// The payment's name.
    pub payment: String,
    /// One of [`STEPS`].
    pub step: String,
    /// The miner's name.
    pub account: String,
    /// Wallet address.
    pub address: String,
    /// Atomic units.
    pub amount_atomic: i128,
    /// Atomic units.
    pub sent_atomic: i128,
    /// Atomic units.
    pub network_fee_atomic: i128,
    /// The transaction's name on its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_id: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On `released`; absent in rows of before this column existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_cause: Option<ReleaseCause>,
}

impl Payment {
    /// Why a released row was released.
    pub fn release_cause(&self) -> ReleaseCause {
        self.release_cause.unwrap_or_else(|| {
            ReleaseCause::from_reason(self.reason.as_deref().unwrap_or_default())
        })
    }
}

impl Record for Payment {
    const STREAM: &'static dyn Stream = &Payments;
    fn key(&self) -> &str {
        &self.pool
    }
}
