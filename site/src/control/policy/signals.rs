//! Signals in the policy: what each level of each means, and what the loss of one means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BadValue;
use crate::request::{Level, SignalClass};

/// What is done when a signal is lost for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLoss {
    /// As if it asked to curtail: the default where a contract or a duty exists.
    Curtail,
    /// What it said last goes on.
    Hold,
}

/// All signals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalPolicy {
    /// The signals that must be read, by name.
    pub sources: BTreeMap<String, SignalRule>,
    /// So many readings in a row make a request valid …
    pub debounce_reads: u32,
    /// … or a request that stood so long. An emergency is valid at once.
    pub debounce_s: u64,
    /// So many missed readings are late …
    pub late_misses: u64,
    /// … and so many are stale.
    pub stale_misses: u64,
}

impl Default for SignalPolicy {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            debounce_reads: 2,
            debounce_s: 10,
            late_misses: 1,
            stale_misses: 3,
        }
    }
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalRule {
    /// What it is worth against others.
    pub class: SignalClass,
    /// It is read so often.
    pub period_s: u64,
    /// What its loss means; by its class without it.
    pub on_loss: Option<OnLoss>,
    /// What "curtail" without a number means.
    pub curtail_kw: f64,
    /// What "emergency" without a number means.
    pub emergency_kw: f64,
    /// The program's limit from the request to the target.
    pub curtail_within_s: u64,
    /// The same for an emergency.
    pub emergency_within_s: u64,
}

impl Default for SignalRule {
    fn default() -> Self {
        Self {
            class: SignalClass::Contract,
            period_s: 120,
            on_loss: None,
            curtail_kw: 0.0,
            emergency_kw: 0.0,
            curtail_within_s: 600,
            emergency_within_s: 120,
        }
    }
}

impl SignalRule {
    /// What the loss of the signal means.
    pub fn on_loss(&self) -> OnLoss {
        self.on_loss.unwrap_or(match self.class {
            SignalClass::Mandatory | SignalClass::Contract => OnLoss::Curtail,
            SignalClass::Economic => OnLoss::Hold,
        })
    }

    /// The most that the site may draw at a level that names no number; none when the level asks
    /// nothing.
    pub fn cap_kw(&self, level: Level) -> Option<f64> {
        match level {
            Level::Normal | Level::Advisory => None,
            Level::Curtail => Some(self.curtail_kw),
            Level::Emergency => Some(self.emergency_kw),
        }
    }

    /// The program's limit at a level.
    pub fn within_s(&self, level: Level) -> u64 {
        match level {
            Level::Emergency => self.emergency_within_s,
            _ => self.curtail_within_s,
        }
    }
}

impl SignalPolicy {
    /// The rule of a signal; the default one for a signal that is not configured.
    pub fn rule(&self, source: &str) -> SignalRule {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    /// Numbers that make no sense.
    pub fn problems(&self) -> Vec<BadValue> {
        let mut bad = Vec::new();
        for (name, rule) in &self.sources {
            let key = |field: &str| format!("signals.sources.{name}.{field}");
            if rule.period_s == 0 {
                bad.push(BadValue::new(
                    key("period_s"),
                    "0 is no period; say 5 or more",
                ));
            }
            for (field, kw) in [
                ("curtail_kw", rule.curtail_kw),
                ("emergency_kw", rule.emergency_kw),
            ] {
                if !(kw.is_finite() && kw >= 0.0) {
                    bad.push(BadValue::new(
                        key(field),
                        format!("{kw} is no power; say 0 or more"),
                    ));
                }
            }
        }
        if self.late_misses == 0 || self.stale_misses <= self.late_misses {
            let problem = "it must be more than signals.late_misses, which is 1 or more";
            bad.push(BadValue::new("signals.stale_misses", problem));
        }
        bad
    }
}
