//! The verdict on a share: free refusals first, the expensive hash last, and all of it pure.
//!
//! The order is a defence. Everything an attacker can send for nothing is refused for nothing; the
//! nonce is reserved before the hash, so that one solution sent twice at once is never credited
//! twice; nothing is counted before the hash says so.

use std::sync::Arc;

use crate::work::difficulty::Difficulty;
use crate::work::job::{Job, JobRing, Reservation};
use crate::work::late_shares::{ChainTips, ShareAge};
use crate::work::template::{Extranonce, Hash, Template, with_nonce};

/// A submitted share, as bytes: two spellings of one nonce are one nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// As the miner says.
    pub job_id: String,
    /// In blob order.
    pub nonce: [u8; 4],
    /// The hash the miner claims.
    pub result: Hash,
}

/// The verdicts of the `shares` stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Credited.
    Accepted,
    /// For a block nobody needs any more.
    Stale,
    /// Sent before.
    Duplicate,
    /// Not enough work.
    LowDifficulty,
    /// Not work at all: malformed, or the claimed hash is not the hash.
    Invalid,
    /// Not looked at: the pool had too much to verify.
    Busy,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Outcome; 6] = [
        Outcome::Accepted,
        Outcome::Stale,
        Outcome::Duplicate,
        Outcome::LowDifficulty,
        Outcome::Invalid,
        Outcome::Busy,
    ];

    /// The word in the `shares` stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Stale => "stale",
            Outcome::Duplicate => "duplicate",
            Outcome::LowDifficulty => "low_difficulty",
            Outcome::Invalid => "invalid",
            Outcome::Busy => "busy",
        }
    }

    /// Its place in [`Outcome::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why a share is not credited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The nonce is not 8 hex digits.
    MalformedNonce,
    /// The result is not 64 hex digits.
    MalformedResult,
    /// The nonce's last byte is not the one the job fixes.
    ForeignNonce,
    /// The job is unknown or its block is no longer wanted.
    Expired,
    /// The same nonce on the same job.
    Duplicate,
    /// More shares on one job than are remembered.
    Throttled,
    /// The claimed hash misses the job's target.
    LowDifficulty,
    /// The claimed hash is not the hash.
    WrongResult,
    /// Too many shares of strangers wait already.
    Busy,
    /// Its address has had too many wrong results hashed.
    Spent,
}

impl Rejection {
    /// What the miner is told. XMRig reconnects on some words ("Invalid job id",
    /// "Unauthenticated"), so none of them is used here: a new block must not become a reconnect
    /// storm.
    pub fn message(self) -> &'static str {
        match self {
            Rejection::MalformedNonce => "Rejected share: nonce must be 8 hex digits",
            Rejection::MalformedResult => "Rejected share: result must be 64 hex digits",
            Rejection::ForeignNonce => "Invalid nonce; is miner not compatible with NiceHash?",
            Rejection::Expired => "Block expired",
            Rejection::Duplicate => "Duplicate share",
            Rejection::Throttled => "Throttled down share submission (please increase difficulty)",
            Rejection::LowDifficulty => "Low difficulty share",
            Rejection::WrongResult => "Rejected share: invalid result",
            Rejection::Busy => "The pool is too busy to check this share; keep mining",
            Rejection::Spent => {
                "Too many wrong results came from your address; this share was not checked"
            }
        }
    }

    /// The verdict it is counted as.
    pub fn outcome(self) -> Outcome {
        match self {
            Rejection::Expired => Outcome::Stale,
            Rejection::Duplicate => Outcome::Duplicate,
            Rejection::LowDifficulty | Rejection::Throttled => Outcome::LowDifficulty,
            Rejection::MalformedNonce
            | Rejection::MalformedResult
            | Rejection::ForeignNonce
            | Rejection::WrongResult => Outcome::Invalid,
            Rejection::Busy | Rejection::Spent => Outcome::Busy,
        }
    }
}

/// What a share's row says about its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTerms {
    /// Hashes the share is worth.
    pub difficulty: u64,
    /// Hashes a block costs.
    pub network_difficulty: u128,
    /// Height of the block.
    pub height: u64,
}

impl JobTerms {
    /// The terms of a job.
    pub fn of_job(job: &Job) -> Self {
        Self {
            difficulty: job.difficulty.hashes(),
            network_difficulty: job.template.network_difficulty(),
            height: job.template.height(),
        }
    }
}

/// A share that passed everything free and is worth a hash.
#[derive(Debug, Clone)]
pub struct AdmittedShare {
    /// The block it may make.
    pub template: Arc<dyn Template>,
    /// The job's own.
    pub extranonce: Extranonce,
    /// The job's own.
    pub difficulty: Difficulty,
    /// In blob order.
    pub nonce: [u8; 4],
    /// The hash the miner claims.
    pub claimed: Hash,
    /// Its block is no longer wanted: it is credited by grace, and never a block.
    pub late: bool,
}

impl AdmittedShare {
    /// The bytes whose hash the miner claims to know.
    pub fn blob(&self) -> Vec<u8> {
        with_nonce(
            self.template.hashing_blob(self.extranonce),
            self.template.nonce_offset(),
            self.nonce,
        )
    }

    /// The terms of its job.
    pub fn terms(&self) -> JobTerms {
        JobTerms {
            difficulty: self.difficulty.hashes(),
            network_difficulty: self.template.network_difficulty(),
            height: self.template.height(),
        }
    }
}

/// A share refused without hashing; `terms` are those of its job, else of the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedShare {
    /// Why.
    pub reason: Rejection,
    /// For its row.
    pub terms: Option<JobTerms>,
}

/// Everything that can be said without hashing. `tips` are the blocks that jobs may build on, as of
/// now.
pub fn admit(
    jobs: &mut JobRing,
    tips: &ChainTips,
    now_ms: u64,
    submission: &Submission,
) -> Result<AdmittedShare, RefusedShare> {
    let current = jobs.current().map(JobTerms::of_job);
    let Some(job) = jobs.find(&submission.job_id) else {
        return Err(RefusedShare {
            reason: Rejection::Expired,
            terms: current,
        });
    };
    let refuse = |reason, job: &Job| {
        Err(RefusedShare {
            reason,
            terms: Some(JobTerms::of_job(job)),
        })
    };
    let age = tips.share_age(&job.template.prev(), now_ms);
    if age == ShareAge::Stale {
        return refuse(Rejection::Expired, job);
    }
    if !job.takes(submission.nonce) {
        return refuse(Rejection::ForeignNonce, job);
    }
    match job.reserve(submission.nonce) {
        Reservation::New => {}
        Reservation::Seen => return refuse(Rejection::Duplicate, job),
        Reservation::Full => return refuse(Rejection::Throttled, job),
    }
    if !job.difficulty.is_met_by(&submission.result) {
        return refuse(Rejection::LowDifficulty, job);
    }
    Ok(AdmittedShare {
        template: job.template.clone(),
        extranonce: job.extranonce,
        difficulty: job.difficulty,
        nonce: submission.nonce,
        claimed: submission.result,
        late: age == ShareAge::Late,
    })
}

/// The verdict once the hash is known: refused, or accepted with whether it is a block.
pub fn judge(share: &AdmittedShare, hash: &Hash) -> Result<bool, Rejection> {
    if *hash != share.claimed {
        return Err(Rejection::WrongResult);
    }
    Ok(!share.late && share.template.is_block(hash))
}
