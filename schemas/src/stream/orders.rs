//! `orders`: what a violation leads to: a notice, a cap or a stop, which waits until it is carried
//! out and signed off.
//!
//! The newest message of an order says all about it, as with violations.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::violations::MAX_REASON_BYTES;
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};
use crate::violation::{ORDER_ACTIONS, ORDER_STATUSES, SUBJECT_KINDS};

/// The stream of orders.
pub struct OrderRows;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it became so.").required(),
    Column::new(
        "order",
        Kind::Text,
        "The order: the violation and when it was opened.",
    )
    .required(),
    Column::new(
        "version",
        Kind::Int,
        "1 for its first row, and one more with each.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(1, i64::MAX)),
    Column::new(
        "violation",
        Kind::Text,
        "The violation that it follows from.",
    )
    .required(),
    Column::new("rule", Kind::Text, "The rule that asks for it.").required(),
    Column::new(
        "subject_kind",
        Kind::Text,
        "What kind of thing it is about.",
    )
    .required()
    .limits(Limits::OneOf(SUBJECT_KINDS)),
    Column::new("subject", Kind::Text, "What it is about.").required(),
    Column::new(
        "action",
        Kind::Text,
        "notice, cap (draw at most cap_kw) or stop.",
    )
    .required()
    .limits(Limits::OneOf(ORDER_ACTIONS)),
    Column::new("cap_kw", Kind::Float, "The most power of a cap.").unit(Unit::Kilowatts),
    Column::new(
        "status",
        Kind::Text,
        "proposed, carried_out, signed_off, or withdrawn.",
    )
    .required()
    .limits(Limits::OneOf(ORDER_STATUSES)),
    Column::new("actor", Kind::Text, "Who did it; rules for the pipeline.").required(),
    Column::new("role", Kind::Text, "The role of who did it."),
    Column::new("reason", Kind::Text, "Why, or what was done.")
        .limits(Limits::TextBytes(MAX_REASON_BYTES)),
];

impl Stream for OrderRows {
    fn name(&self) -> &'static str {
        "orders"
    }
    fn doc(&self) -> &'static str {
        "What violations lead to: notices, caps and stops, and who carried each out and signed it \
         off."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "order"
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
        None
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        true
    }
    fn keeps_all_messages(&self) -> bool {
        true
    }
}

/// One step of an order, and all that holds since.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// Its id.
    pub order: String,
    /// From 1.
    pub version: i64,
    /// The id of a violation.
    pub violation: String,
    /// The id of a rule.
    pub rule: String,
    /// One of [`SUBJECT_KINDS`].
    pub subject_kind: String,
    /// An id.
    pub subject: String,
    /// One of [`ORDER_ACTIONS`].
    pub action: String,
    /// Thousands of watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_kw: Option<f64>,
    /// One of [`ORDER_STATUSES`].
    pub status: String,
    /// A user, a token, `local` or `rules`.
    pub actor: String,
    /// A role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record for Order {
    const STREAM: &'static dyn Stream = &OrderRows;
    fn key(&self) -> &str {
        &self.order
    }
}
