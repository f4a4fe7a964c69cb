//! A found block's life after its submission: what the chain says of it, and which rows must follow
//! from that.
//!
//! A block is its hash, never its height: two of ours can compete for one height, and a
//! reorganisation can take a block away and bring it back. This file only decides; [`watcher`] asks
//! the chain and writes.

use serde::{Deserialize, Serialize};

use crate::chain::Standing;
use crate::config::ConfigError;

pub mod ledger;
pub(crate) mod watcher;

/// The section `[stratum.blocks]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Confirmations, the block itself counted, at which a block is called confirmed.
    pub confirmed_at: u64,
    /// Seconds between looks at the open blocks; every new template is looked at in any case.
    pub look_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            confirmed_at: 10,
            look_s: 30,
        }
    }
}

impl Settings {
    /// Refuses what makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, reason: &str| ConfigError {
            key,
            value: "0".to_owned(),
            reason: reason.to_owned(),
        };
        if self.confirmed_at == 0 {
            return Err(refuse(
                "blocks.confirmed_at",
                "must be at least 1: the block itself is the first confirmation",
            ));
        }
        if self.look_s == 0 {
            return Err(refuse("blocks.look_s", "must be at least 1"));
        }
        Ok(())
    }
}

/// How far a block has come, as its rows tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No row of it is durable yet.
    Unwritten,
    /// Written before the daemon was told.
    Candidate,
    /// The daemon's best chain had it.
    Accepted,
    /// The daemon did not take it.
    Refused,
    /// It is as deep as the operator trusts.
    Confirmed,
    /// Another block of its height is on the best chain.
    Orphaned,
    /// Its reward can be spent; nothing follows.
    Matured,
}

impl Stage {
    /// The word in the `blocks` stream; an unwritten block has none.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Stage::Unwritten => None,
            Stage::Candidate => Some("candidate"),
            Stage::Accepted => Some("accepted"),
            Stage::Refused => Some("refused"),
            Stage::Confirmed => Some("confirmed"),
            Stage::Orphaned => Some("orphaned"),
            Stage::Matured => Some("matured"),
        }
    }

    /// The stage a word of the `blocks` stream stands for.
    pub fn of_word(word: &str) -> Option<Self> {
        let written = [
            Stage::Candidate,
            Stage::Accepted,
            Stage::Refused,
            Stage::Confirmed,
            Stage::Orphaned,
            Stage::Matured,
        ];
        written.into_iter().find(|stage| stage.word() == Some(word))
    }
}

/// The confirmations that make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From here on a block is confirmed.
    pub confirmed_at: u64,
    /// From here on its reward can be spent, by the chain's own rule.
    pub matured_at: u64,
}

/// The steps from a stage to what the chain says now, in the order their rows must be written; none
/// when nothing changed.
///
/// A refused block is watched, too: a daemon that did not answer counts as a refusal, and it may
/// have taken the block.
pub fn steps(stage: Stage, standing: Standing, rules: Rules) -> Vec<Stage> {
    let mut steps = Vec::new();
    let mut at = stage;
    while let Some(next) = step(at, standing, rules) {
        steps.push(next);
        at = next;
    }
    steps
}

fn step(stage: Stage, standing: Standing, rules: Rules) -> Option<Stage> {
    match (stage, standing) {
        (Stage::Unwritten, _) => Some(Stage::Candidate),
        (Stage::Candidate | Stage::Refused | Stage::Orphaned, Standing::Best { .. }) => {
            Some(Stage::Accepted)
        }
        (Stage::Accepted, Standing::Best { confirmations })
            if confirmations >= rules.confirmed_at =>
        {
            Some(Stage::Confirmed)
        }
        (Stage::Confirmed, Standing::Best { confirmations })
            if confirmations >= rules.matured_at =>
        {
            Some(Stage::Matured)
        }
        (Stage::Candidate | Stage::Accepted | Stage::Confirmed, Standing::Beside { .. }) => {
            Some(Stage::Orphaned)
        }
        _ => None,
    }
}

/// Whether nothing can follow any more: the block has matured, or the block in its place has.
pub fn is_over(stage: Stage, standing: Standing, rules: Rules) -> bool {
    match (stage, standing) {
        (Stage::Matured, _) => true,
        (Stage::Orphaned | Stage::Refused, Standing::Beside { confirmations }) => {
            confirmations >= rules.matured_at
        }
        _ => false,
    }
}
