//! A million cases each: no honest share is refused for its difficulty, no dishonest one is
//! credited, nothing counts twice.
//!
//! Plain loops over seeded dice, because they are a hundred times faster than a property-testing
//! library and as reproducible.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headframe_stratum::chain::{Hash, Template};
use headframe_stratum::share::{Rejection, Submission, admit};
use headframe_stratum::work::difficulty::{Difficulty, meets, miner_submits, target_from_hex};
use headframe_stratum::work::job::{JobRing, MAX_NONCES, Reservation};
use headframe_stratum::work::late_shares::ChainTips;

use crate::scripted::Scene;
use crate::simulated::Dice;

const CASES: usize = 1_000_000;
/// For which shares for the block before the newest are credited.
const GRACE_MS: u64 = 500;

fn hash(limbs: [u64; 4]) -> Hash {
    let mut hash = [0; 32];
    for (place, limb) in limbs.into_iter().enumerate() {
        hash[place * 8..place * 8 + 8].copy_from_slice(&limb.to_le_bytes());
    }
    hash
}

/// The highest hash that is worth `difficulty`: (2²⁵⁶ − 1) / difficulty, by long division, lowest
/// limb first.
fn limit(difficulty: u64) -> [u64; 4] {
    let (mut quotient, mut rest) = ([0; 4], 0u128);
    for place in (0..4).rev() {
        let part = (rest << 64) | u128::from(u64::MAX);
        quotient[place] = (part / u128::from(difficulty)) as u64;
        rest = part % u128::from(difficulty);
    }
    quotient
}

/// The next higher number; `None` after the highest.
fn above(mut limbs: [u64; 4]) -> Option<[u64; 4]> {
    for limb in &mut limbs {
        let (next, carry) = limb.overflowing_add(1);
        *limb = next;
        if !carry {
            return Some(limbs);
        }
    }
    None
}

/// A difficulty of any magnitude, often one where the wire's form changes or rounds worst.
fn difficulty(dice: &mut Dice) -> u64 {
    match dice.below(8) {
        0 => 4_000_000u64.wrapping_add(dice.below(64)).wrapping_sub(32),
        1 => (1u64 << dice.below(64))
            .wrapping_add(dice.below(3))
            .wrapping_sub(1),
        _ => dice.magnitude(),
    }
}

/// The highest hash XMRig submits for this target, or any below.
fn honest(dice: &mut Dice, target: u64) -> Hash {
    match dice.below(2) {
        0 => hash([u64::MAX, u64::MAX, u64::MAX, target - 1]),
        _ => hash([dice.next(), dice.next(), dice.next(), dice.below(target)]),
    }
}

#[test]
fn what_xmrig_submits_is_credited() {
    let mut dice = Dice(1);
    for _ in 0..CASES {
        let wish = difficulty(&mut dice);
        let assigned = Difficulty::assign(wish);
        let target = target_from_hex(&assigned.target_hex()).expect("a target that crashes miners");
        let share = honest(&mut dice, target);
        assert!(
            miner_submits(&share, target) && assigned.is_met_by(&share),
            "difficulty {wish}, {}",
            hex::encode(share)
        );
        // And the miner works at what it is credited.
        assert_eq!(u64::MAX / target, assigned.hashes(), "difficulty {wish}");
    }
}

#[test]
fn a_block_is_always_submitted() {
    let mut dice = Dice(5);
    for _ in 0..CASES {
        // A target cannot say that every hash will do, so a difficulty of 1 loses one hash in 2⁶⁴.
        let network = difficulty(&mut dice).max(2);
        let assigned = Difficulty::capped(difficulty(&mut dice), u128::from(network));
        let target = target_from_hex(&assigned.target_hex()).expect("a target that crashes miners");
        assert!(
            miner_submits(&hash(limit(network)), target),
            "network {network}, job {}",
            assigned.hashes()
        );
        assert!(
            assigned.hashes() <= network,
            "a share costs more than a block of {network}"
        );
        let share = honest(&mut dice, target);
        assert!(
            assigned.is_met_by(&share),
            "network {network}, {}",
            hex::encode(share)
        );
    }
}

#[test]
fn a_hash_is_worth_a_difficulty_exactly_up_to_its_limit() {
    let mut dice = Dice(2);
    for _ in 0..CASES {
        let worth = difficulty(&mut dice).max(1);
        let highest = limit(worth);
        assert!(meets(&hash(highest), u128::from(worth)), "{worth}");
        if let Some(too_high) = above(highest) {
            assert!(!meets(&hash(too_high), u128::from(worth)), "{worth}");
        }
        // Any other hash, near the limit's size, against the comparison of the numbers.
        let shift = dice.below(64);
        let other = [
            dice.next(),
            dice.next(),
            dice.next(),
            (dice.next() >> shift).min(highest[3].saturating_add(dice.below(3))),
        ];
        let below = other.iter().rev().cmp(highest.iter().rev()).is_le();
        assert_eq!(
            meets(&hash(other), u128::from(worth)),
            below,
            "{worth}, {other:x?}"
        );
    }
}

/// What one connection was given and has sent, as a plain list.
#[derive(Default)]
struct Ledger {
    now_ms: u64,
    tip: u8,
    tip_since_ms: u64,
    jobs: Vec<(String, Difficulty, u8)>,
    sent: HashMap<(String, [u8; 4]), u32>,
    credited: usize,
    refused: HashMap<&'static str, usize>,
}

impl Ledger {
    /// One share, honest or not, new or not, for a job of now or of long ago; the verdict must be
    /// the right one.
    fn share(&mut self, dice: &mut Dice, ring: &mut JobRing, tips: &ChainTips) {
        let recent = self.jobs.len().min(12) as u64;
        let (id, difficulty, prev) =
            self.jobs[self.jobs.len() - 1 - dice.below(recent) as usize].clone();
        let target = target_from_hex(&difficulty.target_hex()).unwrap();
        let is_honest = dice.below(4) > 0;
        let result = match above(limit(difficulty.hashes())) {
            Some(too_high) if !is_honest => hash(too_high),
            _ => honest(dice, target),
        };
        let is_honest = meets(&result, u128::from(difficulty.hashes()));
        let nonce = (dice.below(48) as u32).to_le_bytes();
        let remembered = ring.find(&id).is_some();
        let verdict = admit(
            ring,
            tips,
            self.now_ms,
            &Submission {
                job_id: id.clone(),
                nonce,
                result,
            },
        );
        let late = prev + 1 == self.tip && self.now_ms - self.tip_since_ms < GRACE_MS;
        // A share for a block nobody wants any more is not remembered, so it may come again, and is
        // refused again.
        let wanted = remembered && (prev == self.tip || late);
        let before = self.sent.entry((id, nonce)).or_default();
        let expected = match (wanted, *before, is_honest) {
            (false, ..) => Some(Rejection::Expired),
            (true, 1.., _) => Some(Rejection::Duplicate),
            (true, 0, false) => Some(Rejection::LowDifficulty),
            (true, 0, true) => None,
        };
        *before += u32::from(wanted);
        assert_eq!(
            verdict.as_ref().err().map(|refused| refused.reason),
            expected
        );
        match verdict {
            // Credit is the job's own, whatever difficulty the session has by now.
            Ok(share) => {
                assert_eq!(
                    (share.difficulty, share.claimed, share.nonce),
                    (difficulty, result, nonce)
                );
                assert_eq!(
                    share.late,
                    prev != self.tip,
                    "a late share must not be offered as a block"
                );
                self.credited += 1;
            }
            Err(refused) => *self.refused.entry(refused.reason.message()).or_default() += 1,
        }
    }
}

#[test]
fn every_interleaving_of_jobs_and_shares_credits_the_jobs_own_difficulty_once() {
    let mut dice = Dice(3);
    let (mut credited, mut refused) = (0, HashSet::new());
    for connection in 0..1_000 {
        let (mut ring, mut ledger) = (JobRing::new(dice.next(), 7, connection), Ledger::default());
        let mut tips = ChainTips::new(GRACE_MS);
        for step in 0..1_100 {
            ledger.now_ms += dice.below(100);
            // A new block now and then, a new difficulty often, a job that looks the same as well.
            let new_block = step == 0 || dice.below(100) == 0;
            if new_block {
                (ledger.tip, ledger.tip_since_ms) = (ledger.tip + 1, ledger.now_ms);
                tips.announce([ledger.tip; 32], ledger.now_ms);
            }
            if new_block || dice.below(12) == 0 {
                let network_difficulty = u128::from(dice.magnitude()).max(1);
                let template: Arc<dyn Template> = Arc::new(Scene {
                    prev: ledger.tip,
                    network_difficulty,
                    ..Scene::default()
                });
                let job = ring.issue(template, difficulty(&mut dice));
                assert!(
                    u128::from(job.difficulty.hashes()) <= network_difficulty,
                    "a share costs more than a block"
                );
                ledger.jobs.push((job.id(), job.difficulty, ledger.tip));
            } else {
                ledger.share(&mut dice, &mut ring, &tips);
            }
        }
        credited += ledger.credited;
        refused.extend(ledger.refused.into_keys());
    }
    assert!(
        credited > 200_000,
        "only {credited} shares were credited: the cases test nothing"
    );
    assert_eq!(refused.len(), 3, "{refused:?}");
}

#[test]
fn a_nonce_is_new_once_and_memory_is_bounded() {
    let mut dice = Dice(4);
    let mut ring = JobRing::new(1, 2, 3);
    for _ in 0..40 {
        let id = ring.issue(Arc::new(Scene::default()), 1_000).id();
        // From few nonces, which repeat at once, to many, which fill the memory.
        let range = 1 << (1 + dice.below(20));
        let (mut seen, mut count) = (vec![false; range as usize], 0);
        let job = ring.find(&id).unwrap();
        for _ in 0..CASES / 40 {
            let nonce = dice.below(range);
            let expected = match (seen[nonce as usize], count >= MAX_NONCES) {
                (true, _) => Reservation::Seen,
                (false, true) => Reservation::Full,
                (false, false) => Reservation::New,
            };
            assert_eq!(job.reserve((nonce as u32).to_le_bytes()), expected);
            if expected == Reservation::New {
                (seen[nonce as usize], count) = (true, count + 1);
            }
        }
    }
}
