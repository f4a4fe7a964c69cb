//! The section `[standby]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, DurationSetting};

/// Less than this, and a machine that is busy for a moment loses its place.
const LEAST: Duration = Duration::from_secs(1);

/// The section `[standby]`: two coordinators of one cluster, of which one is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StandbySection {
    /// Whether another coordinator may be active in place of this one; JetStream decides which.
    pub enabled: bool,
    /// How long the active one must be silent before the other takes over.
    pub takeover: DurationSetting,
}

impl Default for StandbySection {
    fn default() -> Self {
        Self {
            enabled: false,
            takeover: DurationSetting(Duration::from_secs(10)),
        }
    }
}

impl StandbySection {
    /// Refuses what cannot work.
    pub(super) fn validate(&self, has_nats: bool) -> Result<(), ConfigError> {
        let wrong = |key, value: String, reason: &str| {
            Err(ConfigError {
                key,
                value,
                reason: reason.to_owned(),
            })
        };
        if self.enabled && !has_nats {
            let reason = "which of two is active is decided in JetStream: set facts.nats";
            return wrong("standby.enabled", "true".to_owned(), reason);
        }
        if self.takeover.0 < LEAST {
            let reason = "a second is the least";
            return wrong("standby.takeover", self.takeover.to_string(), reason);
        }
        Ok(())
    }
}
