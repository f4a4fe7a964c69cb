//! Commands to machines and fans, and how far each has come.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A machine, by its name in the configuration.
    Machine(String),
    /// A fan, 1 to 9.
    Fan(u8),
    /// A feeder with everything behind it, by its name in the configuration.
    Feeder(String),
}

/// What a machine runs at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerMode {
    /// Less than rated.
    Low,
    /// As rated.
    Normal,
    /// More than rated.
    High,
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Stop work; a machine waits, a feeder or fan is cut.
    Off,
    /// Work again.
    On,
    /// Work in another mode.
    Mode(PowerMode),
    /// Draw at most so many watts.
    LimitWatts(u32),
}

/// By which way the command goes; each is tried when the one before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The device's own interface.
    Device,
    /// Foreman's service.
    Foreman,
    /// The outlet of a PDU or the relay that feeds it.
    Outlet,
    /// The contactor of its feeder.
    Feeder,
}

impl Path {
    /// The way to a target through a relay before it; a fan's relay is its own interface.
    pub fn of_relay(target: &Target) -> Self {
        match target {
            Target::Machine(_) => Self::Outlet,
            Target::Fan(_) => Self::Device,
            Target::Feeder(_) => Self::Feeder,
        }
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Unique and growing within the site, over restarts too.
    pub id: u64,
    /// The decision that it comes from.
    pub decision: u64,
    /// Who is told.
    pub target: Target,
    /// What.
    pub action: Action,
    /// By which way.
    pub path: Path,
    /// When it was decided.
    pub at: Moment,
}

/// How far a command has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Decided and durable, not sent.
    Queued,
    /// Sent; whether it arrived is not known.
    Sent,
    /// The device said yes.
    Acknowledged,
    /// Measured power, or what a relay reads back, shows it.
    Verified,
    /// It did not happen: why.
    Failed(String),
    /// It failed, and another way was taken: the command that went there.
    Escalated(u64),
    /// A newer command to the same target made it pointless.
    Superseded(u64),
}

/// What an actuator says of a command that it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandReport {
    /// The command's number.
    pub command: u64,
    /// [`Progress::Sent`], [`Progress::Acknowledged`], [`Progress::Verified`] (a relay that reads
    /// back what was written) or [`Progress::Failed`].
    pub progress: Progress,
    /// When it said so.
    pub at: Moment,
}
