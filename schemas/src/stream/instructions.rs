//! `instructions`: what operators and miners decided about payments, as facts that are never
//! edited.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// What can be decided.
pub const KINDS: &[&str] = &["threshold", "hold", "resume", "adjust", "resolve"];
/// What an operator found about a payment under review.
pub const VERDICTS: &[&str] = &["paid", "unpaid"];

/// The stream of instructions.
pub struct Instructions;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it was decided.").required(),
    Column::new("pool", Kind::Text, "The pool.").required(),
    Column::new(
        "kind",
        Kind::Text,
        "threshold (the least amount worth a payment to the account), hold (pay nothing to the \
         account, or to nobody), resume, adjust (move money between the pool's reserve and the \
         account, which may be fee), or resolve (end the review of a payment).",
    )
    .required()
    .limits(Limits::OneOf(KINDS)),
    Column::new(
        "account",
        Kind::Text,
        "The miner it is about, or fee; absent in a hold or resume of everybody.",
    ),
    Column::new(
        "amount_atomic",
        Kind::Decimal,
        "The threshold, 0 for the pool's own; or what the account gains by an adjustment, negative \
         when it loses.",
    )
    .unit(Unit::AtomicUnits),
    Column::new(
        "payment",
        Kind::Text,
        "The payment that a resolve is about.",
    ),
    Column::new(
        "verdict",
        Kind::Text,
        "What the operator found about that payment: paid or unpaid.",
    )
    .limits(Limits::OneOf(VERDICTS)),
    Column::new(
        "tx_id",
        Kind::Text,
        "The transaction of a payment that was found to be paid.",
    ),
    Column::new(
        "reason",
        Kind::Text,
        "Why, in the operator's words; an adjust, hold or resolve without one is void.",
    ),
    Column::new("actor", Kind::Text, "Who decided: operator or miner.").required(),
    Column::new(
        "proof",
        Kind::Text,
        "A miner's signature over the setting, which the pool has checked.",
    ),
];

impl Stream for Instructions {
    fn name(&self) -> &'static str {
        "instructions"
    }
    fn doc(&self) -> &'static str {
        "Decisions of operators and miners about payments: thresholds, holds, adjustments, ends of \
         reviews."
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

/// One decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The pool's name.
    pub pool: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// The miner's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Atomic units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_atomic: Option<i128>,
    /// The payment's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// One of [`VERDICTS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The transaction's name on its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_id: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// operator or miner.
    pub actor: String,
    /// A signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl Record for Instruction {
    const STREAM: &'static dyn Stream = &Instructions;
    fn key(&self) -> &str {
        &self.pool
    }
}
