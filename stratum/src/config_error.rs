//! A value of the section `[stratum]` that the pool cannot work with. Every part of the section is
//! validated where it is defined, and all of them refuse with this error.

use thiserror::Error;

/// A value the pool cannot work with.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("stratum.{key} = {value}: {reason}")]
pub struct ConfigError {
    /// The key within the section.
    pub key: &'static str,
    /// The value as given.
    pub value: String,
    /// What is wrong with it and what to write.
    pub reason: String,
}

impl ConfigError {
    /// Refuses `value` of `key`.
    pub fn new(key: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self {
            key,
            value: value.to_string(),
            reason: reason.into(),
        }
    }
}
