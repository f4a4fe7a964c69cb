//! A found block's life after its submission: what the chain says of it, and which rows must follow
//! from that.
//!
//! A block is its hash, never its height: two of ours can compete for one height, and a
//! reorganisation can take a block away and bring it back. This file only decides; [`watcher`] asks
//! the chain and writes.

use serde::{Deserialize, Serialize};

use crate::chain::ChainPosition;
use crate::config_error::ConfigError;

pub mod open_blocks;
pub mod operator;
pub(crate) mod positions;
mod recovery;
pub(crate) mod watcher;

/// The section `[stratum.blocks]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlocksSettings {
    /// Confirmations, the block itself counted, at which a block is called confirmed.
    pub confirmed_at: u64,
    /// Seconds between looks at the open blocks; every new template is looked at in any case.
    pub look_s: u64,
}

impl Default for BlocksSettings {
    fn default() -> Self {
        Self {
            confirmed_at: 10,
            look_s: 30,
        }
    }
}

impl BlocksSettings {
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
pub enum BlockStage {
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
    /// Found on the chain by the pool's public tag alone; nobody is paid for it before the operator
    /// confirms it.
    Unproven,
    /// The operator says that it is not this pool's; nothing follows.
    Rejected,
}

impl BlockStage {
    /// The word in the `blocks` stream; an unwritten block has none.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            BlockStage::Unwritten => None,
            BlockStage::Candidate => Some("candidate"),
            BlockStage::Accepted => Some("accepted"),
            BlockStage::Refused => Some("refused"),
            BlockStage::Confirmed => Some("confirmed"),
            BlockStage::Orphaned => Some("orphaned"),
            BlockStage::Matured => Some("matured"),
            BlockStage::Unproven => Some("unproven"),
            BlockStage::Rejected => Some("rejected"),
        }
    }

    /// The stage a word of the `blocks` stream stands for.
    pub fn parse(word: &str) -> Option<Self> {
        let written = [
            BlockStage::Candidate,
            BlockStage::Accepted,
            BlockStage::Refused,
            BlockStage::Confirmed,
            BlockStage::Orphaned,
            BlockStage::Matured,
            BlockStage::Unproven,
            BlockStage::Rejected,
        ];
        written
            .into_iter()
            .find(|stage| stage.as_str() == Some(word))
    }
}

/// The confirmations that make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmationRules {
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
pub fn next_steps(
    stage: BlockStage,
    position: ChainPosition,
    rules: ConfirmationRules,
) -> Vec<BlockStage> {
    let mut steps = Vec::new();
    let mut at = stage;
    while let Some(next) = step(at, position, rules) {
        steps.push(next);
        at = next;
    }
    steps
}

fn step(
    stage: BlockStage,
    position: ChainPosition,
    rules: ConfirmationRules,
) -> Option<BlockStage> {
    match (stage, position) {
        (BlockStage::Unwritten, _) => Some(BlockStage::Candidate),
        (
            BlockStage::Candidate | BlockStage::Refused | BlockStage::Orphaned,
            ChainPosition::Best { .. },
        ) => Some(BlockStage::Accepted),
        (BlockStage::Accepted, ChainPosition::Best { confirmations })
            if confirmations >= rules.confirmed_at =>
        {
            Some(BlockStage::Confirmed)
        }
        (BlockStage::Confirmed, ChainPosition::Best { confirmations })
            if confirmations >= rules.matured_at =>
        {
            Some(BlockStage::Matured)
        }
        (
            BlockStage::Candidate | BlockStage::Accepted | BlockStage::Confirmed,
            ChainPosition::Beside { .. },
        ) => Some(BlockStage::Orphaned),
        _ => None,
    }
}

/// Whether nothing can follow any more: the block has matured, or the block in its place has.
pub fn is_over(stage: BlockStage, position: ChainPosition, rules: ConfirmationRules) -> bool {
    match (stage, position) {
        (BlockStage::Matured | BlockStage::Rejected, _) => true,
        (
            BlockStage::Orphaned | BlockStage::Refused | BlockStage::Unproven,
            ChainPosition::Beside { confirmations },
        ) => confirmations >= rules.matured_at,
        _ => false,
    }
}
