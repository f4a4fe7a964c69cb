//! Variable difficulty: the next difficulty of a session, out of the shares it sent.
//!
//! A pure function of its state and the time it is told, so it can be simulated. It refuses to hunt: small deviations
//! change nothing, one step is bounded, and the minute of silence that XMRig spends on donations lowers nothing.

use serde::{Deserialize, Serialize};

/// How eagerly difficulty follows the miner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seconds between shares to aim at.
    pub target_s: f64,
    /// Never below.
    pub min_difficulty: u64,
    /// Never above.
    pub max_difficulty: u64,
    /// The largest factor of one step, up or down.
    pub max_step: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { target_s: 20.0, min_difficulty: 1_000, max_difficulty: 1_000_000_000_000, max_step: 8.0 }
    }
}

/// Shares to have seen before the rate means anything.
const ENOUGH_SHARES: u32 = 6;
/// Deviations from the aim that are left alone however sure they are.
const TOLERANCE: f64 = 1.5;
/// Standard errors by which a deviation must exceed the tolerance; n shares tell the rate to about 1/√n.
const SURENESS: f64 = 2.0;
/// Silence, in targets and in seconds, before difficulty falls; above a donation round's minute.
const SILENCE_TARGETS: f64 = 5.0;
const SILENCE_S: f64 = 120.0;

/// A session's window since the last step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vardiff {
    difficulty: u64,
    since_ms: u64,
    work: u128,
    shares: u32,
}

impl Vardiff {
    /// Starts at a difficulty.
    pub fn new(difficulty: u64, settings: &Settings, now_ms: u64) -> Self {
        let difficulty = difficulty.clamp(settings.min_difficulty, settings.max_difficulty);
        Self { difficulty, since_ms: now_ms, work: 0, shares: 0 }
    }

    /// The difficulty new jobs should have.
    pub fn difficulty(&self) -> u64 {
        self.difficulty
    }

    /// An accepted share of this many hashes.
    pub fn accepted(&mut self, hashes: u64) {
        self.work += u128::from(hashes);
        self.shares += 1;
    }

    /// Takes a step if one is due and says whether the difficulty changed.
    pub fn step(&mut self, settings: &Settings, now_ms: u64) -> bool {
        let elapsed_s = now_ms.saturating_sub(self.since_ms).max(1) as f64 / 1000.0;
        let Some(wanted) = self.wanted(settings, elapsed_s) else { return false };
        let bounded = wanted.clamp(self.difficulty as f64 / settings.max_step, self.difficulty as f64 * settings.max_step);
        let next = (bounded.round() as u64).clamp(settings.min_difficulty, settings.max_difficulty);
        let changed = next != self.difficulty;
        *self = Self { difficulty: next, since_ms: now_ms, work: 0, shares: 0 };
        changed
    }

    /// The difficulty that would meet the aim, when there is reason to leave the present one.
    fn wanted(&self, settings: &Settings, elapsed_s: f64) -> Option<f64> {
        if self.shares < ENOUGH_SHARES {
            let silent = elapsed_s > SILENCE_S.max(SILENCE_TARGETS * settings.target_s);
            let rate = self.work as f64 / elapsed_s;
            // With shares coming slowly the measured rate is known roughly; with none, half is a guess that converges.
            return silent.then(|| (rate * settings.target_s).max(self.difficulty as f64 / 2.0).min(self.difficulty as f64));
        }
        let wanted = self.work as f64 / elapsed_s * settings.target_s;
        let ratio = wanted / self.difficulty as f64;
        let tolerance = TOLERANCE * (1.0 + SURENESS / f64::from(self.shares).sqrt());
        let window_full = elapsed_s >= f64::from(ENOUGH_SHARES) * settings.target_s;
        if ratio > tolerance || (window_full && ratio < 1.0 / tolerance) {
            return Some(wanted);
        }
        // A full window inside the tolerance starts anew, so that old shares do not outweigh a change of hardware.
        (window_full && self.shares >= 4 * ENOUGH_SHARES).then_some(self.difficulty as f64)
    }
}
