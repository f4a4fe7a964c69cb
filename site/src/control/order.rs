//! Orders of people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::request::Level;

/// What an order or a cap holds for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole site.
    Site,
    /// A feeder with all its machines, by name.
    Feeder(String),
    /// A machine, by name.
    Machine(String),
}

/// One order. Each names who gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Everything off, now.
    EmergencyStop {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A trip may end: its cause was looked at.
    ResetTrip {
        /// Who.
        by: String,
        /// Why it is safe; must not be empty.
        reason: String,
    },
    /// The site, a feeder or a machine draws at most so much, until a time.
    Override {
        /// Who.
        by: String,
        /// Why; must not be empty.
        reason: String,
        /// What it holds for.
        scope: Scope,
        /// At most so much, for a feeder or a machine by rated power.
        cap_kw: f64,
        /// For so long; the policy's time without it.
        for_s: Option<u64>,
    },
    /// An override ends.
    EndOverride {
        /// Who.
        by: String,
        /// What it held for; the only one that there is without it.
        #[serde(default)]
        scope: Option<Scope>,
    },
    /// People work at it: nothing of it is switched on.
    Lockout {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What it holds for.
        scope: Scope,
    },
    /// Nobody works there any more.
    EndLockout {
        /// Who.
        by: String,
        /// Why; must not be empty.
        reason: String,
        /// What it held for.
        scope: Scope,
    },
    /// An input is not used for a time.
    Bypass {
        /// Who.
        by: String,
        /// Why; must not be empty.
        reason: String,
        /// The input's name.
        input: String,
        /// For so long.
        for_s: u64,
    },
    /// The input is used again.
    EndBypass {
        /// Who.
        by: String,
        /// The input's name.
        input: String,
    },
    /// The page of a signal has a new layout, and the number on it still means what it meant.
    AcceptLayout {
        /// Who looked at it.
        by: String,
        /// Why it is right; must not be empty.
        reason: String,
        /// The signal's name.
        signal: String,
        /// The fingerprint of the layout.
        layout: String,
    },
    /// What the controller would do is tried with made-up values.
    Debug {
        /// Who.
        by: String,
        /// The values.
        values: DebugValues,
    },
    /// Real values only.
    EndDebug {
        /// Who.
        by: String,
    },
}

/// An order that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its place among the orders of its step, from 0.
    pub order: usize,
    /// Why, and what to do.
    pub reason: String,
}

/// The person of a `by`: what stands before how the caller was known, as in `ann (session)`.
///
/// It is what the caller wrote, and no proof: whoever has the token may write any name.
pub fn person(by: &str) -> &str {
    match by.strip_suffix(')').and_then(|by| by.rsplit_once(" (")) {
        Some((person, _)) => person.trim(),
        None => by.trim(),
    }
}

/// Whether two orders name the same person, however each was known.
pub fn is_same_person(one: &str, other: &str) -> bool {
    person(one).to_lowercase() == person(other).to_lowercase()
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Site => f.write_str("the whole site"),
            Self::Feeder(name) => write!(f, "feeder {name}"),
            Self::Machine(name) => write!(f, "machine {name}"),
        }
    }
}

/// Made-up values that stand for readings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugValues {
    /// What the signal named `debug` says.
    pub signal: Option<Level>,
    /// What every temperature sensor of the container says.
    pub temperature_c: Option<f64>,
    /// What every humidity sensor says.
    pub humidity_pct: Option<f64>,
    /// What machines draw, in watts, by their names.
    pub miners: BTreeMap<String, f64>,
    /// What fans say, by their numbers.
    pub fans: BTreeMap<u8, DebugFan>,
}

/// What a fan says that is made up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugFan {
    /// What its relay reads back.
    pub is_on: Option<bool>,
    /// Watts.
    pub watts: Option<f64>,
}
