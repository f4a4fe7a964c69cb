//! Orders of people.

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
        /// At most so much; for a feeder or a machine only 0 means anything: off.
        cap_kw: f64,
        /// For so long; the policy's time without it.
        for_s: Option<u64>,
    },
    /// The override ends.
    EndOverride {
        /// Who.
        by: String,
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
}
