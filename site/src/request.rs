//! What a signal asks of the site.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// How urgent a signal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is asked.
    Normal,
    /// A request may come.
    Advisory,
    /// Reduce power.
    Curtail,
    /// Reduce power at once.
    Emergency,
}

/// What is asked, by whom, and for how long. Unknown keys are refused: one that is misspelt would
/// otherwise mean something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// How urgent it is.
    pub level: Level,
    /// The most that the site may draw; without it the policy says what the level means.
    pub cap_kw: Option<f64>,
    /// When it begins, microseconds since 1970; at once without it.
    pub starts_at_us: Option<i64>,
    /// When it ends, microseconds since 1970; when the signal changes without it.
    pub ends_at_us: Option<i64>,
    /// The asker's own name of the event.
    pub event: Option<String>,
}

impl Request {
    /// A level without anything else.
    pub fn of_level(level: Level) -> Self {
        Self {
            level,
            cap_kw: None,
            starts_at_us: None,
            ends_at_us: None,
            event: None,
        }
    }
}

/// No site draws more, in kilowatts; a cap above it is a mistake.
pub const MOST_KW: f64 = 1e7;

/// Requests that were given, and count until a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedRequests {
    /// What is asked.
    pub requests: Vec<Request>,
    /// Until then.
    pub until: Moment,
}

/// What one reading of a signal gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalValue {
    /// What it asks now, and what it has announced, the most urgent first.
    Known(Vec<Request>),
    /// It could not be read or understood: why. Never taken for "normal".
    Unknown(String),
}

/// What the class of a signal is worth against others: priorities 3, 4 and 6 of the arbiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalClass {
    /// A mandatory event of the utility or grid.
    Mandatory,
    /// A contracted event, or the limit of an allocation.
    Contract,
    /// A price or another reason of economy.
    Economic,
}

impl SignalClass {
    /// Its priority, from 0, the highest.
    pub fn level(self) -> u8 {
        match self {
            Self::Mandatory => 3,
            Self::Contract => 4,
            Self::Economic => 6,
        }
    }
}

/// One reading of one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalReading {
    /// The signal's name in the configuration.
    pub source: String,
    /// What it is worth against others.
    pub class: SignalClass,
    /// When it was read.
    pub read_at: Moment,
    /// What it said.
    pub value: SignalValue,
}
