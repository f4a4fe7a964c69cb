//! Stopping and starting machines, in the policy.

use serde::{Deserialize, Serialize};

use crate::command::Path;

/// How machines are stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DispatchPolicy {
    /// So many commands over the network wait for an answer at the same time.
    pub concurrency: usize,
    /// So many commands to outlets wait for an answer at the same time.
    pub outlet_concurrency: usize,
    /// A device that has not answered by then has failed.
    pub answer_within_s: u64,
    /// A command by Foreman that is not done by then has failed: it hands commands on, and waits
    /// for each machine.
    pub foreman_answer_within_s: u64,
    /// A machine that still draws power by then has not stopped.
    pub proof_within_s: u64,
    /// A machine is off at less than this share of its power before.
    pub off_share: f64,
    /// A machine is on at this share of its rated power.
    pub on_share: f64,
    /// A relay that does not read back what was written is written again after so long each.
    pub retry_s: Vec<u64>,
    /// A machine that could not be stopped is tried again after so long.
    pub stuck_retry_s: u64,
    /// Outlets are cut first, before devices are asked.
    pub is_outlet_first: bool,
    /// The last piece of a reduction is searched among so many candidates, for the best fit.
    pub best_fit_among: usize,
    /// Phases may differ by so much of their mean.
    pub phase_balance_pct: f64,
    /// In place of the last machine of a reduction at most so many are set to their low power mode,
    /// where that fits the target closer; 0 stops whole machines only.
    pub trim_at_most: usize,
    /// A machine that does not draw the power of its new mode by then has not changed it.
    pub mode_within_s: u64,
}

impl Default for DispatchPolicy {
    fn default() -> Self {
        Self {
            concurrency: 64,
            outlet_concurrency: 512,
            answer_within_s: 3,
            foreman_answer_within_s: 60,
            proof_within_s: 45,
            off_share: 0.1,
            on_share: 0.8,
            retry_s: vec![1, 2, 4],
            stuck_retry_s: 600,
            is_outlet_first: false,
            best_fit_among: 16,
            phase_balance_pct: 10.0,
            trim_at_most: 3,
            mode_within_s: 600,
        }
    }
}

impl DispatchPolicy {
    /// Seconds within which a command by this way must be answered.
    pub fn answer_within_s(&self, path: Path) -> u64 {
        match path {
            Path::Foreman => self.foreman_answer_within_s,
            Path::Device | Path::Outlet | Path::Feeder => self.answer_within_s,
        }
    }
}

/// How machines are started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestorePolicy {
    /// The site's power rises by at most so much of the design power in a minute.
    pub ramp_pct_per_min: f64,
    /// So much of the ramp is planned; the rest is for machines that start sooner than expected.
    pub planned_share: f64,
    /// A group is at most so much of the design power.
    pub group_pct: f64,
    /// Groups are so far apart.
    pub group_every_s: u64,
    /// Nothing is started at or above it.
    pub below_c: f64,
    /// A machine draws this share of its power while it starts.
    pub boot_share: f64,
    /// A machine that does not draw its power by then has not started.
    pub proof_within_s: u64,
    /// A machine that did not start is tried again after so long.
    pub retry_s: u64,
    /// Machines on a feeder stay within this share of its limit.
    pub feeder_share: f64,
}

impl Default for RestorePolicy {
    fn default() -> Self {
        Self {
            ramp_pct_per_min: 10.0,
            planned_share: 0.55,
            group_pct: 5.0,
            group_every_s: 15,
            below_c: 30.0,
            boot_share: 0.4,
            proof_within_s: 900,
            retry_s: 3_600,
            feeder_share: 1.0,
        }
    }
}
