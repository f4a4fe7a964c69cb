//! `violations`: every transition of a violation of a rule: what it was, what it is, who and why.
//!
//! The stream is the state itself and no copy of it: the newest message of a violation says all
//! about it, and a transition is this one message, which says the sequence that it follows. Rules
//! and people write into the same stream, and neither can overlook the other.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};
use crate::violation::{CONDITIONS, SEVERITIES, STATUSES, SUBJECT_KINDS, TRANSITIONS, TYPES};

/// The longest reason, bytes.
pub const MAX_REASON_BYTES: usize = 1_024;

/// The stream of transitions.
pub struct Violations;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the transition happened.").required(),
    Column::new(
        "violation",
        Kind::Text,
        "The violation: v and 16 hex digits, made of rule, subject, object and window.",
    )
    .required(),
    Column::new(
        "version",
        Kind::Int,
        "1 for its first transition, and one more with each.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(1, i64::MAX)),
    Column::new(
        "rule",
        Kind::Text,
        "The rule; absent where a person reported it.",
    ),
    Column::new("type", Kind::Text, "What kind of violation it is.")
        .required()
        .limits(Limits::OneOf(TYPES)),
    Column::new(
        "subject_kind",
        Kind::Text,
        "What kind of thing violates the rule.",
    )
    .required()
    .limits(Limits::OneOf(SUBJECT_KINDS)),
    Column::new("subject", Kind::Text, "What violates the rule.").required(),
    Column::new(
        "object",
        Kind::Text,
        "What of the subject, where it has more than one: an allocation, a sensor, a signal.",
    ),
    Column::new(
        "severity",
        Kind::Text,
        "low, medium, high or critical; it never falls.",
    )
    .required()
    .limits(Limits::OneOf(SEVERITIES)),
    Column::new("transition", Kind::Text, "What happened.")
        .required()
        .limits(Limits::OneOf(TRANSITIONS)),
    Column::new(
        "status_before",
        Kind::Text,
        "The status before; absent in the first row.",
    )
    .limits(Limits::OneOf(STATUSES)),
    Column::new("status", Kind::Text, "The status since.")
        .required()
        .limits(Limits::OneOf(STATUSES)),
    Column::new(
        "condition",
        Kind::Text,
        "Whether what the rule forbids holds, has ended, or cannot be said for missing data; \
         absent where a person reported it.",
    )
    .limits(Limits::OneOf(CONDITIONS)),
    Column::new("actor", Kind::Text, "Who did it; rules for the pipeline.").required(),
    Column::new("role", Kind::Text, "The role of who did it."),
    Column::new("reason", Kind::Text, "Why.").limits(Limits::TextBytes(MAX_REASON_BYTES)),
    Column::time("since", "When it began.").required(),
    Column::time(
        "until",
        "When it ended; absent while it lasts or that is not known.",
    ),
    Column::time(
        "window_start",
        "Where the window begins that it is of: of energy its period, of a licence its end, \
         otherwise since.",
    )
    .required(),
    Column::new("value", Kind::Float, "What was measured last.").unit(Unit::ByQuantity),
    Column::new("peak", Kind::Float, "The worst that was measured.").unit(Unit::ByQuantity),
    Column::new("threshold", Kind::Float, "The limit of the rule.").unit(Unit::ByQuantity),
    Column::time(
        "observed_at",
        "The time of the sample that it follows from.",
    ),
    Column::time(
        "opened_at",
        "When it was opened, the last time; absent before.",
    ),
    Column::time("acknowledged_at", "When somebody took notice since."),
    Column::time("resolved_at", "When it was resolved since."),
    Column::time(
        "acknowledge_due_at",
        "Until when somebody must take notice.",
    ),
    Column::time("resolve_due_at", "Until when it must be resolved."),
    Column::time("waived_until", "Until when it is waived."),
    Column::new(
        "evidence_stream",
        Kind::Text,
        "The table that the samples are in.",
    ),
    Column::new(
        "evidence_from_seq",
        Kind::Int,
        "seq of the sample with which it began.",
    ),
    Column::new(
        "evidence_through_seq",
        Kind::Int,
        "seq of the newest sample that counts.",
    ),
];

impl Stream for Violations {
    fn name(&self) -> &'static str {
        "violations"
    }
    fn doc(&self) -> &'static str {
        "Violations of rules: each transition with who did it and why, and what was measured."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "violation"
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

/// One transition, and all that holds since.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Microseconds since 1970, as all times here.
    pub event_time: i64,
    /// Its id.
    pub violation: String,
    /// From 1.
    pub version: i64,
    /// The id of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// One of [`TYPES`].
    #[serde(rename = "type")]
    pub kind: String,
    /// One of [`SUBJECT_KINDS`].
    pub subject_kind: String,
    /// An id.
    pub subject: String,
    /// A name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// One of [`SEVERITIES`].
    pub severity: String,
    /// One of [`TRANSITIONS`].
    pub transition: String,
    /// One of [`STATUSES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_before: Option<String>,
    /// One of [`STATUSES`].
    pub status: String,
    /// One of [`CONDITIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// A user, a token, `local` or `rules`.
    pub actor: String,
    /// A role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began.
    pub since: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Where its window begins.
    pub window_start: i64,
    /// In the unit of the metric, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The time of a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<i64>,
    /// When it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<i64>,
    /// When it was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<i64>,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<i64>,
    /// Until when it must be acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge_due_at: Option<i64>,
    /// Until when it must be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve_due_at: Option<i64>,
    /// Until when it is waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived_until: Option<i64>,
    /// A table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_stream: Option<String>,
    /// A table's sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_from_seq: Option<i64>,
    /// A table's sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_through_seq: Option<i64>,
}

impl Record for Violation {
    const STREAM: &'static dyn Stream = &Violations;
    fn key(&self) -> &str {
        &self.violation
    }
}
