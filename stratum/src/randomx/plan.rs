//! Which dataset to build, keep or give up, by memory. Pure.
//!
//! A dataset makes verifying ten times faster and takes 2 GiB. At an epoch switch two of them
//! should be alive; where memory does not allow that, the old one goes first and the new seed is
//! verified in light mode until its own is built.

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::work::template::Hash;

/// Bytes of a seed's cache.
pub const CACHE: u64 = 256 << 20;
/// Bytes of a seed's dataset, rounded up.
pub const DATASET: u64 = 2081 << 20;
/// Bytes left to everybody else.
pub const MARGIN: u64 = 1 << 30;

/// What the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeSetting {
    /// Full where memory allows.
    Auto,
    /// Always full.
    Full,
    /// Always light.
    Light,
}

/// The mode and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChoice {
    /// The mode.
    pub mode: Mode,
    /// In words, for the log.
    pub reason: String,
}

/// Chooses the mode at start; `available` is what the system can give.
pub fn choose_mode(wish: ModeSetting, available: Option<u64>) -> ModeChoice {
    let required = DATASET + 2 * CACHE + MARGIN;
    let mib = |bytes: u64| bytes >> 20;
    match (wish, available) {
        (ModeSetting::Light, _) => ModeChoice {
            mode: Mode::Light,
            reason: "as configured".to_owned(),
        },
        (ModeSetting::Full, Some(available)) if available < required => {
            let reason = format!(
                "as configured, although only {} MiB of the {} MiB it needs are available",
                mib(available),
                mib(required)
            );
            ModeChoice {
                mode: Mode::Full,
                reason,
            }
        }
        (ModeSetting::Full, _) => ModeChoice {
            mode: Mode::Full,
            reason: "as configured".to_owned(),
        },
        (ModeSetting::Auto, None) => ModeChoice {
            mode: Mode::Light,
            reason: "this system does not say how much memory is available".to_owned(),
        },
        (ModeSetting::Auto, Some(available)) => {
            let mode = if available >= required {
                Mode::Full
            } else {
                Mode::Light
            };
            ModeChoice {
                mode,
                reason: format!(
                    "{} MiB are available, full mode needs {} MiB",
                    mib(available),
                    mib(required)
                ),
            }
        }
    }
}

/// What is alive and wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetState {
    /// The seed of the work miners have.
    pub current: Option<Hash>,
    /// The seed of the next epoch, once known.
    pub next: Option<Hash>,
    /// Seeds that have a dataset.
    pub built: Vec<Hash>,
    /// Bytes the system can give; `None` is taken for enough, because somebody insisted on full
    /// mode.
    pub available: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Build the dataset of this seed, on all cores: shares of it are verified slowly until it is
    /// there.
    Build(Hash),
    /// Build it on few cores: there is an hour or two.
    BuildAhead(Hash),
    /// Give the dataset of this seed up.
    Release(Hash),
    /// Look again a little later: memory may become free.
    Wait,
    /// Nothing until something else is wanted.
    Rest,
}

/// The next action.
pub fn next_action(state: &DatasetState) -> Action {
    let has_memory = state
        .available
        .is_none_or(|available| available >= DATASET + MARGIN);
    let built = |seed: &Hash| state.built.contains(seed);
    let Some(current) = state.current else {
        return Action::Rest;
    };
    let unwanted = state
        .built
        .iter()
        .find(|seed| **seed != current && Some(**seed) != state.next);
    if !built(&current) {
        return match unwanted.or_else(|| state.built.first()) {
            _ if has_memory => Action::Build(current),
            Some(other) => Action::Release(*other),
            None => Action::Wait,
        };
    }
    match (unwanted, state.next.filter(|next| !built(next))) {
        (Some(seed), _) => Action::Release(*seed),
        (None, Some(next)) if has_memory => Action::BuildAhead(next),
        (None, Some(_)) => Action::Wait,
        (None, None) => Action::Rest,
    }
}
