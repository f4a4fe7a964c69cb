//! `evidence`: the chain over the facts that somebody must answer for, and its signed roots.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The stream.
pub struct EvidenceRows;

/// The streams whose rows are chained.
pub const CHAINED: &[&str] = &[
    "registry",
    "commands",
    "instructions",
    "access",
    "violations",
    "orders",
    "site_commands",
];
/// What a row is.
pub const KINDS: &[&str] = &["fact", "checkpoint"];

/// The longest signed root, bytes.
const MAX_NOTE_BYTES: usize = 4_096;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it was chained or signed.").required(),
    Column::new(
        "log",
        Kind::Text,
        "The name of the log, which its checkpoints begin with.",
    )
    .required(),
    Column::new(
        "kind",
        Kind::Text,
        "fact, or checkpoint: a signed root over all facts before it.",
    )
    .required()
    .limits(Limits::OneOf(KINDS)),
    Column::new(
        "position",
        Kind::Int,
        "The fact's place in the log, from 0; of a checkpoint, how many facts it is over.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(0, i64::MAX)),
    Column::new("fact_stream", Kind::Text, "The table that has the fact."),
    Column::new("fact_seq", Kind::Int, "Its seq there.").limits(Limits::Int(1, i64::MAX)),
    Column::new("fact_row", Kind::Int, "Its row there.").limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "previous_hash",
        Kind::Text,
        "The hash of the fact before, 64 hex digits.",
    ),
    Column::new(
        "hash",
        Kind::Text,
        "The hash of the fact's entry, or the root, 64 hex digits (RFC 6962).",
    )
    .required(),
    Column::new(
        "note",
        Kind::Text,
        "The checkpoint as C2SP's tlog-checkpoint writes it, signed.",
    )
    .limits(Limits::TextBytes(MAX_NOTE_BYTES)),
    Column::new(
        "verifier",
        Kind::Text,
        "The public key that signed, as C2SP's signed-note writes it.",
    ),
];

impl Stream for EvidenceRows {
    fn name(&self) -> &'static str {
        "evidence"
    }
    fn doc(&self) -> &'static str {
        "The chain over the facts of other streams that somebody must answer for, with signed \
        roots every hour."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "log"
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
}

/// A link of the chain, or a signed root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRow {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The log's name.
    pub log: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// From 0.
    pub position: i64,
    /// One of [`CHAINED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact_stream: Option<String>,
    /// A table's sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact_seq: Option<i64>,
    /// An index in a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact_row: Option<i64>,
    /// 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_hash: Option<String>,
    /// 64 hex digits.
    pub hash: String,
    /// A signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A public key with its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
}

impl Record for EvidenceRow {
    const STREAM: &'static dyn Stream = &EvidenceRows;
    fn key(&self) -> &str {
        &self.log
    }
}
