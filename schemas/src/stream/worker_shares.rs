//! `worker_shares`: shares of CoopMine's workers, with the coordinator's verdict and the pool's.
//!
//! They are not in `shares`: a pool pays by that stream, and these are paid by whatever pool the
//! cluster mines at.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The coordinator's verdicts.
pub const LOCAL_VERDICTS: &[&str] = &["right", "believed", "wrong", "unchecked"];
/// The upstream pool's verdicts.
pub const UPSTREAM_VERDICTS: &[&str] = &["accepted", "refused", "unsent", "unanswered"];

/// The stream of workers' shares.
pub struct WorkerShares;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When its end was known.").required(),
    Column::new("cluster", Kind::Text, "The cluster's id.").required(),
    Column::new("worker", Kind::Text, "The worker's id.").required(),
    Column::new(
        "job",
        Kind::Int,
        "The coordinator's number of the job; unique to one start of it.",
    )
    .required(),
    Column::new(
        "nonce",
        Kind::Text,
        "The nonce as it stands in the blob, 8 hex digits.",
    )
    .required(),
    Column::new(
        "height",
        Kind::Int,
        "The height of the block the job would make, where the pool tells it.",
    )
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "difficulty",
        Kind::Int,
        "What it is worth: the pool's difficulty when it was good enough for the pool, else the \
         worker's own.",
    )
    .required()
    .unit(Unit::Hashes)
    .limits(Limits::Int(0, i64::MAX))
    .few_values(),
    Column::new(
        "local_verdict",
        Kind::Text,
        "The coordinator's: right (it was recomputed), believed (it was not, as most that only \
         measure a worker), wrong, or unchecked (it could not be recomputed).",
    )
    .required()
    .limits(Limits::OneOf(LOCAL_VERDICTS)),
    Column::new(
        "upstream_verdict",
        Kind::Text,
        "The pool's: accepted, refused, unsent (its job ended first), or unanswered (it was sent, \
         and the connection ended first); absent for a share that was not for the pool.",
    )
    .limits(Limits::OneOf(UPSTREAM_VERDICTS)),
    Column::new(
        "reason",
        Kind::Text,
        "The pool's words when it refused, the coordinator's when it could not check.",
    ),
    Column::new(
        "is_block",
        Kind::Bool,
        "Whether it met the network's difficulty, where the pool tells that.",
    )
    .required(),
];

impl Stream for WorkerShares {
    fn name(&self) -> &'static str {
        "worker_shares"
    }
    fn doc(&self) -> &'static str {
        "Shares of CoopMine's workers, once final: the coordinator's verdict and the upstream \
         pool's."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "cluster"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Record
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
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// One share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerShare {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// The cluster's id.
    pub cluster: String,
    /// The worker's id.
    pub worker: String,
    /// The coordinator's number.
    pub job: i64,
    /// 8 hex digits.
    pub nonce: String,
    /// Block height of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    /// Hashes.
    pub difficulty: i64,
    /// One of [`LOCAL_VERDICTS`].
    pub local_verdict: String,
    /// One of [`UPSTREAM_VERDICTS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_verdict: Option<String>,
    /// The pool's words or the coordinator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it made a block.
    pub is_block: bool,
}

impl Record for WorkerShare {
    const STREAM: &'static dyn Stream = &WorkerShares;
    fn key(&self) -> &str {
        &self.cluster
    }
}
