//! The check of our key schedule against the node's own blocks: their proof of work must be what
//! the schedule demands.
//!
//! A node does not say its key interval or fork height. With a wrong one every block found would be
//! refused after hours of work, so the newest blocks are hashed under our rules before the first
//! job goes out, and some again at each new key.

use std::collections::BTreeMap;
use thiserror::Error;

use crate::chain::Hash;
use crate::chain::bitcoin::header::{Header, LEN};
use crate::chain::bitcoin::keys::KeySchedule;
use crate::chain::bitcoin::sha256d::sha256d;
use crate::chain::bitcoin::target::Target;
use crate::randomx::HashError;

/// A wrong rule passes by luck once in 2³² times.
const CERTAINTY_BITS: u32 = 32;
/// So unlikely must it be that SHA-256 work is there by luck, for the fork height to be named as
/// the cause.
const CAUSE_BITS: u32 = 8;

/// A block of the node's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its height.
    pub height: u64,
    /// Its header.
    pub header: [u8; LEN],
    /// The key that our schedule gives it, raw.
    pub key: Hash,
}

/// What does not fit, and which setting to look at.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ScheduleMismatch {
    /// RandomX by our rules, SHA-256 in fact.
    #[error(
        "block {height} of the node was worked on with SHA-256, not RandomX; \
         stratum.opensy.fork_height = {fork_height} is too low"
    )]
    ForkTooLow { height: u64, fork_height: u64 },
    /// SHA-256 by our rules, something else in fact.
    #[error(
        "block {height} of the node was not worked on with SHA-256; stratum.opensy.fork_height = \
         {fork_height} is too high"
    )]
    ForkTooHigh { height: u64, fork_height: u64 },
    /// RandomX under another key.
    #[error(
        "block {height} of the node has no RandomX work under our key, block {key_height}; \
         stratum.opensy.key_interval = {interval} is wrong"
    )]
    Key {
        height: u64,
        key_height: u64,
        interval: u64,
    },
    /// Bits that no block can meet.
    #[error("block {height} of the node has a header that is not known here")]
    Header { height: u64 },
}

/// The heights to look at: the newest of each of the last `epochs` epochs, up to the end of the
/// chain, oldest first. Each tells as many bits as its hash has leading zeros, and each epoch alone
/// is to be certain, since two intervals agree on some of the keys.
pub fn heights(schedule: &KeySchedule, tip: u64, newest_bits: u32, epochs: u64) -> Vec<u64> {
    let each = u64::from(CERTAINTY_BITS.div_ceil(bits_told(newest_bits)));
    let mut heights = Vec::new();
    let mut newest = tip;
    for _ in 0..epochs {
        let epoch = schedule.epoch(newest);
        heights.extend(
            (epoch.max(1)..=newest)
                .rev()
                .take(usize::try_from(each).unwrap_or(usize::MAX)),
        );
        match epoch.checked_sub(1) {
            Some(before) => newest = before,
            None => break,
        }
    }
    heights.reverse();
    heights
}

/// Hashes the samples with `randomx` (key, then bytes), one key after the other, and says what does
/// not fit.
pub fn judge(
    schedule: &KeySchedule,
    samples: &[Sample],
    mut randomx: impl FnMut(&Hash, &[u8]) -> Result<Hash, HashError>,
) -> Result<Result<(), ScheduleMismatch>, HashError> {
    let mut by_key: BTreeMap<Hash, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_key.entry(sample.key).or_default().push(sample);
    }
    let mut wrong: Vec<&Sample> = Vec::new();
    for sample in by_key.into_values().flatten() {
        let Some(target) = Target::from_compact(Header::parse(&sample.header).bits) else {
            return Ok(Err(ScheduleMismatch::Header {
                height: sample.height,
            }));
        };
        let hash = match schedule.is_randomx(sample.height) {
            true => randomx(&sample.key, &sample.header)?,
            false => sha256d(&[&sample.header]),
        };
        if !target.is_met_by(&hash) {
            wrong.push(sample);
        }
    }
    Ok(explain(schedule, samples, &wrong))
}

fn explain(
    schedule: &KeySchedule,
    samples: &[Sample],
    wrong: &[&Sample],
) -> Result<(), ScheduleMismatch> {
    let heights = || wrong.iter().map(|sample| sample.height);
    let (Some(height), Some(last)) = (heights().min(), heights().max()) else {
        return Ok(());
    };
    let fork_height = schedule.fork_height;
    if !schedule.is_randomx(height) {
        return Err(ScheduleMismatch::ForkTooHigh {
            height,
            fork_height,
        });
    }
    // Up to the real fork every block has SHA-256 work, also those that RandomX found good by luck.
    let before: Vec<&Sample> = samples
        .iter()
        .filter(|sample| (fork_height..=last).contains(&sample.height))
        .collect();
    let found_bits: u32 = before
        .iter()
        .map(|sample| bits_told(Header::parse(&sample.header).bits))
        .sum();
    if found_bits >= CAUSE_BITS && before.iter().all(|sample| met_by_sha256(sample)) {
        return Err(ScheduleMismatch::ForkTooLow {
            height,
            fork_height,
        });
    }
    Err(ScheduleMismatch::Key {
        height,
        key_height: schedule.key_height(height),
        interval: schedule.interval,
    })
}

/// How many zero bits a hash needs to meet these bits, which is how sure one header makes us; at
/// least 1.
fn bits_told(bits: u32) -> u32 {
    Target::from_compact(bits).map_or(1, |target| 127 - target.difficulty().max(2).leading_zeros())
}

fn met_by_sha256(sample: &Sample) -> bool {
    let target = Target::from_compact(Header::parse(&sample.header).bits);
    target.is_some_and(|target| target.is_met_by(&sha256d(&[&sample.header])))
}
